//! The same facts as Swagger 2.0, for clients older than OpenAPI v3 in Kubernetes (1.27).
//!
//! The front merges this document into its own, and one word that Swagger 2.0 does not know makes
//! old clients refuse the whole of it, so schemas are rewritten by a list of what may stay. What
//! is dropped follows `ToStructuralOpenAPIV2` in `k8s.io/apiextensions-apiserver`.

use serde_json::{Map, Value, json};

/// From a v3 document that `super` made.
pub(super) fn convert(v3: &Value) -> Value {
    let paths = v3["paths"].as_object().into_iter().flatten();
    let schemas = v3["components"]["schemas"].as_object().into_iter().flatten();
    json!({
        "swagger": "2.0",
        "info": v3["info"],
        "paths": paths.map(|(path, item)| (path.clone(), self::item(item))).collect::<Map<_, _>>(),
        "definitions": schemas
            .map(|(name, schema)| (name.clone(), self::schema(schema)))
            .collect::<Map<_, _>>(),
        "securityDefinitions": v3["components"]["securitySchemes"],
        "security": [{"BearerToken": []}],
    })
}

fn item(item: &Value) -> Value {
    let members = item.as_object().into_iter().flatten().map(|(member, value)| {
        let value = match member.as_str() {
            "parameters" => parameters(value).into(),
            _ => operation(value),
        };
        (member.clone(), value)
    });
    members.collect::<Map<_, _>>().into()
}

fn operation(v3: &Value) -> Value {
    let mut v2 = Map::new();
    for (member, value) in v3.as_object().into_iter().flatten() {
        match member.as_str() {
            "requestBody" | "parameters" => {}
            "responses" => {
                let all = value.as_object().into_iter().flatten();
                let all = all.map(|(code, response)| (code.clone(), self::response(response)));
                v2.insert(member.clone(), all.collect::<Map<_, _>>().into());
            }
            _ => {
                v2.insert(member.clone(), value.clone());
            }
        }
    }
    let mut all = Vec::new();
    let content = v3["requestBody"]["content"].as_object();
    if let Some((_, first)) = content.and_then(|content| content.iter().next()) {
        let mut body = json!({"in": "body", "name": "body", "schema": schema(&first["schema"])});
        if v3["requestBody"]["required"] == true {
            body["required"] = true.into();
        }
        all.push(body);
    }
    all.extend(parameters(&v3["parameters"]));
    if !all.is_empty() {
        v2.insert("parameters".into(), all.into());
    }
    v2.insert("consumes".into(), media_types(content));
    v2.insert("produces".into(), media_types(v3["responses"]["200"]["content"].as_object()));
    v2.insert("schemes".into(), json!(["https"]));
    v2.into()
}

fn media_types(content: Option<&Map<String, Value>>) -> Value {
    let names: Vec<&String> = content.into_iter().flatten().map(|(name, _)| name).collect();
    if names.is_empty() { json!(["*/*"]) } else { json!(names) }
}

/// Swagger 2.0 has a query parameter's type beside its name.
fn parameters(v3: &Value) -> Vec<Value> {
    let flat = |parameter: &Value| {
        let mut flat = parameter.as_object().cloned().unwrap_or_default();
        if let Some(Value::Object(schema)) = flat.shift_remove("schema") {
            flat.extend(schema);
        }
        Value::Object(flat)
    };
    v3.as_array().into_iter().flatten().map(flat).collect()
}

fn response(v3: &Value) -> Value {
    let mut v2 = json!({"description": v3["description"]});
    if let Some(schema) = v3.pointer("/content/application~1json/schema") {
        v2["schema"] = self::schema(schema);
    }
    v2
}

fn schema(v3: &Value) -> Value {
    let Value::Object(v3) = v3 else { return json!({}) };
    let mut v2 = Map::new();
    for (member, value) in v3 {
        let value = match (member.as_str(), value) {
            ("$ref", Value::String(target)) => {
                target.replace("#/components/schemas/", "#/definitions/").into()
            }
            ("properties", Value::Object(fields)) => {
                let fields = fields.iter().map(|(name, field)| (name.clone(), schema(field)));
                fields.collect::<Map<_, _>>().into()
            }
            ("items" | "additionalProperties", Value::Object(_)) => schema(value),
            (name, _) if STAYS.contains(&name) || name.starts_with("x-") => value.clone(),
            _ => continue,
        };
        v2.insert(member.clone(), value);
    }
    // Here a reference may have a description beside it.
    if let Some(Value::String(target)) = v3.get("allOf").and_then(|parts| parts.get(0)?.get("$ref"))
    {
        let target = target.replace("#/components/schemas/", "#/definitions/");
        v2.insert("$ref".into(), target.into());
    }
    if v3.get("format").is_some_and(|format| format == "int-or-string") {
        v2.insert("type".into(), "string".into());
    } else if v3.get("x-kubernetes-int-or-string").is_some_and(|it| it == true) {
        v2.insert("type".into(), "string".into());
        v2.insert("format".into(), "int-or-string".into());
    } else if v3.get("oneOf").is_some_and(is_quantity) {
        v2.insert("type".into(), "string".into());
    }
    v2.into()
}

fn is_quantity(union: &Value) -> bool {
    *union == json!([{"type": "string"}, {"type": "number"}])
}

const STAYS: &[&str] = &[
    "description",
    "type",
    "format",
    "required",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "multipleOf",
];
