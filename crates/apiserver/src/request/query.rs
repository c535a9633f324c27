//! Query strings to options, with Kubernetes' validation texts. Pure.

use std::time::Duration;

use serde_json::Value;

use super::info::truthy;
use super::options::{
    DeleteOptions, FieldValidation, ListOptions, Preconditions, Propagation, ResourceVersionMatch,
    WatchOptions, WriteOptions,
};
use crate::field::FieldError;
use crate::meta::{Gvk, Object};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::ApiError;

/// A decoded query string; the first value of a repeated key counts.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: Option<&str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    fn text(&self, key: &str) -> String {
        self.value(key).unwrap_or_default().to_owned()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.value(key).map(truthy)
    }

    fn number(&self, key: &str) -> Result<Option<i64>, ApiError> {
        match self.value(key) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// The kind that validation errors of options carry.
fn options_kind(kind: &str) -> Gvk {
    Gvk::new("meta.k8s.io", "", kind)
}

fn rv_match(query: &Query) -> Result<Option<ResourceVersionMatch>, FieldError> {
    match query.value("resourceVersionMatch") {
        None | Some("") => Ok(None),
        Some("Exact") => Ok(Some(ResourceVersionMatch::Exact)),
        Some("NotOlderThan") => Ok(Some(ResourceVersionMatch::NotOlderThan)),
        Some(other) => Err(FieldError::not_supported(
            "resourceVersionMatch",
            &other.into(),
            &["Exact", "NotOlderThan", ""],
        )),
    }
}

fn selectors(query: &Query) -> Result<(LabelSelector, FieldSelector), ApiError> {
    let label = LabelSelector::parse(query.value("labelSelector").unwrap_or_default())?;
    let field = FieldSelector::parse(query.value("fieldSelector").unwrap_or_default())?;
    Ok((label, field))
}

fn seconds(query: &Query) -> Result<Option<Duration>, ApiError> {
    Ok(query
        .number("timeoutSeconds")?
        .and_then(|s| u64::try_from(s).ok())
        .filter(|s| *s > 0)
        .map(Duration::from_secs))
}

/// Options of a list (wire rules: `[apimachinery] .../internalversion/validation`).
///
/// # Errors
/// 400 for unparsable numbers or selectors, 422 for combinations that are forbidden.
pub fn list_options(query: &Query) -> Result<ListOptions, ApiError> {
    let (label_selector, field_selector) = selectors(query)?;
    let resource_version = query.text("resourceVersion");
    let continue_token = query.text("continue");
    let mut errors = Vec::new();
    let version_match = rv_match(query).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    if version_match.is_some() {
        if resource_version.is_empty() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !continue_token.is_empty() {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if version_match == Some(ResourceVersionMatch::Exact) && resource_version == "0" {
            errors.push(FieldError::forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if query.value("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&options_kind("ListOptions"), "", &errors));
    }
    check_version(&resource_version, "ListOptions")?;
    if !continue_token.is_empty() && !matches!(resource_version.as_str(), "" | "0") {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let limit = query.number("limit")?.unwrap_or_default();
    Ok(ListOptions {
        label_selector,
        field_selector,
        resource_version,
        resource_version_match: version_match,
        limit: usize::try_from(limit).unwrap_or(0),
        continue_token,
    })
}

/// Options of a watch.
///
/// # Errors
/// As [`list_options`].
pub fn watch_options(query: &Query) -> Result<WatchOptions, ApiError> {
    let (label_selector, field_selector) = selectors(query)?;
    let resource_version = query.text("resourceVersion");
    let send_initial_events = query.flag("sendInitialEvents");
    let mut errors = Vec::new();
    let version_match = rv_match(query).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    match (send_initial_events, version_match) {
        (Some(_), None) => errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (Some(_), Some(ResourceVersionMatch::Exact)) => errors.push(FieldError::not_supported(
            "resourceVersionMatch",
            &"Exact".into(),
            &["NotOlderThan"],
        )),
        (None, Some(_)) => errors.push(FieldError::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        _ => {}
    }
    if !query.text("continue").is_empty() && send_initial_events.is_some() {
        errors.push(FieldError::forbidden("continue", "continue is forbidden for watch"));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&options_kind("ListOptions"), "", &errors));
    }
    check_version(&resource_version, "ListOptions")?;
    Ok(WatchOptions {
        label_selector,
        field_selector,
        resource_version,
        resource_version_match: version_match,
        send_initial_events,
        allow_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
        timeout: seconds(query)?,
    })
}

fn check_version(version: &str, kind: &str) -> Result<(), ApiError> {
    if version.is_empty() || version.parse::<u64>().is_ok_and(|v| i64::try_from(v).is_ok()) {
        return Ok(());
    }
    let detail = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
    let error = FieldError::invalid("resourceVersion", &version.into(), &detail);
    Err(ApiError::invalid(&options_kind(kind), "", &[error]))
}

fn dry_run(query: &Query) -> Result<bool, FieldError> {
    match query.value("dryRun") {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(FieldError::not_supported("dryRun", &other.into(), &["All"])),
    }
}

/// The same member of a body.
fn dry_run_of(member: Option<&Value>) -> Result<bool, FieldError> {
    let all = member.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match all.iter().find(|value| value.as_str() != Some("All")) {
        Some(bad) => Err(FieldError::not_supported("dryRun", bad, &["All"])),
        None => Ok(!all.is_empty()),
    }
}

/// Options of create, update and patch. `kind` is `CreateOptions`, `UpdateOptions`, ...
///
/// # Errors
/// 422 for unknown `dryRun` or `fieldValidation` values, a bad `fieldManager`, or `force`.
pub fn write_options(
    query: &Query,
    kind: &str,
    user_agent: &str,
) -> Result<WriteOptions, ApiError> {
    let mut errors = Vec::new();
    let dry_run = dry_run(query).unwrap_or_else(|error| {
        errors.push(error);
        false
    });
    let field_validation = match query.value("fieldValidation") {
        None | Some("" | "Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            errors.push(FieldError::not_supported(
                "fieldValidation",
                &other.into(),
                &["", "Ignore", "Strict", "Warn"],
            ));
            FieldValidation::Warn
        }
    };
    let manager = query.text("fieldManager");
    if manager.chars().count() > 128 {
        errors.push(FieldError::too_long("fieldManager", 128));
    }
    if let Some((position, bad)) = manager.chars().enumerate().find(|(_, c)| c.is_control()) {
        let detail = format!("invalid character U+{:04X} (at position {position})", bad as u32);
        errors.push(FieldError::invalid("fieldManager", &manager.clone().into(), &detail));
    }
    if query.value("force").is_some() {
        errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&options_kind(kind), "", &errors));
    }
    let field_manager = if manager.is_empty() {
        user_agent.split('/').next().unwrap_or_default().chars().take(128).collect()
    } else {
        manager
    };
    Ok(WriteOptions { dry_run, field_validation, field_manager })
}

/// Delete options from the body if there is one, else from the query
/// (`[apiserver] pkg/endpoints/handlers/delete.go`).
///
/// # Errors
/// 400 for a body of another kind, 422 for contradicting or unknown values.
pub fn delete_options(query: &Query, body: Option<&Object>) -> Result<DeleteOptions, ApiError> {
    let from_body = |field: &str| body.and_then(|b| b.0.get(field)).filter(|v| !v.is_null());
    let kind = body.map(Object::kind).unwrap_or_default();
    if !matches!(kind, "DeleteOptions" | "") {
        return Err(ApiError::bad_request(format!(
            "decoded object cannot be converted to DeleteOptions: it is of kind {kind:?}"
        )));
    }
    let text = |field: &str| match body {
        Some(_) => from_body(field).and_then(Value::as_str).map(str::to_owned),
        None => query.value(field).filter(|v| !v.is_empty()).map(str::to_owned),
    };
    let mut errors = Vec::new();
    let dry = match body {
        Some(_) => dry_run_of(from_body("dryRun")),
        None => dry_run(query),
    };
    let dry = dry.unwrap_or_else(|error| {
        errors.push(error);
        false
    });
    let orphan = match body {
        Some(_) => from_body("orphanDependents").and_then(Value::as_bool),
        None => query.flag("orphanDependents"),
    };
    let policy = text("propagationPolicy");
    let propagation = match policy.as_deref() {
        None => orphan.map(|o| if o { Propagation::Orphan } else { Propagation::Background }),
        Some("Orphan") => Some(Propagation::Orphan),
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some(other) => {
            errors.push(FieldError::not_supported(
                "propagationPolicy",
                &other.into(),
                &["Foreground", "Background", "Orphan", "nil"],
            ));
            None
        }
    };
    if policy.is_some() && orphan.is_some() {
        errors.push(FieldError::invalid(
            "propagationPolicy",
            &policy.clone().into(),
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    let ignore_read_error = match body {
        Some(_) => from_body(IGNORE_READ_ERROR).and_then(Value::as_bool),
        None => query.flag(IGNORE_READ_ERROR),
    }
    .unwrap_or_default();
    let grace_period_seconds = match body {
        Some(_) => from_body("gracePeriodSeconds").and_then(Value::as_i64),
        None => query.number("gracePeriodSeconds")?,
    };
    if ignore_read_error {
        errors.extend(beside_ignore_read_error([
            (policy.is_some(), "propagationPolicy"),
            (orphan.is_some(), "orphanDependents"),
            (grace_period_seconds.is_some(), "gracePeriodSeconds"),
            (from_body("preconditions").is_some(), "preconditions"),
        ]));
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(&options_kind("DeleteOptions"), "", &errors));
    }
    let precondition = |field: &str| {
        from_body("preconditions").and_then(|p| p.get(field)?.as_str()).map(str::to_owned)
    };
    Ok(DeleteOptions {
        dry_run: dry,
        preconditions: Preconditions {
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
        },
        propagation,
        orphan_dependents_false: orphan == Some(false),
        grace_period_seconds,
        ignore_read_error,
    })
}

/// Errors of the options that are given although nobody can know what is deleted
/// (`[apimachinery] pkg/apis/meta/v1/validation` ValidateIgnoreStoreReadError).
fn beside_ignore_read_error(others: [(bool, &'static str); 4]) -> impl Iterator<Item = FieldError> {
    others.into_iter().filter(|(given, _)| *given).map(|(_, other)| {
        let detail = format!("cannot be set together with .{other}");
        FieldError::invalid(IGNORE_READ_ERROR, &true.into(), &detail)
    })
}

/// # Errors
/// 422 for what only the deletion of one object may ask for.
pub fn check_collection_delete(options: &DeleteOptions) -> Result<(), ApiError> {
    if !options.ignore_read_error {
        return Ok(());
    }
    let detail = "is not allowed with DELETECOLLECTION, try again after removing the option";
    let error = FieldError::invalid(IGNORE_READ_ERROR, &true.into(), detail);
    Err(ApiError::invalid(&options_kind("DeleteOptions"), "", &[error]))
}

const IGNORE_READ_ERROR: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

#[cfg(test)]
mod tests;
