//! What the cache tells of itself.

use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

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

/// The figures of all caches as metrics. Names: `[apiserver] pkg/storage/cacher/metrics/metrics.go`
/// and `pkg/storage/etcd3/metrics/metrics.go` where they have one; bytes are ours.
#[derive(Debug)]
pub struct CacheMetrics(pub Vec<Cacher>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    group: String,
    resource: String,
}

type Figure = (&'static str, &'static str, fn(&CacheStats) -> u64);

fn count(figure: usize) -> u64 {
    u64::try_from(figure).unwrap_or(u64::MAX)
}

const GAUGES: [Figure; 7] = [
    ("apiserver_resource_objects", "Number of stored objects", |it| count(it.objects)),
    ("apiserver_watch_cache_object_bytes", "Memory that cached objects take, about", |it| {
        count(it.object_bytes)
    }),
    ("apiserver_watch_cache_history_events", "Number of remembered events", |it| {
        count(it.history_events)
    }),
    ("apiserver_watch_cache_history_bytes", "Memory that remembered events keep, about", |it| {
        count(it.history_bytes)
    }),
    ("apiserver_watch_cache_resource_version", "Revision up to which the cache is", |it| {
        u64::try_from(it.revision).unwrap_or_default()
    }),
    ("apiserver_watch_cache_ready", "Whether the cache can be served from", |it| {
        u64::from(it.ready)
    }),
    ("apiserver_watch_cache_watchers", "Number of live watches", |it| count(it.watchers)),
];

const COUNTERS: [Figure; 6] = [
    ("apiserver_terminated_watchers", "Watches ended because they were too slow", |it| {
        it.watchers_overrun
    }),
    ("apiserver_watch_cache_initializations", "Times everything was read from the store", |it| {
        it.fills
    }),
    ("apiserver_watch_cache_events_received", "Events from the store", |it| it.events),
    ("apiserver_storage_consistency_failures", "Times the cache was found to be wrong", |it| {
        it.inconsistencies
    }),
    ("apiserver_watch_cache_consistent_reads", "Lists that had to be the newest", |it| {
        it.consistent_reads
    }),
    (
        "apiserver_watch_cache_consistent_read_fallbacks",
        "Those that the store had to serve",
        |it| it.fallbacks,
    ),
];

impl Collector for CacheMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats: Vec<CacheStats> = self.0.iter().map(Cacher::stats).collect();
        let labels = |of: &CacheStats| Labels {
            group: of.resource.group.clone(),
            resource: of.resource.resource.clone(),
        };
        for (name, help, figure) in GAUGES {
            let family = Family::<Labels, Gauge>::default();
            for of in &stats {
                let value = i64::try_from(figure(of)).unwrap_or(i64::MAX);
                family.get_or_create(&labels(of)).set(value);
            }
            let metric = encoder.encode_descriptor(name, help, None, family.metric_type())?;
            family.encode(metric)?;
        }
        for (name, help, figure) in COUNTERS {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for of in &stats {
                let labels = labels(of);
                let of = ConstCounter::new(figure(of));
                of.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
