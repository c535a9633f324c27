//! From a Rust type or a hand-written value to a root schema with named definitions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::normalise::{normalise, reference};
use super::overlay;

pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(crate) const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
pub(crate) const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

/// Name, root and definitions of `T`.
pub(super) fn generate<T: schemars::JsonSchema>() -> (String, Value, Map<String, Value>) {
    let mut definitions = Map::new();
    let name = collect::<T>(&mut definitions);
    let mut root = definitions.remove(&name).unwrap_or(Value::Bool(true));
    if mentions(&root, &name) || definitions.values().any(|schema| mentions(schema, &name)) {
        definitions.insert(name.clone(), root.clone());
    }
    if root.is_boolean() {
        root = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    (name, root, definitions)
}

/// Adds `T` and all it refers to, and returns its name.
pub(crate) fn collect<T: schemars::JsonSchema>(definitions: &mut Map<String, Value>) -> String {
    // No transforms: `normalise` needs the differences that the OpenAPI 3 transforms blur.
    let mut settings = SchemaSettings::draft2020_12();
    settings.meta_schema = None;
    settings.transforms = Vec::new();
    let mut generator = SchemaGenerator::new(settings);
    let schema = generator.subschema_for::<T>();
    let mut raw = generator.take_definitions(false);
    let name = T::schema_name().into_owned();
    let is_reference = schema.as_object().is_some_and(|object| object.contains_key("$ref"));
    if !is_reference {
        raw.insert(name.clone(), schema.to_value());
    }
    for (name, schema) in raw {
        if !definitions.contains_key(&name) {
            let schema = finish(&name, schema);
            definitions.insert(name, schema);
        }
    }
    name
}

/// Splits a hand-written schema into root and named definitions, in Kubernetes' flavour.
pub(super) fn split(mut schema: Value) -> (Value, Map<String, Value>) {
    let mut definitions = Map::new();
    if let Some(root) = schema.as_object_mut() {
        for member in ["definitions", "$defs"] {
            if let Some(Value::Object(named)) = root.remove(member) {
                for (name, schema) in named {
                    let schema = finish(&name, schema);
                    definitions.insert(name, schema);
                }
            }
        }
    }
    (normalise(schema, false), definitions)
}

/// Every object has the same `apiVersion`, `kind` and `metadata`, whatever its author wrote.
pub(super) fn adopt_object(root: &mut Value, definitions: &mut Map<String, Value>) {
    let Some(root) = root.as_object_mut() else { return };
    root.insert("type".into(), "object".into());
    let own = match root.remove("properties") {
        Some(Value::Object(own)) => own,
        _ => Map::new(),
    };
    if own.keys().any(|name| name != "apiVersion" && name != "kind" && name != "metadata") {
        root.remove("x-kubernetes-preserve-unknown-fields");
    }
    let mut properties = Map::new();
    properties.insert("apiVersion".into(), text(API_VERSION));
    properties.insert("kind".into(), text(KIND));
    let mut metadata = reference(OBJECT_META);
    if let Some(metadata) = metadata.as_object_mut() {
        let wrapped = json!([Value::Object(metadata.clone())]);
        metadata.clear();
        metadata.insert("description".into(), METADATA.into());
        metadata.insert("allOf".into(), wrapped);
    }
    properties.insert("metadata".into(), metadata);
    for (name, schema) in own {
        if !properties.contains_key(&name) {
            properties.insert(name, schema);
        }
    }
    root.insert("properties".into(), properties.into());
    if let Some(Value::Array(required)) = root.get_mut("required") {
        required.retain(|name| !matches!(name.as_str(), Some("apiVersion" | "kind" | "metadata")));
        if required.is_empty() {
            root.remove("required");
        }
    }
    collect::<ObjectMeta>(definitions);
}

fn finish(name: &str, schema: Value) -> Value {
    let mut schema = normalise(schema, name.starts_with("io.k8s."));
    overlay::apply(name, &mut schema);
    schema
}

fn text(description: &str) -> Value {
    json!({"description": description, "type": "string"})
}

fn mentions(schema: &Value, name: &str) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(key, value)| {
            (key == "$ref" && value.as_str().is_some_and(|to| to.rsplit('/').next() == Some(name)))
                || mentions(value, name)
        }),
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        _ => false,
    }
}

const API_VERSION: &str = "The group and version of this representation, as group/version.";
const KIND: &str = "The kind of this object, in CamelCase. Cannot be changed.";
const METADATA: &str = "Standard object metadata: name, namespace, labels, annotations and the \
                        fields that the server keeps.";
