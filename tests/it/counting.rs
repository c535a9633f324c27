//! A store that counts the transactions that write claims, and lets one go wrong: others write for
//! reasons of their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use apiserver::storage::{
    Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Write,
};
use async_trait::async_trait;

/// What happens to the next transaction that writes a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Somebody else writes one of its Sandboxes first.
    ChangeFirst,
    /// It is not carried out.
    Refuse,
    /// It is carried out, and nobody hears of it.
    LoseAnswer,
    /// No answer ever comes; it is not carried out.
    Hang,
    /// Likewise, but it is.
    HangAfter,
}

#[derive(Debug)]
pub(crate) struct CountingKv {
    inner: Arc<dyn Kv>,
    transactions: AtomicUsize,
    puts: AtomicUsize,
    fault: Mutex<Option<Fault>>,
    changed: Mutex<Vec<String>>,
}

impl CountingKv {
    pub(crate) fn new(inner: Arc<dyn Kv>) -> Self {
        Self {
            inner,
            transactions: AtomicUsize::new(0),
            puts: AtomicUsize::new(0),
            fault: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    /// Transactions that wrote claims, and the puts in them, so far.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.transactions.load(Ordering::Relaxed), self.puts.load(Ordering::Relaxed))
    }

    pub(crate) fn plant(&self, fault: Fault) {
        *self.fault.lock().expect("no holder of this lock panics") = Some(fault);
    }

    /// Keys of what [`Fault::ChangeFirst`] wrote.
    pub(crate) fn changed(&self) -> Vec<String> {
        self.changed.lock().expect("no holder of this lock panics").clone()
    }

    /// Writes the first Sandbox that is guarded by its revision, as not ready any more.
    async fn change_one(&self, guards: &[(String, Expect)]) -> Result<(), KvError> {
        let of_sandbox = |(key, expect): &&(String, Expect)| {
            key.contains("/sandboxes/") && matches!(expect, Expect::Revision(_))
        };
        let Some((key, expect)) = guards.iter().find(of_sandbox) else { return Ok(()) };
        let Some(old) = self.inner.get(key, None).await?.kv else { return Ok(()) };
        let text = String::from_utf8_lossy(&old.value);
        let value = text.replace(r#""status":"True""#, r#""status":"False""#).into_bytes().into();
        let write = Write::Put { key: key.clone(), value };
        let outcome = self.inner.txn(vec![(key.clone(), expect.clone())], vec![write]).await?;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        self.changed.lock().expect("no holder of this lock panics").push(key.clone());
        Ok(())
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
        let mut fault = None;
        if writes.iter().any(claims) {
            fault = self.fault.lock().expect("no holder of this lock panics").take();
            self.transactions.fetch_add(1, Ordering::Relaxed);
            let puts = writes.iter().filter(|write| matches!(write, Write::Put { .. })).count();
            self.puts.fetch_add(puts, Ordering::Relaxed);
        }
        let away = || KvError::Unavailable { detail: "so the test says".into() };
        match fault {
            None => self.inner.txn(guards, writes).await,
            Some(Fault::ChangeFirst) => {
                self.change_one(&guards).await?;
                self.inner.txn(guards, writes).await
            }
            Some(Fault::Refuse) => Err(away()),
            Some(Fault::LoseAnswer) => {
                self.inner.txn(guards, writes).await?;
                Err(away())
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangAfter) => {
                self.inner.txn(guards, writes).await?;
                std::future::pending().await
            }
        }
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
