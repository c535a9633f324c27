//! A store with a bug: it shows that the checker bites.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apiserver::storage::{
    Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Write,
};
use async_trait::async_trait;
use futures::StreamExt as _;

use crate::lab::replica::Planted;

/// One in this many events or lists goes wrong.
const ONE_IN: u64 = 40;
/// How far back a stale list looks.
const STALE: Revision = 5;

#[derive(Debug)]
pub(crate) struct Buggy {
    kv: Arc<dyn Kv>,
    planted: Planted,
    /// Events or lists so far.
    count: Arc<AtomicU64>,
}

impl Buggy {
    pub(crate) fn new(kv: Arc<dyn Kv>, planted: Planted) -> Self {
        Self { kv, planted, count: Arc::default() }
    }
}

#[async_trait]
impl Kv for Buggy {
    /// Now and then as of an older revision, in turn honest about it or not.
    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        let now = self.kv.list(prefix, page.clone()).await?;
        if self.planted != Planted::StaleList || page.at.is_some() || now.revision <= STALE {
            return Ok(now);
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if !count.is_multiple_of(ONE_IN) {
            return Ok(now);
        }
        let at = Some(now.revision - STALE);
        // Compacted meanwhile: no bug this time.
        let Ok(mut old) = self.kv.list(prefix, Page { at, ..page }).await else { return Ok(now) };
        if (count / ONE_IN).is_multiple_of(2) {
            old.revision = now.revision;
        }
        Ok(old)
    }

    /// Loses an event now and then, and goes on as if nothing had been.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        let watch = self.kv.watch(prefix, from).await?;
        if self.planted != Planted::DropEvent {
            return Ok(watch);
        }
        let count = self.count.clone();
        Ok(Box::pin(watch.map(move |batch| {
            batch.map(|mut batch| {
                let keep = |count: u64| !(count + 1).is_multiple_of(ONE_IN);
                batch.events.retain(|_| keep(count.fetch_add(1, Ordering::Relaxed)));
                batch
            })
        })))
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        self.kv.get(key, at).await
    }

    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError> {
        self.kv.count(prefix).await
    }

    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        self.kv.txn(guards, writes).await
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.kv.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), KvError> {
        self.kv.compact(revision).await
    }

    async fn health(&self) -> Result<(), KvError> {
        self.kv.health().await
    }
}
