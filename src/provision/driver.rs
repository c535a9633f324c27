//! Runs the loop: feeds the queue from the registry's watch, the cluster's changes and a timer,
//! and lets a bounded number of workers empty it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::clock::{Clock, random_fraction};
use apiserver::meta::ObjectKey;
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use futures::StreamExt as _;
use tokio::sync::{Notify, broadcast};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::feed::{Feed, Listed, Look};
use super::plan::Policy;
use super::queue::{Backoff, Queue};
use super::reconcile::{Outcome, Reconciler};
use super::sandboxes::{Notice, Sandboxes};
use crate::cluster::{Change, Cluster};
use crate::events::Events;
use crate::foreground::{CALM_PERIOD, Foreground};
use crate::resources::sandbox_warm_pool::pool_of;

/// Failures that are retried sooner are not warned of.
const RETRY_WORTH_A_WARNING: Duration = Duration::from_millis(500);

/// Between two looks at Sandboxes of which none is known to want something: more than a look takes.
const TURN: Duration = Duration::from_millis(1);

/// How the loop runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sandboxes worked on at a time.
    pub workers: usize,
    pub backoff: Backoff,
    /// Every Sandbox is looked at this often even if nothing happens.
    pub resync: Duration,
    /// How long what follows a claim may wait until no other claim is being answered.
    pub patience: Duration,
    /// How long a new member of a full pool may; of one that is half empty half as long.
    pub stock_patience: Duration,
    pub foreground: Foreground,
    pub policy: Policy,
    /// Where it is told what the loop does.
    pub events: Events,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 32,
            backoff: Backoff::default(),
            resync: Duration::from_secs(300),
            patience: Duration::from_secs(5),
            stock_patience: Duration::from_secs(2),
            foreground: Foreground::default(),
            policy: Policy::default(),
            events: Events::default(),
        }
    }
}

/// The loop. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Driver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reconciler: Reconciler,
    sandboxes: Arc<dyn Sandboxes>,
    cluster: Arc<dyn Cluster>,
    clock: Arc<dyn Clock>,
    config: Config,
    queue: Mutex<Queue>,
    /// Something may have become ready.
    wake: Notify,
}

impl Driver {
    pub fn new(
        sandboxes: Arc<dyn Sandboxes>,
        cluster: Arc<dyn Cluster>,
        clock: Arc<dyn Clock>,
        config: Config,
    ) -> Self {
        let reconciler = Reconciler::new(
            Arc::clone(&sandboxes),
            Arc::clone(&cluster),
            Arc::clone(&clock),
            config.policy.clone(),
        )
        .telling(config.events.clone());
        let queue = Mutex::new(Queue::new(config.backoff));
        let wake = Notify::new();
        Self(Arc::new(Inner { reconciler, sandboxes, cluster, clock, config, queue, wake }))
    }

    /// Starts the feed and the workers. They end with the group; a pass that has begun is finished.
    pub fn start(&self, tasks: &Tasks) {
        let stop = tasks.stopping().clone();
        let inner = Arc::clone(&self.0);
        tasks.spawn("provision-feed", OnExit::Shutdown, async move {
            inner.feed(&stop).await;
        });
        for _ in 0..self.0.config.workers {
            let stop = tasks.stopping().clone();
            let inner = Arc::clone(&self.0);
            tasks.spawn("provision-worker", OnExit::Shutdown, async move {
                inner.work(&stop).await;
            });
        }
    }

    /// Sandboxes that wait for a worker, for the metrics.
    pub fn backlog(&self) -> usize {
        self.0.queue().ready_len()
    }
}

impl Inner {
    async fn feed(&self, stop: &CancellationToken) {
        // Before the caches are full, an absence means nothing.
        while !self.cluster.synced() {
            if pause(stop, Duration::from_millis(20)).await {
                return;
            }
        }
        info!("the caches of the cluster are filled; provisioning starts");
        let mut feed = Feed::default();
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow(&mut feed) => ended,
            };
            // An expired watch is nothing special, but must not turn into a storm of lists either.
            let wait = match ended {
                Ok(()) => Duration::from_millis(100),
                Err(error) => {
                    warn!(error = %error, "watching Sandboxes failed; listing again");
                    Duration::from_secs(1)
                }
            };
            pause(stop, wait.mul_f64(1.0 + random_fraction())).await;
        }
    }

    /// From one list to the end of the watch that continues it.
    async fn follow(&self, feed: &mut Feed) -> Result<(), ApiError> {
        // Subscribed first: what changes during the list is not missed.
        let mut changes = self.cluster.changes();
        let snapshot = self.sandboxes.list().await?;
        let Listed { open, settled } = feed.replace(snapshot.items.iter().map(|object| &**object));
        open.into_iter().for_each(|key| self.add(key));
        self.add_in_turn(settled);
        let mut watch = self.sandboxes.watch(snapshot.revision).await?;
        let mut resync = tokio::time::interval(self.config.resync);
        resync.reset();
        let mut calm = tokio::time::interval(CALM_PERIOD);
        calm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_patient = self.queue().has_patient();
            tokio::select! {
                notice = watch.next() => match notice {
                    None | Some(Notice::Lost) => return Ok(()),
                    Some(notice) => if let Some((key, look)) = feed.take(&notice) {
                        self.reconciler.hear(&notice);
                        match look {
                            Look::Now => self.add(key),
                            Look::Claimed => self.add_patient(key, self.config.patience),
                            Look::Stocked => self.add_patient(key, self.stock_patience(&notice)),
                        }
                    },
                },
                change = changes.recv() => match change {
                    Ok(Change::Sandbox(key)) => self.add(key),
                    Ok(Change::RuntimeClasses) | Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.add_in_turn(feed.keys().cloned());
                    }
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                _ = resync.tick() => self.resync(feed),
                _ = calm.tick(), if has_patient => {
                    if self.is_calm() {
                        self.wake.notify_one();
                    }
                }
            }
        }
    }

    /// Spread over half the period, so that it never is a burst.
    fn resync(&self, feed: &Feed) {
        let now = self.clock.now();
        for key in feed.keys() {
            let delay = self.config.resync.mul_f64(random_fraction() / 2.0);
            let at = now.saturating_add(delay).unwrap_or(now);
            self.queue().add_at(key.clone(), at);
        }
        self.wake.notify_one();
    }

    /// One after the other, so that what happens meanwhile is not behind a look at thousands.
    fn add_in_turn(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        let mut at = self.clock.now();
        for key in keys {
            self.queue().add_at(key, at);
            at = at.saturating_add(TURN).unwrap_or(at);
        }
        self.wake.notify_one();
    }

    fn add(&self, key: ObjectKey) {
        self.queue().add(key);
        self.wake.notify_one();
    }

    /// What follows a claim must not slow those that come with it.
    fn add_patient(&self, key: ObjectKey, patience: Duration) {
        let now = self.clock.now();
        let deadline = now.saturating_add(patience).unwrap_or(now);
        self.queue().add_patient(key, deadline);
        self.wake.notify_one();
    }

    /// Nobody waits for a new member of a full pool, and those who claim next do for one of an empty.
    fn stock_patience(&self, notice: &Notice) -> Duration {
        let pool = match notice {
            Notice::Changed(object) => pool_of(object),
            Notice::Gone { .. } | Notice::Lost => None,
        };
        let share = pool.map_or(0.0, |pool| self.config.foreground.stock(&pool));
        self.config.stock_patience.mul_f64(share)
    }

    fn is_calm(&self) -> bool {
        self.config.foreground.is_calm(self.clock.now())
    }

    async fn work(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let (key, next_due) = {
                let is_calm = self.is_calm();
                let mut queue = self.queue();
                (queue.take(self.clock.now(), is_calm), queue.next_due())
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
            Ok(Outcome::Settled) => queue.done(key, None),
            Ok(Outcome::Again(after)) => {
                queue.done(key, Some(now.saturating_add(after).unwrap_or(now)));
            }
            Err(error) => {
                let retry_in = queue.failed(key, now, random_fraction());
                // What passes within moments is no news for an operator.
                if retry_in < RETRY_WORTH_A_WARNING {
                    debug!(sandbox = %key, error = %error, ?retry_in, "provisioning failed");
                } else {
                    warn!(sandbox = %key, error = %error, ?retry_in, "provisioning failed");
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

/// Whether the stop came first.
async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(time) => false,
    }
}
