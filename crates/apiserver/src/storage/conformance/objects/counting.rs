//! A store that counts how often it is read.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::super::super::{
    Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Usage, Write,
};

/// What has been read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reads {
    pub(super) gets: usize,
    pub(super) lists: usize,
    /// In the answers of the lists.
    pub(super) keys: usize,
}

/// Does what the store behind it does, and counts the reads.
#[derive(Debug)]
pub(super) struct CountingKv {
    kv: Arc<dyn Kv>,
    reads: Mutex<Reads>,
}

impl CountingKv {
    pub(super) fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv, reads: Mutex::default() }
    }

    /// Since the last call.
    pub(super) fn take(&self) -> Reads {
        std::mem::take(&mut self.reads.lock().unwrap())
    }

    fn note(&self, change: impl FnOnce(&mut Reads)) {
        change(&mut self.reads.lock().unwrap());
    }
}

#[async_trait]
impl Kv for CountingKv {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        self.note(|reads| reads.gets += 1);
        self.kv.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        let listed = self.kv.list(prefix, page).await?;
        self.note(|reads| {
            reads.lists += 1;
            reads.keys += listed.items.len();
        });
        Ok(listed)
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

    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        self.kv.watch(prefix, from).await
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

    async fn usage(&self) -> Result<Option<Usage>, KvError> {
        self.kv.usage().await
    }
}
