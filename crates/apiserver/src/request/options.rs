//! Options of each verb, already parsed and validated.

use std::time::Duration;

use crate::selector::{FieldSelector, LabelSelector};

/// `metav1.GetOptions`.
#[derive(Debug, Clone, Default)]
pub struct GetOptions {
    /// As on the wire: empty, `0` or a revision the answer may not be older than.
    pub resource_version: String,
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceVersionMatch {
    Exact,
    NotOlderThan,
}

/// Options of a list, validated as in
/// `[apimachinery] pkg/apis/meta/internalversion/validation/validation.go`.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    pub label_selector: LabelSelector,
    pub field_selector: FieldSelector,
    /// Empty, `0` or a revision.
    pub resource_version: String,
    pub resource_version_match: Option<ResourceVersionMatch>,
    /// Objects per page; 0 = all.
    pub limit: usize,
    /// The opaque token of the page before; empty on the first.
    pub continue_token: String,
}

/// Options of a watch.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    pub label_selector: LabelSelector,
    pub field_selector: FieldSelector,
    pub resource_version: String,
    pub resource_version_match: Option<ResourceVersionMatch>,
    pub send_initial_events: Option<bool>,
    pub allow_bookmarks: bool,
    /// When the stream ends by itself.
    pub timeout: Option<Duration>,
}

/// `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options that create, update and patch share.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    pub field_manager: String,
}

/// `metav1.Preconditions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// `propagationPolicy`, with the deprecated `orphanDependents` already folded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub preconditions: Preconditions,
    pub propagation: Option<Propagation>,
    /// `orphanDependents` was set explicitly to false: the answer of a delete that waits is 202.
    pub orphan_dependents_false: bool,
    pub grace_period_seconds: Option<i64>,
    /// `ignoreStoreReadErrorWithClusterBreakingPotential`: remove what can't be decoded, with no
    /// regard to finalizers that nobody can read. Needs a right of its own.
    pub ignore_read_error: bool,
}
