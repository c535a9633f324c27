//! The registry as the loop sees it: a small port, so that a simulation can stand behind it.

use std::fmt;
use std::sync::Arc;

use apiserver::meta::{Object, ObjectKey};
use apiserver::status::ApiError;
use async_trait::async_trait;
use futures::stream::BoxStream;
use sandbox_api::SandboxStatus;

/// What a watch of Sandboxes tells.
#[derive(Debug, Clone)]
pub enum Notice {
    Changed(Arc<Object>),
    /// It is no more. The uid if it was removed at once, so that what it owned goes with it; what is
    /// orphaned or waited for goes with its last finalizer.
    Gone {
        key: ObjectKey,
        uid: Option<String>,
    },
    /// The watch can't go on from where it was: list again.
    Lost,
}

/// Every Sandbox at a revision, where a watch can go on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub items: Vec<Arc<Object>>,
    pub revision: i64,
}

/// What the loop needs of the registry.
#[async_trait]
pub trait Sandboxes: Send + Sync + fmt::Debug {
    /// As recent as the watch's events at least.
    async fn get(&self, key: &ObjectKey) -> Result<Option<Arc<Object>>, ApiError>;

    async fn list(&self) -> Result<Snapshot, ApiError>;

    async fn watch(&self, revision: i64) -> Result<BoxStream<'static, Notice>, ApiError>;

    /// Writes the status made from this generation of the Sandbox with this uid; a conflict if it
    /// is another by now. Returns what it has replaced; `None` if the status was stored already,
    /// and then nothing is written.
    async fn update_status(
        &self,
        key: &ObjectKey,
        uid: &str,
        generation: i64,
        status: &SandboxStatus,
    ) -> Result<Option<SandboxStatus>, ApiError>;

    /// Deletes the Sandbox with this uid.
    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), ApiError>;
}
