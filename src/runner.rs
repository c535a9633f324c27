//! Runs a reconciler of keys: each key at most once in the queue and with one worker at a time,
//! failures again after a growing pause.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::clock::{Clock, random_fraction};
use apiserver::meta::ObjectKey;
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use async_trait::async_trait;
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::provision::queue::{Backoff, Queue};

/// Failures that are retried sooner are not warned of.
const RETRY_WORTH_A_WARNING: Duration = Duration::from_millis(500);

/// One pass over one key.
#[async_trait]
pub trait Reconcile: Send + Sync + fmt::Debug {
    /// What it reconciles, for the log.
    fn kind(&self) -> &'static str;

    /// When to look again although nothing will have happened.
    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ApiError>;
}

/// The queue and its workers. Clones share them.
#[derive(Debug, Clone)]
pub struct Runner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reconciler: Arc<dyn Reconcile>,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    wake: Notify,
}

impl Runner {
    pub fn new(reconciler: Arc<dyn Reconcile>, clock: Arc<dyn Clock>) -> Self {
        let queue = Mutex::new(Queue::new(Backoff::default()));
        Self(Arc::new(Inner { reconciler, clock, queue, wake: Notify::new() }))
    }

    /// Starts the workers. They end with the group; a pass that has begun is finished.
    pub fn start(&self, tasks: &Tasks, workers: usize) {
        for _ in 0..workers {
            let (inner, stop) = (Arc::clone(&self.0), tasks.stopping().clone());
            tasks.spawn(self.0.reconciler.kind(), OnExit::Shutdown, async move {
                inner.work(&stop).await;
            });
        }
    }

    pub fn add(&self, key: ObjectKey) {
        self.0.queue().add(key);
        self.0.wake.notify_one();
    }

    /// Not at once: what comes until then is done in one pass.
    pub fn add_after(&self, key: ObjectKey, pause: Duration) {
        let now = self.0.clock.now();
        self.0.queue().add_at(key, now.saturating_add(pause).unwrap_or(now));
        self.0.wake.notify_one();
    }
}

impl Inner {
    async fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let (key, next_due) = {
                let mut queue = self.queue();
                (queue.take(self.clock.now(), true), queue.next_due())
            };
            let Some(key) = key else {
                self.idle(stop, next_due).await;
                continue;
            };
            // There may be more: let the next worker look.
            self.wake.notify_one();
            self.pass(&key).await;
        }
    }

    async fn pass(&self, key: &ObjectKey) {
        let result = self.reconciler.reconcile(key).await;
        let now = self.clock.now();
        let mut queue = self.queue();
        match result {
            Ok(again) => {
                queue.done(key, again.map(|after| now.saturating_add(after).unwrap_or(now)));
            }
            Err(error) => {
                let retry_in = queue.failed(key, now, random_fraction());
                let kind = self.reconciler.kind();
                // What passes within moments is no news for an operator.
                if retry_in < RETRY_WORTH_A_WARNING {
                    debug!(kind, %key, %error, ?retry_in, "reconciling failed");
                } else {
                    warn!(kind, %key, %error, ?retry_in, "reconciling failed");
                }
            }
        }
    }

    async fn idle(&self, stop: &CancellationToken, next_due: Option<jiff::Timestamp>) {
        let wait = next_due.map_or(Duration::from_secs(1), |at| {
            at.duration_since(self.clock.now()).try_into().unwrap_or_default()
        });
        // Bounded, because a pass that ends may have set an earlier time.
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_secs(1));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }
}
