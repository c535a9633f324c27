//! A store that fails now and then, and one with a planted bug.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::storage::{
    Expect, Got, KeyValue, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Write,
};
use async_trait::async_trait;
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A bug put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Planted {
    None,
    /// A Sandbox is bound without looking whether it is still as it was in stock
    NoGuard,
}

/// What happens to a share of the transactions, and what has. One for all replicas.
#[derive(Debug)]
pub(crate) struct Faults {
    on: AtomicBool,
    planted: Planted,
    pub(crate) refused: AtomicUsize,
    pub(crate) lost: AtomicUsize,
    /// Transactions that bind, and found that somebody had been faster.
    pub(crate) races: AtomicUsize,
}

impl Faults {
    pub(crate) fn new(planted: Planted) -> Arc<Self> {
        let [refused, lost, races] = [(); 3].map(|()| AtomicUsize::new(0));
        Arc::new(Self { on: AtomicBool::new(true), planted, refused, lost, races })
    }

    pub(crate) fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }
}

/// One replica's way to the store.
#[derive(Debug)]
pub(crate) struct FaultyKv {
    inner: Arc<dyn Kv>,
    faults: Arc<Faults>,
    random: Mutex<StdRng>,
}

enum Fate {
    Well,
    Late(Duration),
    Refused,
    Lost,
}

impl FaultyKv {
    pub(crate) fn new(inner: Arc<dyn Kv>, faults: Arc<Faults>, seed: u64) -> Self {
        Self { inner, faults, random: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    fn fate(&self) -> Fate {
        if !self.faults.on.load(Ordering::Relaxed) {
            return Fate::Well;
        }
        let mut random = self.random.lock().expect("no holder of this lock panics");
        match random.random_range(0..1000) {
            0..60 => Fate::Late(Duration::from_micros(random.random_range(500..20_000))),
            60..75 => Fate::Refused,
            75..90 => Fate::Lost,
            _ => Fate::Well,
        }
    }

    async fn judged(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        let claims =
            writes.len() > 1 && writes.iter().any(|it| key(it).contains("/sandboxclaims/"));
        let outcome = match self.faults.planted {
            Planted::None => self.inner.txn(guards, writes).await,
            Planted::NoGuard => self.unguarded(guards, writes).await,
        }?;
        if claims && matches!(outcome, Outcome::Conflict(_)) {
            self.faults.races.fetch_add(1, Ordering::Relaxed);
        }
        Ok(outcome)
    }

    /// The planted bug: of several writes, those to Sandboxes happen whatever is stored.
    async fn unguarded(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        let several = writes.len() > 1;
        let dropped = |(key, expect): &(String, Expect)| match expect {
            Expect::Revision(revision) if several && key.contains("/sandboxes/") => Some(*revision),
            _ => None,
        };
        let kept = guards.iter().filter(|guard| dropped(guard).is_none()).cloned().collect();
        match self.inner.txn(kept, writes).await? {
            Outcome::Done(revision) => Ok(Outcome::Done(revision)),
            Outcome::Conflict(found) => {
                let mut found = found.into_iter();
                let all = guards.iter().map(|guard| match dropped(guard) {
                    // As if it had been looked at and was well.
                    Some(mod_revision) => {
                        let key = guard.0.clone();
                        Some(KeyValue { key, value: "{}".into(), mod_revision })
                    }
                    None => found.next().flatten(),
                });
                Ok(Outcome::Conflict(all.collect()))
            }
        }
    }
}

fn key(write: &Write) -> &str {
    match write {
        Write::Put { key, .. } | Write::Delete { key } => key,
    }
}

fn unavailable(detail: &str) -> KvError {
    KvError::Unavailable { detail: detail.into() }
}

#[async_trait]
impl Kv for FaultyKv {
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
        match self.fate() {
            Fate::Well => self.judged(guards, writes).await,
            Fate::Late(wait) => {
                tokio::time::sleep(wait).await;
                self.judged(guards, writes).await
            }
            Fate::Refused => {
                self.faults.refused.fetch_add(1, Ordering::Relaxed);
                Err(unavailable("refused by the test"))
            }
            Fate::Lost => {
                self.judged(guards, writes).await?;
                self.faults.lost.fetch_add(1, Ordering::Relaxed);
                Err(unavailable("the test lost the answer"))
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
