//! Events of the host cluster as a port: what `kubectl describe` shows of our objects.

use std::fmt;

use apiserver::meta::{Object, ObjectKey};
use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object of ours that an Event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    pub kind: &'static str,
    pub key: ObjectKey,
    pub uid: String,
}

impl Subject {
    pub fn of(kind: &'static str, object: &Object) -> Self {
        Self { kind, key: object.key(), uid: object.uid().to_owned() }
    }

    pub fn named(kind: &'static str, meta: &ObjectMeta) -> Self {
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone().unwrap_or_default());
        let uid = meta.uid.clone().unwrap_or_default();
        Self { kind, key: ObjectKey { namespace, name }, uid }
    }
}

/// How an Event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

/// Something that happened to one of our objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub about: Subject,
    /// Another object that took part in it.
    pub related: Option<Subject>,
    pub severity: Severity,
    /// What happened, as one word.
    pub reason: &'static str,
    /// What was done or tried, as one word.
    pub action: &'static str,
    /// For humans; what is over 1 kB is cut off.
    pub note: String,
}

impl Event {
    pub fn normal(
        about: Subject,
        (reason, action): (&'static str, &'static str),
        note: impl Into<String>,
    ) -> Self {
        let note = note.into();
        Self { about, related: None, severity: Severity::Normal, reason, action, note }
    }

    pub fn warning(
        about: Subject,
        (reason, action): (&'static str, &'static str),
        note: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::normal(about, (reason, action), note) }
    }

    #[must_use]
    pub fn with(self, related: Subject) -> Self {
        Self { related: Some(related), ..self }
    }
}

/// Why an Event was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It never will be: the namespace is going, or RBAC or validation said no.
    #[error("{message}")]
    Rejected { message: String },
    /// No answer. It may or may not have been written.
    #[error("cluster unavailable: {detail}")]
    Unavailable { detail: String },
}

/// Where Events go.
#[async_trait]
pub trait EventSink: Send + Sync + fmt::Debug {
    /// Writes an Event; one that repeats another of the last minutes is counted with it.
    async fn publish(&self, event: &Event) -> Result<(), EventError>;
}
