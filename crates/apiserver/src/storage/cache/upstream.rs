//! Fills the cache and follows the store.
//!
//! A watch that breaks is begun again where it stood: nothing is lost and nobody notices. Only when
//! that revision is gone, or the cache turns out to be wrong, everything is read again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::OptionFuture;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{error, info, warn};

use super::super::{EventKind, Item, KvBatch, KvError, KvEvent, Page, Revision};
use super::Inner;
use super::compare::Compared;
use super::history::Objects;
use super::state::Update;
use crate::clock::random_fraction;

/// Runs for ever.
pub(super) async fn run(inner: &Arc<Inner>) {
    let mut pause = Pause::default();
    loop {
        match fill(inner).await {
            Ok(()) => {
                pause = Pause::default();
                follow(inner).await;
            }
            Err(error) => warn!(resource = %inner.store.resource, %error, "cannot fill the cache"),
        }
        pause.wait().await;
    }
}

/// Reads everything at one revision.
async fn fill(inner: &Arc<Inner>) -> Result<(), KvError> {
    let store = &inner.store;
    let (mut start, mut at) = (None, None);
    let mut objects = Objects::new();
    let revision = loop {
        let page = Page { start, limit: FILL_KEYS, at, ..Page::default() };
        let listed = store.kv.list(store.keys.root(), page).await?;
        at = Some(listed.revision);
        let more = listed.count > u64::try_from(listed.items.len()).unwrap_or(u64::MAX);
        start = listed.items.last().map(|last| format!("{}\0", last.key));
        for kv in &listed.items {
            let item = store.item(kv);
            if let Some(error) = item.broken() {
                error!(key = kv.key, error, "a stored object can't be decoded");
            }
            objects.insert(item.path().clone(), item);
        }
        if !more || start.is_none() {
            break listed.revision;
        }
    };
    let count = objects.len();
    inner.state().fill(objects, revision);
    inner.reached.send_replace(revision);
    inner.counters.fills.fetch_add(1, Ordering::Relaxed);
    info!(resource = %store.resource, objects = count, revision, "the cache is filled");
    Ok(())
}

/// Applies what happens, until the cache has to be filled again.
async fn follow(inner: &Arc<Inner>) {
    let mut pause = Pause::default();
    loop {
        let from = inner.state().revision + 1;
        match inner.store.kv.watch(inner.store.keys.root(), from).await {
            Ok(watch) => {
                let before = from;
                match listen(inner, watch).await {
                    Some(Again::Watch) => {}
                    Some(Again::Fill) => return,
                    None => {}
                }
                if inner.state().revision + 1 > before {
                    pause = Pause::default();
                }
            }
            Err(KvError::Compacted { .. }) => {
                warn!(resource = %inner.store.resource, from, "missed too much; filling the cache again");
                return;
            }
            Err(error) => {
                warn!(resource = %inner.store.resource, %error, "cannot watch the store");
            }
        }
        pause.wait().await;
    }
}

/// How to go on after a watch has ended.
enum Again {
    Watch,
    Fill,
}

async fn listen(inner: &Arc<Inner>, mut watch: super::super::KvWatch) -> Option<Again> {
    let resource = &inner.store.resource;
    let mut tick = interval_at(Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let every = inner.options.compare_interval.max(Duration::from_millis(10));
    let mut compare_at =
        interval_at(Instant::now() + every.mul_f64(1.0 + random_fraction()), every);
    let mut comparing = OptionFuture::from(None);
    loop {
        tokio::select! {
            batch = watch.next() => match batch {
                Some(Ok(batch)) => {
                    if !take(inner, &batch) {
                        return Some(Again::Fill);
                    }
                }
                Some(Err(KvError::Compacted { .. })) => return Some(Again::Fill),
                Some(Err(error)) => {
                    warn!(%resource, %error, "the watch of the store ended; beginning again");
                    return Some(Again::Watch);
                }
                None => return Some(Again::Watch),
            },
            _ = tick.tick() => inner.state().tick(Instant::now()),
            Some(compared) = &mut comparing => {
                comparing = OptionFuture::from(None);
                match compared {
                    Ok(Compared::Equal | Compared::Impossible) => {}
                    Ok(Compared::Different(detail)) => {
                        inner.distrust(&detail);
                        return Some(Again::Fill);
                    }
                    Err(error) => warn!(%resource, %error, "cannot compare the cache with the store"),
                }
            }
            _ = compare_at.tick() => {
                let inner = inner.clone();
                comparing = Some(Box::pin(async move { inner.compare().await })).into();
            }
        }
    }
}

/// Applies a batch; whether the cache is still to be trusted.
fn take(inner: &Inner, batch: &KvBatch) -> bool {
    // Decoded before the lock is taken.
    let mut updates = batch.events.iter().map(|event| (event.revision, update(inner, event)));
    let mut groups: Vec<(Revision, Vec<Update>)> = Vec::new();
    for (revision, update) in &mut updates {
        match groups.last_mut() {
            Some((last, group)) if *last == revision => group.push(update),
            _ => groups.push((revision, vec![update])),
        }
    }
    inner.counters.events.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
    let reached = {
        let mut state = inner.state();
        for (revision, group) in groups {
            if let Err(error) = state.apply(revision, group) {
                drop(state);
                inner.distrust(&error.to_string());
                return false;
            }
        }
        state.progress(batch.revision);
        state.revision
    };
    inner.reached.send_if_modified(|known| {
        let news = *known != reached;
        *known = reached;
        news
    });
    true
}

fn update(inner: &Inner, event: &KvEvent) -> Update {
    let store = &inner.store;
    let path = store.path(&event.key);
    let existed = event.previous.is_some();
    let natural = if existed { EventKind::Modified } else { EventKind::Added };
    let item = event.value.as_ref().map(|value| {
        Arc::new(Item::new(&store.kind, path.clone(), value, event.revision, natural))
    });
    if let Some(error) = item.as_ref().and_then(|item| item.broken()) {
        error!(key = event.key, error, "a stored object can't be decoded");
    }
    Update { path, item, existed }
}

impl Inner {
    /// The cache is wrong: a defect here, in the store, or somebody who wrote past the store's
    /// rules. Nothing is served from it until it has been filled again.
    fn distrust(&self, detail: &str) {
        error!(resource = %self.store.resource, detail, "the cache is wrong; filling it again");
        self.counters.inconsistencies.fetch_add(1, Ordering::Relaxed);
        self.state().distrust();
        self.reached.send_replace(0);
    }
}

/// Growing times between attempts.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

impl Pause {
    async fn wait(&mut self) {
        sleep(self.0.mul_f64(1.0 + random_fraction())).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
    }
}

/// Fetched at once.
const FILL_KEYS: usize = 1000;
/// For what must not wait for the next event.
const TICK: Duration = Duration::from_secs(10);
