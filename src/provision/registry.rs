//! The port [`Sandboxes`] over the registry's store: what the loop writes goes the way of a
//! user's write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apiserver::auth::Permit;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{EventKind, Part, Store, WatchEvent};
use apiserver::request::{
    DeleteOptions, GetOptions, ListOptions, Preconditions, WatchOptions, WriteOptions,
};
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::BoxStream;
use sandbox_api::SandboxStatus;
use tracing::warn;

use super::sandboxes::{Notice, Sandboxes, Snapshot};

/// The registry's Sandboxes, with the loop's own permit.
#[derive(Debug)]
pub struct StoreSandboxes {
    store: Store,
    permit: Permit,
    status_writes: AtomicU64,
}

impl StoreSandboxes {
    pub fn new(store: Store, permit: Permit) -> Self {
        Self { store, permit, status_writes: AtomicU64::new(0) }
    }

    /// Status writes asked of the store, for the metrics.
    pub fn status_writes(&self) -> u64 {
        self.status_writes.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Sandboxes for StoreSandboxes {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Arc<Object>>, ApiError> {
        // The watch cache will do: the events that woke the loop came from it.
        let options = GetOptions { resource_version: "0".into() };
        match self.store.get(&self.permit, key, &options).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self) -> Result<Snapshot, ApiError> {
        let list = self.store.list(&self.permit, &Scope::All, &ListOptions::default()).await?;
        let items = list.items.iter().map(|item| item.decode().map(Arc::new));
        Ok(Snapshot { items: items.collect::<Result<_, _>>()?, revision: list.resource_version })
    }

    async fn watch(&self, revision: i64) -> Result<BoxStream<'static, Notice>, ApiError> {
        let options =
            WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() };
        let events = self.store.watch(&self.permit, &Scope::All, &options).await?;
        Ok(events.filter_map(|event| ready(notice(event))).boxed())
    }

    async fn update_status(
        &self,
        key: &ObjectKey,
        uid: &str,
        generation: i64,
        status: &SandboxStatus,
    ) -> Result<Option<SandboxStatus>, ApiError> {
        let status = serde_json::to_value(status).map_err(ApiError::internal)?;
        let resource = self.store.def().group_resource();
        let mut before = None;
        let change = |object: &mut Object| {
            if object.uid() != uid || object.generation() != generation {
                return Err(ApiError::modified(&resource, &key.name));
            }
            before = object.0.insert("status".into(), status.clone());
            Ok(())
        };
        self.status_writes.fetch_add(1, Ordering::Relaxed);
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let part = Part::Status;
        self.store.mutate(&self.permit, key, part, &options, &warnings, change).await?;
        if before.as_ref() == Some(&status) {
            return Ok(None);
        }
        let before = before.map(serde_json::from_value).transpose().map_err(ApiError::internal)?;
        Ok(Some(before.unwrap_or_default()))
    }

    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), ApiError> {
        let options = DeleteOptions {
            preconditions: Preconditions { uid: Some(uid.into()), resource_version: None },
            ..DeleteOptions::default()
        };
        self.store.delete(&self.permit, key, &options).await.map(drop)
    }
}

fn notice(event: WatchEvent) -> Option<Notice> {
    match event {
        WatchEvent::Change(EventKind::Deleted, shared) => {
            let key = shared.item().key();
            let uid = match shared.item().object() {
                Ok(last) => last.deletion_timestamp().is_none().then(|| last.uid().to_owned()),
                Err(error) => {
                    warn!(sandbox = %key, %error, "its Pod is left to the garbage collector");
                    None
                }
            };
            Some(Notice::Gone { key, uid })
        }
        WatchEvent::Change(_, shared) => Some(match shared.item().object() {
            Ok(object) => Notice::Changed(object),
            Err(_) => Notice::Lost,
        }),
        WatchEvent::Bookmark { .. } => None,
        WatchEvent::Error(_) => Some(Notice::Lost),
    }
}
