//! `anyOf`, `oneOf` and `allOf` as `schemars` writes them for options, enums and flattened
//! structs, made structural: types and fields stand outside, branches only say which fields go
//! together.

use serde_json::{Map, Value, json};

pub(super) fn combine(map: &mut Map<String, Value>) {
    for member in ["anyOf", "oneOf"] {
        let Some(Value::Array(branches)) = map.shift_remove(member) else { continue };
        let rest = unions(map, member, branches);
        if let Some(rest) = rest {
            map.insert(member.into(), rest);
        }
    }
    let Some(Value::Array(parts)) = map.shift_remove("allOf") else { return };
    let mut left = Vec::new();
    for part in parts {
        match part {
            Value::Object(part) if !part.contains_key("$ref") => absorb(map, part),
            other => left.push(other),
        }
    }
    match left.as_slice() {
        [] => {}
        [Value::Object(one)] if map.is_empty() => *map = one.clone(),
        _ => {
            map.insert("allOf".into(), left.into());
        }
    }
}

/// Handles one union; returns what must stay of it.
fn unions(map: &mut Map<String, Value>, member: &str, mut branches: Vec<Value>) -> Option<Value> {
    if branches.len() == 1 {
        if let Some(Value::Object(only)) = branches.pop() {
            absorb(map, only);
        }
        return None;
    }
    if branches.is_empty() {
        return None;
    }
    if let Some(values) = unit_variants(map, &branches) {
        map.insert("type".into(), "string".into());
        map.insert("enum".into(), values);
        return None;
    }
    let types: Vec<&str> = branches.iter().filter_map(|branch| branch["type"].as_str()).collect();
    if map.contains_key("x-kubernetes-int-or-string")
        || matches!(types.as_slice(), ["integer", "string"] | ["string", "integer"])
    {
        map.insert("x-kubernetes-int-or-string".into(), true.into());
        return None;
    }
    if branches.iter().all(|branch| branch["properties"].is_object()) {
        return Some(hoist(map, &branches));
    }
    // Branches that only constrain (`required`) are structural already.
    if branches.iter().all(|branch| !branch["required"].is_null()) {
        return Some(Value::Array(branches));
    }
    if member == "anyOf" || member == "oneOf" {
        map.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
    None
}

/// The values of an enum without data; the variants' texts go to the description, in the form
/// that Kubernetes uses.
fn unit_variants(map: &mut Map<String, Value>, branches: &[Value]) -> Option<Value> {
    let mut values = Vec::new();
    let mut texts = String::new();
    for branch in branches {
        if branch["type"] != "string" {
            return None;
        }
        for value in branch["enum"].as_array()? {
            if let Some(text) = branch["description"].as_str() {
                texts.push_str(&format!("\n - `{value}` {text}"));
            }
            values.push(value.clone());
        }
    }
    if !texts.is_empty() {
        let own = map.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{own}\n\nPossible enum values:{texts}");
        map.insert("description".into(), text.trim_start().into());
    }
    Some(values.into())
}

/// Moves the branches' fields outside and leaves who needs which field.
fn hoist(map: &mut Map<String, Value>, branches: &[Value]) -> Value {
    let mut left = Vec::new();
    for branch in branches {
        let required = branch.get("required").cloned().unwrap_or_else(|| json!([]));
        let mut fields = branch.as_object().cloned().unwrap_or_default();
        let mut rest = Map::new();
        rest.insert("required".into(), required);
        // A tag is an enum of one value: it stays in its branch and is joined outside.
        let tags: Map<String, Value> = fields
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(_, schema)| schema["enum"].as_array().is_some_and(|one| one.len() == 1))
            .map(|(name, schema)| (name.clone(), json!({"enum": schema["enum"].clone()})))
            .collect();
        if !tags.is_empty() {
            rest.insert("properties".into(), tags.into());
        }
        left.push(Value::Object(rest));
        fields.shift_remove("required");
        fields.shift_remove("description");
        absorb(map, fields);
    }
    left.into()
}

/// Adds `part` to `map`; what `map` says already wins, except that fields, required lists and
/// enums are joined.
fn absorb(map: &mut Map<String, Value>, part: Map<String, Value>) {
    for (member, value) in part {
        match (member.as_str(), map.get_mut(&member)) {
            (_, None) => {
                map.insert(member, value);
            }
            ("properties", Some(Value::Object(own))) => {
                let Value::Object(more) = value else { continue };
                for (name, schema) in more {
                    join_property(own, name, schema);
                }
            }
            ("required", Some(Value::Array(own))) => {
                let Value::Array(more) = value else { continue };
                for name in more {
                    if !own.contains(&name) {
                        own.push(name);
                    }
                }
            }
            _ => {}
        }
    }
}

fn join_property(own: &mut Map<String, Value>, name: String, schema: Value) {
    let Some(known) = own.get_mut(&name) else {
        own.insert(name, schema);
        return;
    };
    if let (Some(values), Some(more)) =
        (known.get_mut("enum").and_then(Value::as_array_mut), schema["enum"].as_array())
    {
        for value in more {
            if !values.contains(value) {
                values.push(value.clone());
            }
        }
    }
}
