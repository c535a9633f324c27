//! JSON patch (RFC 6902) with limits: a small body must not make a large or deep document.

use json_patch::{Patch, PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::status::{ApiError, Details, Reason};

/// `[apiserver] pkg/endpoints/handlers/patch.go` `maxJSONPatchOperations`.
const OPERATIONS_MAX: usize = 10_000;
/// Bytes that all `copy` and `move` operations together may carry; Kubernetes ties the same limit
/// to its request size.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Below the nesting that the JSON decoder accepts, or a stored result could not be read back.
const DEPTH_MAX: usize = 120;

/// # Errors
/// 400 when `body` is not a JSON patch, 413 when it has more than 10 000 operations.
pub(super) fn decode(body: &[u8]) -> Result<Patch, ApiError> {
    let raw: Vec<Value> = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if raw.len() > OPERATIONS_MAX {
        return Err(ApiError::new(
            Reason::RequestEntityTooLarge,
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is \
                 {OPERATIONS_MAX}, got {}",
                raw.len()
            ),
        ));
    }
    serde_json::from_value(Value::Array(raw))
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

pub(super) fn apply(patch: &Patch, document: &mut Value) -> Result<(), ApiError> {
    let mut copied_bytes = 0;
    for (index, operation) in patch.iter().enumerate() {
        check_growth(operation, document, &mut copied_bytes)?;
        json_patch::patch_unsafe(document, std::slice::from_ref(operation)).map_err(|error| {
            rejected(&format!(
                "operation {index} at {:?}: {}",
                operation.path().as_str(),
                error.kind
            ))
        })?;
    }
    Ok(())
}

/// Refuses an operation before it makes the document too deep or copies too much.
fn check_growth(
    operation: &PatchOperation,
    document: &Value,
    copied_bytes: &mut usize,
) -> Result<(), ApiError> {
    let added_depth = match operation {
        PatchOperation::Add(add) => depth(&add.value),
        PatchOperation::Replace(replace) => depth(&replace.value),
        PatchOperation::Copy(copy) => carried(document, &copy.from, copied_bytes)?,
        PatchOperation::Move(moved) => carried(document, &moved.from, copied_bytes)?,
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    if operation.path().tokens().count() + added_depth > DEPTH_MAX {
        return Err(rejected(&format!("the result would be nested deeper than {DEPTH_MAX}")));
    }
    Ok(())
}

/// The depth of the value at `from`; its size goes on the bill.
fn carried(document: &Value, from: &Pointer, copied_bytes: &mut usize) -> Result<usize, ApiError> {
    // A pointer to nothing is for the operation itself to report.
    let Some(value) = document.pointer(from.as_str()) else { return Ok(0) };
    *copied_bytes += value.to_string().len();
    if *copied_bytes > COPIED_BYTES_MAX {
        return Err(ApiError::new(
            Reason::RequestEntityTooLarge,
            format!(
                "Request entity too large: the copy and move operations of a JSON patch may carry \
                 {COPIED_BYTES_MAX} bytes"
            ),
        ));
    }
    Ok(depth(value))
}

/// Recursion is bounded: decoding and [`DEPTH_MAX`] keep every value shallow.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// The answer of `[apiserver] patch.go` to a patch that does not fit (a generic 422).
fn rejected(detail: &str) -> ApiError {
    ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request")
        .with_details(Details::default())
        .with_cause("", detail, "")
        .with_log(detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(document: Value, patch: &Value) -> Result<Value, ApiError> {
        let mut document = document;
        apply(&decode(patch.to_string().as_bytes())?, &mut document)?;
        Ok(document)
    }

    #[test]
    fn applies_operations() {
        let patch = json!([
            {"op": "test", "path": "/a", "value": 1},
            {"op": "replace", "path": "/a", "value": 2},
            {"op": "add", "path": "/l/-", "value": 3},
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "move", "from": "/b", "path": "/c"},
        ]);
        let result = run(json!({"a": 1, "l": []}), &patch).unwrap();
        assert_eq!(result, json!({"a": 2, "l": [3], "c": 2}));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for patch in [
            json!([{"op": "test", "path": "/a", "value": 2}]),
            json!([{"op": "remove", "path": "/missing"}]),
            json!([{"op": "replace", "path": "/x/y", "value": 1}]),
        ] {
            let error = run(json!({"a": 1}), &patch).unwrap_err();
            assert_eq!(error.code(), 422, "{patch}");
            assert_eq!(
                error.message(),
                "the server rejected our request due to an error in our request"
            );
        }
        for body in ["{}", "[{}]", "x", r#"[{"op":"add"}]"#] {
            assert_eq!(decode(body.as_bytes()).unwrap_err().code(), 400, "{body}");
        }
    }

    #[test]
    fn limits_the_number_of_operations() {
        let many = |n| Value::Array(vec![json!({"op": "test", "path": "/a", "value": 1}); n]);
        assert!(run(json!({"a": 1}), &many(10_000)).is_ok());
        assert_eq!(run(json!({"a": 1}), &many(10_001)).unwrap_err().code(), 413);
    }

    #[test]
    fn limits_what_copies_make() {
        let copies: Vec<_> = (0..60)
            .map(|n| json!({"op": "copy", "from": "/a", "path": format!("/a/c{n}")}))
            .collect();
        let error = run(json!({"a": {"x": 1}}), &Value::Array(copies)).unwrap_err();
        assert_eq!(error.code(), 413);
    }

    #[test]
    fn limits_the_depth() {
        let nest = |levels| (0..levels).fold(json!({}), |inner, _| json!({"x": inner}));
        let path = "/x".repeat(100);
        let patch = json!([
            {"op": "add", "path": "/b", "value": nest(101)},
            {"op": "move", "from": "/a", "path": format!("/b{path}/y")},
        ]);
        let error = run(json!({"a": nest(30)}), &patch).unwrap_err();
        assert_eq!(error.code(), 422);
    }
}
