use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

/// A box to try things in.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Box1 {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    /// What is wanted.
    spec: BoxSpec,
    status: Option<BoxStatus>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BoxSpec {
    pod_template: PodTemplate,
    /// How many,
    /// at most.
    #[schemars(range(min = 0, max = 9))]
    replicas: Option<i32>,
    mode: Option<Mode>,
    port: Option<IntOrString>,
    size: Option<Quantity>,
    until: Option<Time>,
    free: Option<serde_json::Value>,
    free_map: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default = "five")]
    tries: u32,
    #[serde(default)]
    #[schemars(length(max = 2))]
    args: Vec<String>,
    #[schemars(length(min = 2, max = 4))]
    short: Option<String>,
    source: Option<Source>,
    tree: Option<Tree1>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct PodTemplate {
    spec: PodSpec,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Mode {
    /// Quick.
    Fast,
    /// Careful.
    Slow,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Source {
    Image { name: String },
    Volume(PodTemplateRef),
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct PodTemplateRef {
    path: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Tree1 {
    leaf: Option<String>,
    children: Option<Vec<Tree1>>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BoxStatus {
    observed_generation: Option<i64>,
}

fn five() -> u32 {
    5
}

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

/// A valid box with `spec` changed.
pub(super) fn a_box(change: impl FnOnce(&mut Value)) -> Object {
    let mut value = json!({
        "apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": "a"},
        "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    change(&mut value["spec"]);
    object(value)
}

fn walk(value: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            visit(map);
            map.values().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

#[test]
fn types_have_the_flavour_of_kubernetes() {
    let schema = Schema::for_type::<Box1>();
    let spec = &schema.definitions()["BoxSpec"];
    let property = |name: &str| spec["properties"][name].clone();
    assert_eq!(
        property("replicas"),
        json!({"description": "How many, at most.", "type": "integer", "format": "int32",
               "minimum": 0, "maximum": 9})
    );
    assert_eq!(property("mode"), reference("Mode"));
    let mode = &schema.definitions()["Mode"];
    assert_eq!(mode["enum"], json!(["Fast", "Slow"]));
    assert_eq!(mode["type"], "string");
    assert!(mode["description"].as_str().unwrap().contains("- `\"Fast\"` Quick."), "{mode}");
    assert_eq!(property("port"), reference(INT_OR_STRING));
    assert_eq!(property("size"), reference(QUANTITY));
    assert_eq!(property("free"), json!({"x-kubernetes-preserve-unknown-fields": true}));
    assert_eq!(
        property("freeMap"),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    );
    assert_eq!(
        property("labels"),
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    );
    assert_eq!(
        property("tries"),
        json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": 4_294_967_295_u32,
               "default": 5})
    );
    assert_eq!(
        property("args"),
        json!({"type": "array", "items": {"type": "string"}, "maxItems": 2})
    );
    assert_eq!(spec["required"], json!(["podTemplate"]));
    assert_eq!(schema.root()["required"], json!(["spec"]));
    assert_eq!(
        schema.root()["properties"]["spec"],
        json!({"description": "What is wanted.", "allOf": [reference("BoxSpec")]})
    );
    let source = &schema.definitions()["Source"];
    assert_eq!(source["oneOf"], json!([{"required": ["image"]}, {"required": ["volume"]}]));
    assert_eq!(source["properties"]["volume"], reference("PodTemplateRef"));
}

#[test]
fn definitions_hold_no_null_and_all_references() {
    let schema = Schema::for_type::<Box1>();
    let all = json!({"root": schema.root(), "definitions": schema.definitions()});
    walk(&all, &mut |map| {
        assert_ne!(map.get("type"), Some(&json!("null")), "{map:?}");
        assert!(!map.contains_key("const"), "{map:?}");
        if let Some(target) = map.get("$ref") {
            let name = target.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
            assert!(schema.definitions().contains_key(name), "{name}");
            assert_eq!(map.len(), 1, "siblings of a reference: {map:?}");
        }
    });
    walk(&schema.open_api_v3(), &mut |map| assert!(!map.contains_key("$ref")));
    assert_eq!(schema.open_api_v3()["properties"]["metadata"], json!({"type": "object"}));
}

#[test]
fn prunes_unknown_fields_in_document_order() {
    let schema = Schema::for_type::<Box1>();
    let mut it = object(json!({
        "apiVersion": "example.com/v1", "kind": "Box", "zzz": 1,
        "metadata": {"name": "a", "foo": 1, "labels": {"any": "thing"},
                     "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
        "spec": {
            "podTemplate": {"spec": {"containers": [
                {"name": "c", "foo": {"deep": 1}},
                {"name": "d", "resources": {"limits": {"cpu": 1}, "bar": null}},
            ]}},
            "free": {"any": {"thing": null}}, "freeMap": {"x": [1]}, "labels": {"k": "v"},
            "tree": {"children": [{"children": [{"leaf": "l", "twig": 1}]}]},
        },
    }));
    assert_eq!(
        schema.prune(&mut it),
        [
            "zzz",
            "metadata.foo",
            "spec.podTemplate.spec.containers[0].foo",
            "spec.podTemplate.spec.containers[1].resources.bar",
            "spec.tree.children[0].children[0].twig",
        ]
    );
    assert_eq!(it.at("spec.free"), Some(&json!({"any": {"thing": null}})));
    assert_eq!(it.at("spec.freeMap"), Some(&json!({"x": [1]})));
    assert_eq!(it.at("metadata.labels.any"), Some(&json!("thing")));
    assert_eq!(schema.validate(&it), []);
    assert_eq!(schema.prune(&mut it), [""; 0]);
}

#[test]
fn null_means_absent() {
    let schema = Schema::for_type::<Box1>();
    let mut it = a_box(|spec| {
        spec["replicas"] = Value::Null;
        spec["mode"] = Value::Null;
        spec["podTemplate"]["spec"]["nodeSelector"] = json!({"a": null});
        spec["tries"] = Value::Null;
    });
    it.0.insert("status".into(), Value::Null);
    assert_eq!(schema.validate(&it), []);
    assert_eq!(schema.prune(&mut it), [""; 0]);
    assert_eq!(it.at("spec.replicas"), None);
    assert_eq!(it.at("status"), None);
    assert_eq!(it.at("spec.podTemplate.spec.nodeSelector"), Some(&json!({})));
    schema.apply_defaults(&mut it);
    assert_eq!(it.at("spec.tries"), Some(&json!(5)));
}

#[test]
fn defaults_fill_absent_fields_only() {
    let schema = Schema::for_type::<Box1>();
    let mut it = a_box(|_| {});
    schema.apply_defaults(&mut it);
    assert_eq!(it.0["spec"]["tries"], 5);
    assert_eq!(it.0["spec"].as_object().unwrap().len(), 2, "{:?}", it.0["spec"]);
    let mut it = a_box(|spec| spec["tries"] = json!(7));
    schema.apply_defaults(&mut it);
    assert_eq!(it.0["spec"]["tries"], 7);

    let nested = Schema::from_value(json!({"type": "object", "properties": {
        "spec": {"type": "object", "default": {}, "properties": {
            "a": {"type": "string", "default": "x"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "b": {"type": "integer", "default": 1}}}},
    }}));
    let mut it = object(json!({"list": [{}, {"b": 2}]}));
    nested.apply_defaults(&mut it);
    assert_eq!(it.into_value(), json!({"list": [{"b": 1}, {"b": 2}], "spec": {"a": "x"}}));
}

#[test]
fn permissive_keeps_everything() {
    let schema = Schema::permissive();
    let mut it = object(json!({"a": null, "metadata": {"b": 1}}));
    assert_eq!(schema.prune(&mut it), [""; 0]);
    assert_eq!(schema.validate(&it), []);
    assert_eq!(it.into_value(), json!({"a": null, "metadata": {"b": 1}}));
}
