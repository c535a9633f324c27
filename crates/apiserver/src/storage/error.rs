//! What a client hears when the store fails.

use std::time::Duration;

use super::{Item, KvError, Revision};
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
        KvError::Other { detail } | KvError::NoSpace { detail } => ApiError::internal(detail),
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

/// One object whose stored value can't be decoded (`[apiserver] pkg/storage/errors.go`).
pub(super) fn unreadable(key: &str, revision: Revision, error: &str) -> ApiError {
    ApiError::internal(corrupt(key, revision, error))
}

fn corrupt(key: &str, revision: Revision, error: &str) -> String {
    format!(
        "StorageError: corrupt object, Code: 7, Key: {key}, ResourceVersion: 0, \
         AdditionalErrorMsg: object not decodable revision={revision}: {error}"
    )
}

/// A list with such objects in it
/// (`[apiserver] pkg/storage/etcd3/corrupt_obj_deleter.go`). The first [`UNREADABLE_MAX`] are named.
pub(super) fn unreadable_list(resource: &GroupResource, items: &[&Item]) -> ApiError {
    let texts: Vec<(String, String)> = items
        .iter()
        .take(UNREADABLE_MAX)
        .filter_map(|item| {
            let error = item.broken()?;
            Some((item.full_key(), corrupt(&item.full_key(), item.revision(), error)))
        })
        .collect();
    let first = texts.first().map(|(_, text)| text.as_str()).unwrap_or_default();
    let mut message = format!("failed to read one or more {resource} from the storage: {first}");
    if texts.len() > 1 {
        message.push_str(&format!(" (and {} more)", texts.len() - 1));
    }
    let details = Details {
        name: "list".into(),
        group: resource.group.clone(),
        kind: resource.resource.clone(),
        ..Details::default()
    };
    let mut status = ApiError::new(Reason::StoreReadError, message).with_details(details);
    for (key, text) in &texts {
        status = status.with_cause("UnexpectedServerResponse", text, key);
    }
    if items.len() > UNREADABLE_MAX {
        status =
            status.with_cause("FieldValueTooMany", "too many errors, the list is truncated", "");
    }
    status
}

/// `storage is (re)initializing` (`[apiserver] pkg/storage/cacher/{ready,util}.go`): the longer it
/// has lasted, the later clients should come back.
pub(super) fn initializing(downtime: Duration) -> ApiError {
    let seconds = (0.06 * downtime.as_secs_f64()).exp().clamp(1.0, 30.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 30")]
    let seconds = seconds as u32;
    ApiError::new(Reason::TooManyRequests, "storage is (re)initializing").with_retry_after(seconds)
}

const UNREADABLE_MAX: usize = 100;

/// `N` is older than what is remembered; `oldest` is what can still be watched from.
pub(super) fn too_old(asked: Revision, oldest: Revision) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({oldest})"))
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
