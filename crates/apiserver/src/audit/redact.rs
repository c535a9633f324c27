//! What is never recorded, at whatever level: pure.
//!
//! Values of environment variables, because that is where programs are given their secrets; the
//! copy of an object that `kubectl apply` keeps in an annotation, because it repeats them; and the
//! query of a proxied request, which is the application's own and often holds a token. Header
//! fields and bodies of streams are not recorded in the first place.

use http::Uri;
use serde_json::Value;

/// Instead of what is left out.
const REDACTED: &str = "[redacted]";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Of an object, a list, a Table or a patch. Managed fields hold no values and stay, unless the
/// policy leaves them out.
pub(super) fn object(value: &mut Value, omit_managed_fields: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| {
            operation(item);
            object(item, omit_managed_fields);
        }),
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match key.as_str() {
                    "env" => variables(inner),
                    LAST_APPLIED => *inner = REDACTED.into(),
                    _ => {}
                }
                object(inner, omit_managed_fields);
            }
            if omit_managed_fields && let Some(Value::Object(meta)) = map.get_mut("metadata") {
                meta.shift_remove("managedFields");
            }
        }
        _ => {}
    }
}

/// `[{name, value}]`, or whatever somebody sent in its place.
fn variables(env: &mut Value) {
    match env {
        Value::Array(items) => items.iter_mut().for_each(variables),
        Value::Object(variable) => {
            for (key, value) in variable.iter_mut() {
                // A reference to a Secret names it and does not hold it.
                if key != "name" && key != "valueFrom" && !value.is_null() {
                    *value = REDACTED.into();
                }
            }
        }
        Value::Null => {}
        other => *other = REDACTED.into(),
    }
}

/// One of a JSON patch (RFC 6902): what its path leads to can be within a variable, or be the
/// annotation.
fn operation(item: &mut Value) {
    let Some(path) = item.get("path").and_then(Value::as_str) else { return };
    let mut segments = path.split('/');
    let is_inside = path.contains("last-applied-configuration") || segments.any(|it| it == "env");
    if is_inside && let Some(value) = item.get_mut("value") {
        variables(value);
    }
}

/// The path and query of a request.
pub(super) fn request_uri(uri: &Uri, is_proxied: bool) -> String {
    match uri.query() {
        Some(_) if is_proxied => format!("{}?{REDACTED}", uri.path()),
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_value_of_an_environment_is_left() {
        let secret = "hunter2";
        let env = json!([
            {"name": "TOKEN", "value": secret},
            {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ]);
        let pod = json!({"spec": {"containers": [{"name": "c", "env": env}],
                                  "initContainers": [{"env": env}]}});
        let annotations = json!({LAST_APPLIED: pod.to_string(), "other": "stays"});
        let metadata = json!({"name": "n", "annotations": annotations, "managedFields": [{}]});
        let flunder = json!({"metadata": metadata, "spec": {"podTemplate": pod}});
        for value in [
            flunder.clone(),
            json!({"spec": {"env": env}}),
            json!({"items": [flunder]}),
            json!({"rows": [{"cells": ["n"], "object": flunder}]}),
            json!([{"op": "add", "path": "/spec/env", "value": env}]),
            json!([{"op": "add", "path": "/spec/env/0/value", "value": secret}]),
            json!([{"op": "replace", "path": "/spec/env/-", "value": {"value": secret}}]),
            json!([{"op": "add", "path": "/spec", "value": {"env": env}}]),
            json!([{"op": "add", "value": pod.to_string(), "path":
                "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"}]),
            json!({"env": {"value": secret}}),
            json!({"env": secret}),
            json!({"env": [secret, [secret], {"name": "A", "other": {"deep": secret}}]}),
        ] {
            for omit in [false, true] {
                let mut redacted = value.clone();
                object(&mut redacted, omit);
                let text = redacted.to_string();
                assert!(!text.contains(secret), "{text}");
                assert!(text.contains(REDACTED), "{text}");
                assert!(!(omit && text.contains("managedFields")), "{text}");
            }
        }
    }

    #[test]
    fn the_rest_stays() {
        for value in [
            json!({"spec": {"replicas": 3, "env": null, "environment": [{"value": "x"}]}}),
            json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
            json!({"env": [{"name": "REF", "valueFrom": {"fieldRef": {"fieldPath": "a.b"}}}]}),
            json!("text"),
        ] {
            let mut redacted = value.clone();
            object(&mut redacted, true);
            assert_eq!(redacted, value);
        }
    }

    #[test]
    fn a_proxied_query_is_not_told() {
        let uri: Uri =
            "https://h/apis/g/v/namespaces/n/flunders/s/proxy/x?token=t".parse().unwrap();
        let path = "/apis/g/v/namespaces/n/flunders/s/proxy/x";
        assert_eq!(request_uri(&uri, true), format!("{path}?[redacted]"));
        assert_eq!(request_uri(&uri, false), format!("{path}?token=t"));
        assert_eq!(request_uri(&"/a".parse().unwrap(), true), "/a");
    }
}
