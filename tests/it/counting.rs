//! A store that counts the transactions that write claims: others write for reasons of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use apiserver::storage::{
    Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Write,
};
use async_trait::async_trait;

#[derive(Debug)]
pub(crate) struct CountingKv {
    inner: Arc<dyn Kv>,
    transactions: AtomicUsize,
    puts: AtomicUsize,
}

impl CountingKv {
    pub(crate) fn new(inner: Arc<dyn Kv>) -> Self {
        Self { inner, transactions: AtomicUsize::new(0), puts: AtomicUsize::new(0) }
    }

    /// Transactions that wrote claims, and the puts in them, so far.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.transactions.load(Ordering::Relaxed), self.puts.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Kv for CountingKv {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        self.inner.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        self.inner.list(prefix, page).await
    }

    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError> {
        self.inner.count(prefix).await
    }

    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        let claims = |write: &Write| match write {
            Write::Put { key, .. } | Write::Delete { key } => key.contains("/sandboxclaims/"),
        };
        if writes.iter().any(claims) {
            self.transactions.fetch_add(1, Ordering::Relaxed);
            let puts = writes.iter().filter(|write| matches!(write, Write::Put { .. })).count();
            self.puts.fetch_add(puts, Ordering::Relaxed);
        }
        self.inner.txn(guards, writes).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        self.inner.watch(prefix, from).await
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.inner.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), KvError> {
        self.inner.compact(revision).await
    }

    async fn health(&self) -> Result<(), KvError> {
        self.inner.health().await
    }
}
