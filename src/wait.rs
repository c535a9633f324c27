//! Answers that wait: the parameter `timeout`, and an object that becomes what is waited for.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::meta::Object;
use apiserver::registry::{EventKind, Store, WatchEvent};
use apiserver::request::{GetOptions, WatchOptions, duration};
use apiserver::selector::FieldSelector;
use apiserver::status::ApiError;
use futures::StreamExt as _;

pub(crate) const DEFAULT: Duration = Duration::from_secs(30);
/// kube-apiserver ends a proxied request after 60 s.
const MAX: Duration = Duration::from_secs(55);

/// The last value of a query parameter.
pub fn last<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// How long the answer may take: 30 s if the query does not say.
///
/// # Errors
/// 400 for anything but a Go duration of at most 55 s.
pub fn timeout(query: &[(String, String)]) -> Result<Duration, ApiError> {
    let Some(text) = last(query, "timeout") else { return Ok(DEFAULT) };
    duration::parse(text).filter(|limit| *limit <= MAX).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid timeout {text:?}: must be a duration of at most 55s, for example 30s"
        ))
    })
}

/// Follows `current` from its revision on until it is as `wanted` says.
///
/// # Errors
/// 404 when it is deleted, even if another of its name takes its place; those of a watch.
pub async fn reached(
    store: &Store,
    permit: &Permit,
    mut current: Object,
    wanted: impl Fn(&Object) -> bool,
) -> Result<Object, ApiError> {
    let key = current.key();
    let uid = current.uid().to_owned();
    let resource = store.def().group_resource();
    let gone = || ApiError::not_found(&resource, &key.name);
    loop {
        if wanted(&current) {
            return Ok(current);
        }
        let options = WatchOptions {
            field_selector: FieldSelector::parse(&format!("metadata.name={}", key.name))?,
            resource_version: current.resource_version().unwrap_or_default().to_owned(),
            ..WatchOptions::default()
        };
        let mut events = store.watch(permit, &key.scope(), &options).await?;
        while let Some(event) = events.next().await {
            match event {
                WatchEvent::Change(EventKind::Deleted, _) => return Err(gone()),
                WatchEvent::Change(_, shared) => {
                    let object = shared.item().object()?;
                    if object.uid() != uid {
                        return Err(gone());
                    }
                    if wanted(&object) {
                        return Ok(Arc::unwrap_or_clone(object));
                    }
                }
                WatchEvent::Bookmark { .. } => {}
                WatchEvent::Error(_) => break,
            }
        }
        // The watch ended: go on from what is there now.
        let now = store.get(permit, &key, &GetOptions::default()).await?;
        if now.uid() != uid {
            return Err(gone());
        }
        current = Arc::unwrap_or_clone(now);
    }
}
