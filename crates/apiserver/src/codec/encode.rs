//! Objects to bytes.

use bytes::Bytes;
use serde::Serialize;

use super::negotiate::MediaType;
use crate::status::ApiError;

/// Encodes `value` in the negotiated form; JSON ends with a newline as Go's encoder does.
///
/// # Errors
/// 500 if the value has no such form; values made from JSON always have one.
pub fn encode<T: Serialize>(value: &T, media: MediaType, pretty: bool) -> Result<Bytes, ApiError> {
    let mut bytes = match media {
        MediaType::Json if pretty => {
            serde_json::to_vec_pretty(value).map_err(ApiError::internal)?
        }
        MediaType::Json => serde_json::to_vec(value).map_err(ApiError::internal)?,
        MediaType::Yaml => serde_saphyr::to_string(value).map_err(ApiError::internal)?.into_bytes(),
    };
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    Ok(bytes.into())
}
