//! Good, bad and immutable metadata.

use serde_json::json;

use super::*;

fn errors(metadata: &Value) -> Vec<String> {
    let object = Object::from_value(json!({"metadata": metadata})).unwrap();
    validate(&object, true).iter().map(|e| format!("{e}")).collect()
}

#[test]
fn accepts_good_metadata() {
    let metadata = json!({
        "name": "a.b-c", "namespace": "ns", "generateName": "a.b-",
        "labels": {"app": "", "x.io/y": "A_b.c"},
        "annotations": {"Any.Case/Key": "whatever\n"},
        "finalizers": ["orphan", "x.io/y"],
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "K", "name": "n", "uid": "u", "controller": true}
        ],
    });
    assert_eq!(errors(&metadata), Vec::<String>::new());
}

#[test]
fn refuses_bad_metadata() {
    let good = json!({"name": "a", "namespace": "ns"});
    for (field, value, beginning) in [
        ("name", json!(""), "metadata.name: Required value: name or generateName is required"),
        ("name", json!("A"), "metadata.name: Invalid value: \"A\": a lowercase RFC 1123"),
        ("name", json!("a..b"), "metadata.name: Invalid value: \"a..b\""),
        ("name", json!("a".repeat(254)), "metadata.name: Invalid value"),
        ("generateName", json!("a--_"), "metadata.generateName: Invalid value"),
        ("namespace", json!(""), "metadata.namespace: Required value"),
        ("labels", json!({"-a": "b"}), "metadata.labels: Invalid value: \"-a\": name part"),
        ("labels", json!({"a": "b c"}), "metadata.labels: Invalid value: \"b c\": a valid"),
        ("labels", json!({"a": 1}), "metadata.labels.a: Invalid value: 1"),
        ("annotations", json!({"a/b/c": ""}), "metadata.annotations: Invalid value: \"a/b/c\""),
        ("annotations", json!({"a": "x".repeat(262_144)}), "metadata.annotations: Too long"),
        ("finalizers", json!(["x"]), "metadata.finalizers: Invalid value: \"x\": name is"),
        ("finalizers", json!(["orphan", "foregroundDeletion"]), "metadata.finalizers: Invalid"),
        ("ownerReferences", json!([{}]), "metadata.ownerReferences[0].apiVersion: Invalid"),
    ] {
        let mut metadata = good.clone();
        metadata[field] = value;
        let errors = errors(&metadata);
        assert!(
            errors.first().is_some_and(|error| error.starts_with(beginning)),
            "{field}: {errors:?}"
        );
    }
}

#[test]
fn guards_what_an_update_may_not_touch() {
    let old = Object::from_value(json!({"metadata": {
        "name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x.io/a"],
    }}))
    .unwrap();
    let mut new = old.clone();
    new.set_meta("finalizers", vec!["x.io/a", "x.io/b"]);
    new.set_meta("name", "b");
    let errors: Vec<_> = validate_update(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "metadata.name: Invalid value: \"b\": field is immutable",
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is \
             being deleted, found new finalizers []string{\"x.io/b\"}",
        ]
    );
}

#[test]
fn removes_repeated_owners() {
    let mut object = Object::from_value(json!({"metadata": {
        "ownerReferences": [{"uid": "u"}, {"uid": "v"}, {"uid": "u"}],
    }}))
    .unwrap();
    let warnings = Warnings::new();
    dedupe_owner_references(&mut object, &warnings);
    assert_eq!(object.at("metadata.ownerReferences").unwrap().as_array().unwrap().len(), 2);
    assert_eq!(warnings.take().len(), 1);
}

#[test]
fn refuses_other_types() {
    let object =
        Object::from_value(json!({"metadata": {"name": "a", "resourceVersion": 5}})).unwrap();
    let texts: Vec<_> = type_errors(&object).iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["metadata.resourceVersion: Invalid value: 5: must be of type string"]);
}
