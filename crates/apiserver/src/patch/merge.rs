//! Merge patch (RFC 7396).

use serde_json::Value;

use crate::status::ApiError;

/// # Errors
/// 400 unless `body` is a JSON object.
pub(super) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if !patch.is_object() {
        return Err(ApiError::bad_request("error decoding patch: a merge patch must be an object"));
    }
    Ok(patch)
}
