//! From the dialect of `schemars` (JSON schema 2020-12) to Kubernetes' flavour of OpenAPI v3.
//!
//! The differences: `null` is never a type of its own (an absent field says it), an object is
//! either described or free-form, enums are lists, and numbers have Go's formats.

use serde_json::{Map, Value, json};

use super::combine;

/// `{"$ref": "#/components/schemas/<name>"}`.
pub(crate) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// `verbatim` keeps descriptions as they are; Rust doc comments have their line breaks removed.
pub(super) fn normalise(schema: Value, verbatim: bool) -> Value {
    let mut map = match schema {
        Value::Object(map) => map,
        Value::Bool(false) => return json!({"not": {}}),
        _ => return json!({"x-kubernetes-preserve-unknown-fields": true}),
    };
    for member in ["$schema", "$id", "title", "$defs", "definitions", "examples", "$comment"] {
        map.shift_remove(member);
    }
    if !verbatim && let Some(Value::String(text)) = map.get_mut("description") {
        *text = unwrap_lines(text);
    }
    types(&mut map);
    constants(&mut map);
    numbers(&mut map);
    children(&mut map, verbatim);
    combine::combine(&mut map);
    defaults(&mut map);
    free_form(&mut map);
    refer(map)
}

/// `type` is one word: no null, and several scalar types mean int-or-string or anything.
fn types(map: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = map.get_mut("type") else { return };
    types.retain(|name| name != "null");
    let names: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
    match names.as_slice() {
        [one] => {
            let one = Value::from(*one);
            map.insert("type".into(), one);
        }
        [a, b] if matches!((*a, *b), ("integer", "string") | ("string", "integer")) => {
            map.shift_remove("type");
            map.insert("x-kubernetes-int-or-string".into(), true.into());
        }
        _ => {
            map.shift_remove("type");
        }
    }
}

fn constants(map: &mut Map<String, Value>) {
    if let Some(value) = map.shift_remove("const") {
        map.insert("enum".into(), json!([value]));
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
        if values.iter().all(Value::is_string) && !values.is_empty() {
            map.entry("type").or_insert_with(|| "string".into());
        }
    }
}

/// Rust's integer types in Go's terms: int32, or int64 with a range.
fn numbers(map: &mut Map<String, Value>) {
    // OpenAPI 3.0 has a flag beside the bound, JSON schema a bound of its own.
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(number) = map.get(exclusive).filter(|it| it.is_number()).cloned() {
            map.insert(bound.into(), number);
            map.insert(exclusive.into(), true.into());
        }
    }
    let Some(format) = map.get("format").and_then(Value::as_str) else { return };
    let (format, range) = match format {
        "int8" => ("int32", Some((-128_i64, 127_i64))),
        "int16" => ("int32", Some((-32_768, 32_767))),
        "uint8" => ("int32", Some((0, 255))),
        "uint16" => ("int32", Some((0, 65_535))),
        "uint32" => ("int64", Some((0, 4_294_967_295))),
        "uint" | "uint64" => ("int64", Some((0, i64::MAX))),
        "int" => ("int64", None),
        "partial-date-time" => ("date-time", None),
        _ => return,
    };
    map.insert("format".into(), format.into());
    let Some((low, high)) = range else { return };
    map.entry("minimum").or_insert_with(|| low.into());
    if high != i64::MAX {
        map.entry("maximum").or_insert_with(|| high.into());
    }
}

fn children(map: &mut Map<String, Value>, verbatim: bool) {
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        for schema in properties.values_mut() {
            *schema = normalise(schema.take(), verbatim);
        }
    }
    // Maps with keys other than strings: the keys' form is not checked.
    if let Some(Value::Object(patterns)) = map.shift_remove("patternProperties")
        && let Some((_, schema)) = patterns.into_iter().next()
    {
        map.insert("additionalProperties".into(), schema);
    }
    map.shift_remove("propertyNames");
    for member in ["items", "not"] {
        if let Some(schema) = map.get_mut(member) {
            *schema = normalise(schema.take(), verbatim);
        }
    }
    for member in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = map.get_mut(member) {
            branches.retain(|branch| !is_null(branch));
            for branch in branches.iter_mut() {
                *branch = normalise(branch.take(), verbatim);
            }
        }
    }
    match map.get_mut("additionalProperties") {
        Some(Value::Bool(false)) => {
            map.shift_remove("additionalProperties");
            // A closed object without fields stays closed.
            map.entry("properties").or_insert_with(|| json!({}));
        }
        Some(Value::Bool(true)) => {
            map.shift_remove("additionalProperties");
            map.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        Some(schema) => *schema = normalise(schema.take(), verbatim),
        None => {}
    }
    map.shift_remove("unevaluatedProperties");
}

/// A null default says nothing, and neither does an empty collection: Go omits both.
fn defaults(map: &mut Map<String, Value>) {
    let empty = match map.get("default") {
        Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => {
            fields.is_empty() && map.contains_key("additionalProperties")
        }
        _ => false,
    };
    if empty {
        map.shift_remove("default");
    }
}

/// An object about which nothing is said, and a value about which nothing is said.
fn free_form(map: &mut Map<String, Value>) {
    const SAYS_SOMETHING: &[&str] = &[
        "$ref",
        "properties",
        "additionalProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "enum",
        "items",
        "x-kubernetes-int-or-string",
        "x-kubernetes-embedded-resource",
    ];
    let object = map.get("type").is_none_or(|name| name == "object");
    if object && !SAYS_SOMETHING.iter().any(|member| map.contains_key(*member)) {
        map.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
}

/// OpenAPI 3.0 ignores what stands beside `$ref`, so siblings move outside an `allOf`.
fn refer(mut map: Map<String, Value>) -> Value {
    let Some(target) = map.shift_remove("$ref") else { return Value::Object(map) };
    let name = target.as_str().and_then(|target| target.rsplit('/').next()).unwrap_or_default();
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let target = reference(&name);
    if map.is_empty() {
        return target;
    }
    map.insert("allOf".into(), json!([target]));
    Value::Object(map)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|name| name == "null")
        || schema.get("const").is_some_and(Value::is_null)
        || schema.get("enum").is_some_and(|values| *values == json!([null]))
}

/// Joins the lines of a paragraph; blank lines, lists and indented lines stay.
fn unwrap_lines(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.lines() {
        let new_paragraph = line.is_empty()
            || line.starts_with([' ', '\t', '-', '*', '#', '`'])
            || joined.ends_with('\n');
        if !joined.is_empty() {
            joined.push(if new_paragraph { '\n' } else { ' ' });
        }
        joined.push_str(line);
        if line.is_empty() {
            joined.push('\n');
        }
    }
    joined.trim().to_owned()
}
