//! The watch cache: one upstream watch per kind feeds a persistent map and a window of events, and
//! every list and watch is served from them (`[apiserver] pkg/storage/cacher`).
//!
//! - [`state`]: the map, the indexes and the window, changed one revision at a time under one lock;
//! - [`history`]: the window, and the map as of a revision in it;
//! - [`watchers`]: who is told of what, with a bounded buffer each;
//! - [`upstream`]: fills the state and follows the store; never stops trying;
//! - [`barrier`]: "now" for consistent reads, asked once for all who wait;
//! - [`list`], [`watch`]: the two kinds of reader.
//!
//! Readers take the lock for a clone of the map (constant time) and leave. An answer that the
//! cache can't give with certainty is left to the store.

mod barrier;
mod compare;
mod history;
mod list;
mod metrics;
mod state;
mod upstream;
mod watch;
mod watchers;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use self::barrier::Barrier;
pub use self::metrics::{CacheMetrics, CacheStats};
use self::state::State;
#[cfg(feature = "test-util")]
use super::Planted;
use super::error::{initializing, parse_revision, read_error};
use super::{Item, ResourceStore, Revision};
use crate::meta::ObjectKey;
use crate::status::ApiError;
use crate::tasks::{CancellationToken, OnExit, Tasks};

/// Limits and times of a watch cache.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// How long events are remembered at least, while `history_bytes_max` allows.
    pub history: Duration,
    /// What remembered events may keep in memory, about.
    pub history_bytes_max: usize,
    /// Revisions that a watcher may be behind before it is ended.
    pub watcher_buffer: usize,
    /// What they may keep in memory, about; one revision alone may be larger.
    pub watcher_buffer_bytes_max: usize,
    /// How long a read waits for a revision that the cache has not seen.
    pub freshness_wait: Duration,
    /// How often the cache is compared with the store.
    pub compare_interval: Duration,
    /// A fault to find, for tests of tests.
    #[cfg(feature = "test-util")]
    pub planted: Planted,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            history: Duration::from_secs(90),
            history_bytes_max: 64 * 1024 * 1024,
            watcher_buffer: 1000,
            watcher_buffer_bytes_max: 16 * 1024 * 1024,
            freshness_wait: Duration::from_secs(3),
            compare_interval: Duration::from_secs(300),
            #[cfg(feature = "test-util")]
            planted: Planted::None,
        }
    }
}

/// The cached objects of one kind. Cheap to clone.
#[derive(Clone)]
pub struct Cacher {
    inner: Arc<Inner>,
}

struct Inner {
    store: ResourceStore,
    options: CacheOptions,
    state: Mutex<State>,
    /// Everything up to this revision is in the state; 0 while there is none.
    reached: tokio::sync::watch::Sender<Revision>,
    barrier: Barrier,
    counters: Counters,
    /// Cancelled when nobody follows the store any more.
    stopping: CancellationToken,
}

#[derive(Debug, Default)]
struct Counters {
    fills: AtomicU64,
    events: AtomicU64,
    inconsistencies: AtomicU64,
    consistent_reads: AtomicU64,
    fallbacks: AtomicU64,
}

impl fmt::Debug for Cacher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { store, options, .. } = &*self.inner;
        f.debug_struct("Cacher").field("store", store).field("options", options).finish()
    }
}

impl Cacher {
    /// Begins to fill the cache; it follows the store until `tasks` stop.
    pub fn start(store: ResourceStore, options: CacheOptions, tasks: &Tasks) -> Self {
        let (fields, labels) = (store.kind.fields.len(), store.kind.labels.len());
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(fields, labels, &options)),
            reached: tokio::sync::watch::Sender::new(0),
            barrier: Barrier::default(),
            counters: Counters::default(),
            stopping: tasks.stopping().clone(),
            store,
            options,
        });
        let upstream = inner.clone();
        tasks.spawn("watch-cache", OnExit::Shutdown, async move {
            upstream.stopping.run_until_cancelled(upstream::run(&upstream)).await;
            upstream.state().close();
        });
        Self { inner }
    }

    /// Whether the cache has been filled.
    pub fn is_ready(&self) -> bool {
        self.inner.state().is_ready()
    }

    /// Returns once the cache has been filled.
    pub async fn filled(&self) {
        // An error means that it never will be: nobody is left to fill it.
        drop(self.inner.reached.subscribe().wait_for(|revision| *revision > 0).await);
    }

    /// The object, not older than `resource_version` (as on the wire; empty = the newest).
    ///
    /// # Errors
    /// 404; 504 when `resource_version` is in the future; 500 when the value can't be decoded.
    pub async fn get(
        &self,
        key: &ObjectKey,
        resource_version: &str,
    ) -> Result<Arc<Item>, ApiError> {
        let Inner { store, .. } = &*self.inner;
        let least = parse_revision(resource_version, &store.resource)?;
        let full = store.keys.object(key)?;
        let path = store.path(&full);
        let least = match least {
            Some(least) if self.is_ready() => least,
            _ => {
                // One linearizable read; the value needs no second decoding.
                let got = store.kv.get(&full, None).await.map_err(read_error)?;
                let missing = || ApiError::not_found(&store.resource, &key.name);
                let kv = got.kv.ok_or_else(missing)?;
                if let Some(least) = least.filter(|least| *least > got.revision) {
                    return Err(ApiError::too_large_resource_version(least, got.revision));
                }
                let cached = self.cached(&path).filter(|item| item.revision() == kv.mod_revision);
                return Ok(cached.unwrap_or_else(|| store.item(&kv)));
            }
        };
        self.inner.wait_for(least).await?;
        self.cached(&path).ok_or_else(|| ApiError::not_found(&store.resource, &key.name))
    }

    /// What the cache has of an object, however old.
    pub(super) fn suggestion(&self, key: &ObjectKey) -> Option<Arc<Item>> {
        let store = &self.inner.store;
        self.cached(&store.path(&store.keys.object(key).ok()?))
    }

    fn cached(&self, path: &str) -> Option<Arc<Item>> {
        self.inner.state().objects.get(path).cloned()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // No step leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 429 while there is nothing to serve.
    fn check_ready(&self) -> Result<(), ApiError> {
        match self.state().unready_for(Instant::now()) {
            None => Ok(()),
            Some(downtime) => Err(initializing(downtime)),
        }
    }

    /// A revision that includes every write acknowledged before the call, once the cache has it.
    ///
    /// # Errors
    /// 503 when the store is away; 504 when the cache does not get there in time.
    async fn wait_for_now(&self) -> Result<Revision, ApiError> {
        let store = &self.store;
        let reached = *self.reached.borrow();
        let now = self.barrier.now(store.kv.clone(), store.keys.root(), reached).await?;
        self.wait_for(now).await?;
        Ok(now)
    }

    /// Returns when everything up to `revision` is in the cache.
    ///
    /// # Errors
    /// 504 `Too large resource version` after [`CacheOptions::freshness_wait`]; 503 at once when the
    /// server stops: nothing comes any more, and whoever waits would hold up its end.
    async fn wait_for(&self, revision: Revision) -> Result<(), ApiError> {
        let mut reached = self.reached.subscribe();
        if *reached.borrow_and_update() >= revision {
            return Ok(());
        }
        let waiting = async {
            loop {
                let there = async { reached.wait_for(|it| *it >= revision).await.is_ok() };
                if timeout(PROGRESS_PAUSE, there).await.is_ok() {
                    return;
                }
                self.barrier.ask_for_progress(self.store.kv.as_ref()).await;
            }
        };
        let in_time = timeout(self.options.freshness_wait, waiting);
        match self.stopping.run_until_cancelled(in_time).await {
            Some(Ok(())) => return Ok(()),
            Some(Err(_)) => {}
            None => return Err(ApiError::service_unavailable("the server is shutting down")),
        }
        let current = *self.reached.borrow();
        Err(ApiError::too_large_resource_version(revision, current))
    }
}

/// Between requests for progress while somebody waits.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);
