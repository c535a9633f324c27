//! What the cache tells of itself.

use std::sync::atomic::Ordering;

use super::Cacher;
use crate::meta::GroupResource;

/// Figures of one kind's cache at one moment.
#[derive(Debug, Clone)]
pub struct CacheStats {
    pub resource: GroupResource,
    pub ready: bool,
    /// Everything up to here is in the cache.
    pub revision: i64,
    pub objects: usize,
    /// What the objects take in memory, about.
    pub object_bytes: usize,
    pub history_events: usize,
    /// What remembered events keep in memory besides, about.
    pub history_bytes: usize,
    pub watchers: usize,
    /// Watchers ended because their buffer was full.
    pub watchers_overrun: u64,
    /// How often everything was read from the store.
    pub fills: u64,
    pub events: u64,
    /// Times the cache was found to be wrong.
    pub inconsistencies: u64,
    pub consistent_reads: u64,
    /// Consistent reads that had to go to the store.
    pub fallbacks: u64,
}

impl Cacher {
    pub fn stats(&self) -> CacheStats {
        let inner = &*self.inner;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let state = inner.state();
        CacheStats {
            resource: inner.store.resource.as_ref().clone(),
            ready: state.is_ready(),
            revision: state.revision,
            objects: state.objects.len(),
            object_bytes: state.objects_bytes,
            history_events: state.history.len(),
            history_bytes: state.history.bytes(),
            watchers: state.watchers.len(),
            watchers_overrun: state.watchers.overrun,
            fills: count(&inner.counters.fills),
            events: count(&inner.counters.events),
            inconsistencies: count(&inner.counters.inconsistencies),
            consistent_reads: count(&inner.counters.consistent_reads),
            fallbacks: count(&inner.counters.fallbacks),
        }
    }
}
