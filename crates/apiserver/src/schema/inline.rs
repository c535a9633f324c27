//! The self-contained form of a schema, as a `CustomResourceDefinition` carries it.

use serde_json::{Map, Value, json};

pub(super) fn inline(root: &Value, definitions: &Map<String, Value>) -> Value {
    let mut schema = Inliner { definitions, open: Vec::new() }.expand(root);
    if let Some(metadata) = schema.pointer_mut("/properties/metadata") {
        *metadata = json!({"type": "object"});
    }
    schema
}

struct Inliner<'a> {
    definitions: &'a Map<String, Value>,
    /// Names being expanded, to notice a type that contains itself.
    open: Vec<&'a str>,
}

impl<'a> Inliner<'a> {
    fn expand(&mut self, schema: &'a Value) -> Value {
        let Value::Object(map) = schema else { return schema.clone() };
        if let Some(name) = ref_name(map) {
            return self.named(name);
        }
        if let Some(Value::Array(parts)) = map.get("allOf")
            && let [Value::Object(one)] = parts.as_slice()
            && let Some(name) = ref_name(one)
        {
            let mut inner = self.named(name);
            if let Some(inner) = inner.as_object_mut() {
                let siblings = map.iter().filter(|(member, _)| *member != "allOf");
                inner.extend(siblings.map(|(member, value)| (member.clone(), value.clone())));
            }
            return inner;
        }
        let expanded = map.iter().map(|(member, value)| {
            let value = match (member.as_str(), value) {
                ("properties", Value::Object(fields)) => Value::Object(
                    fields.iter().map(|(name, field)| (name.clone(), self.expand(field))).collect(),
                ),
                ("items" | "additionalProperties" | "not", _) => self.expand(value),
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                    parts.iter().map(|part| self.expand(part)).collect()
                }
                _ => value.clone(),
            };
            (member.clone(), value)
        });
        Value::Object(expanded.collect())
    }

    fn named(&mut self, name: &'a str) -> Value {
        let free = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let Some(target) = self.definitions.get(name) else { return free() };
        if self.open.contains(&name) {
            return free();
        }
        self.open.push(name);
        let expanded = self.expand(target);
        self.open.pop();
        expanded
    }
}

/// The name a `$ref` points to.
pub(super) fn ref_name(map: &Map<String, Value>) -> Option<&str> {
    map.get("$ref")?.as_str()?.rsplit('/').next()
}
