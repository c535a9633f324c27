use serde_json::json;

use super::*;
use crate::schema::Schema;
use crate::schema::tests::{Box1, a_box};

#[test]
fn valid_objects_have_no_errors() {
    let schema = Schema::for_type::<Box1>();
    let changes: &[Change] = &[
        |_| {},
        |spec| spec["port"] = json!(80),
        |spec| spec["port"] = json!("http"),
        |spec| spec["size"] = json!("1Gi"),
        |spec| spec["size"] = json!(1),
        |spec| spec["size"] = json!(0.5),
        |spec| spec["until"] = json!("2026-01-02T03:04:05Z"),
        |spec| spec["until"] = json!("2026-01-02T03:04:05.678+01:00"),
        |spec| spec["mode"] = json!("Fast"),
        |spec| spec["replicas"] = json!(9),
        |spec| spec["replicas"] = json!(1.0),
        |spec| spec["source"] = json!({"image": {"name": "a"}}),
        |spec| {
            spec["podTemplate"]["spec"]["containers"][0]["env"] =
                json!([{"name": "A"}, {"name": "A"}]);
        },
    ];
    for change in changes {
        let it = a_box(change);
        assert_eq!(schema.validate(&it), [], "{it:?}");
    }
}

type Change = fn(&mut Value);

fn assert_errors(table: &[(Change, &str)]) {
    let schema = Schema::for_type::<Box1>();
    for (change, expected) in table {
        let errors = schema.validate(&a_box(change));
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [*expected]);
    }
}

#[test]
fn errors_of_scalars_read_as_those_of_a_custom_resource() {
    assert_errors(&[
        (
            |spec| spec["replicas"] = json!("two"),
            "spec.replicas: Invalid value: \"string\": \
             spec.replicas in body must be of type integer: \"string\"",
        ),
        (
            |spec| spec["replicas"] = json!(1.5),
            "spec.replicas: Invalid value: \"float64\": \
             spec.replicas in body must be of type int32: \"float64\"",
        ),
        (
            |spec| spec["replicas"] = json!(true),
            "spec.replicas: Invalid value: \"\": spec.replicas in body must be of type int32: \"\"",
        ),
        (
            |spec| spec["replicas"] = json!(-1),
            "spec.replicas: Invalid value: -1: \
             spec.replicas in body should be greater than or equal to 0",
        ),
        (
            |spec| spec["replicas"] = json!(10),
            "spec.replicas: Invalid value: 10: \
             spec.replicas in body should be less than or equal to 9",
        ),
        (
            |spec| {
                spec.as_object_mut().unwrap().remove("podTemplate");
            },
            "spec.podTemplate: Required value",
        ),
        (
            |spec| spec["mode"] = json!("x"),
            "spec.mode: Unsupported value: \"x\": supported values: \"Fast\", \"Slow\"",
        ),
        (
            |spec| spec["port"] = json!([]),
            "spec.port: Invalid value: \"array\": \
             spec.port in body must be of type integer,string: \"array\"",
        ),
    ]);
}

#[test]
fn errors_of_structure_read_as_those_of_a_custom_resource() {
    assert_errors(&[
        (
            |spec| spec["until"] = json!("tomorrow"),
            "spec.until: Invalid value: \"tomorrow\": \
             spec.until in body must be of type date-time: \"tomorrow\"",
        ),
        (
            |spec| spec["args"] = json!(["a", "b", "c"]),
            "spec.args: Too many: 3: must have at most 2 items",
        ),
        (
            |spec| spec["args"] = json!([null]),
            "spec.args[0]: Invalid value: \"null\": \
             spec.args[0] in body must be of type string: \"null\"",
        ),
        (
            |spec| spec["short"] = json!("aaaaa"),
            "spec.short: Too long: may not be more than 4 bytes",
        ),
        (
            |spec| spec["short"] = json!("a"),
            "spec.short: Invalid value: \"a\": spec.short in body should be at least 2 chars long",
        ),
        (
            |spec| {
                let containers = &mut spec["podTemplate"]["spec"]["containers"];
                *containers = json!([{"name": "c"}, {"name": "d"}, {"name": "c"}, {"name": "c"}]);
            },
            "spec.podTemplate.spec.containers[2]: Duplicate value: {\"name\":\"c\"}",
        ),
        (
            |spec| spec["podTemplate"]["spec"]["containers"] = json!([{"image": "i"}]),
            "spec.podTemplate.spec.containers[0].name: Required value",
        ),
        (
            |spec| spec["labels"] = json!({"a": 1}),
            "spec.labels.a: Invalid value: \"integer\": \
             spec.labels.a in body must be of type string: \"integer\"",
        ),
        (
            |spec| spec["source"] = json!({"image": {"name": "a"}, "volume": {"path": "p"}}),
            "spec.source: Invalid value: \"\": \
             \"spec.source\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
    ]);
}

#[test]
fn metadata_is_checked_for_types_only() {
    let schema = Schema::for_type::<Box1>();
    let mut it = a_box(|_| {});
    it.set_meta("ownerReferences", json!([{"name": "o"}]));
    assert_eq!(schema.validate(&it), []);
    it.set_meta("labels", json!({"a": true}));
    assert_eq!(schema.validate(&it)[0].field, "metadata.labels.a");
}
