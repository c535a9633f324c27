//! What a client hears when the store fails.

use super::{KvError, Revision};
use crate::field::FieldError;
use crate::meta::{GroupResource, Gvk};
use crate::status::{ApiError, Details, Reason};

/// The failure of a read.
pub(super) fn read_error(error: KvError) -> ApiError {
    match error {
        KvError::Unavailable { detail } => {
            ApiError::service_unavailable("the storage is unavailable")
                .with_retry_after(1)
                .with_log(detail)
        }
        KvError::Future { asked, current } => ApiError::too_large_resource_version(asked, current),
        KvError::Compacted { .. } => expired_list(),
        KvError::TooLarge { detail } => ApiError::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: {detail}"),
        )
        .with_details(Details::default()),
        KvError::Other { detail } => ApiError::internal(detail),
    }
}

/// The failure of a write. After a lost connection nobody knows whether it happened, so there is
/// no `retryAfterSeconds`: clients would repeat a create by themselves.
pub(super) fn write_error(error: KvError) -> ApiError {
    match error {
        KvError::Unavailable { detail } => ApiError::timeout(
            "the storage did not answer; the request may or may not have been carried out",
        )
        .with_log(detail),
        other => read_error(other),
    }
}

pub(super) fn expired_list() -> ApiError {
    ApiError::expired("The resourceVersion for the provided list is too old.")
}

pub(super) fn expired_watch() -> ApiError {
    ApiError::expired("The resourceVersion for the provided watch is too old.")
}

/// `new_token` continues at whatever is current.
pub(super) fn expired_continue(new_token: String) -> ApiError {
    ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can \
         start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results. Continuing with the provided token \
         results in an inconsistent list - objects that were created, modified, or deleted between \
         the time the first chunk was returned and now may show up in the list.",
    )
    .with_continue(new_token)
}

/// A `resourceVersion` option: `None` = unset.
///
/// # Errors
/// 422 for what is not a number.
pub(super) fn parse_revision(
    text: &str,
    resource: &GroupResource,
) -> Result<Option<Revision>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Revision>() {
        Ok(revision) if revision >= 0 && !text.starts_with('+') => Ok(Some(revision)),
        _ => {
            // Kubernetes names the resource here, not the kind.
            let gvk = Gvk::new(&resource.group, "", &resource.resource);
            let problem = if text.bytes().all(|b| b.is_ascii_digit()) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            let detail = format!("strconv.ParseUint: parsing {text:?}: {problem}");
            let error = FieldError::invalid("resourceVersion", &text.into(), &detail);
            Err(ApiError::invalid(&gvk, "", &[error]))
        }
    }
}
