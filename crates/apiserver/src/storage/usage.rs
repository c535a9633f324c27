//! Watches how full the store is: metrics, and a warning before it is too late.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::{debug, info, warn};

use super::Kv;
use crate::tasks::CancellationToken;

/// How full a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// What the store takes on disk.
    pub bytes: u64,
    /// From here on it refuses writes; `None` = not known.
    pub quota_bytes: Option<u64>,
    /// It refuses writes already.
    pub is_full: bool,
}

/// The store's size. Names: `[apiserver] pkg/storage/etcd3/metrics/metrics.go`; that of the quota
/// is ours.
#[derive(Debug, Clone)]
pub struct UsageMetrics {
    labels: Labels,
    size: Family<Labels, Gauge>,
    quota: Family<Labels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    storage_cluster_id: &'static str,
}

impl UsageMetrics {
    /// `store` names the store, as the first etcd of a kube-apiserver is `etcd-0`.
    pub fn new(store: &'static str) -> Self {
        let labels = Labels { storage_cluster_id: store };
        Self { labels, size: Family::default(), quota: Family::default() }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "apiserver_storage_size_bytes",
            "Size of the storage database file physically allocated in bytes",
            self.size.clone(),
        );
        registry.register(
            "apiserver_storage_quota_bytes",
            "Size from which on the storage database refuses writes",
            self.quota.clone(),
        );
    }

    fn set(&self, usage: Usage) {
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.size.get_or_create(&self.labels).set(gauge(usage.bytes));
        if let Some(quota) = usage.quota_bytes {
            self.quota.get_or_create(&self.labels).set(gauge(quota));
        }
    }
}

/// Looks every `interval` until `stop` is cancelled.
pub async fn run(
    kv: Arc<dyn Kv>,
    interval: Duration,
    metrics: UsageMetrics,
    stop: CancellationToken,
) {
    let mut last = Level::Fine;
    loop {
        match kv.usage().await {
            Ok(Some(usage)) => {
                metrics.set(usage);
                let level = Level::of(usage);
                if level != last {
                    level.tell(usage);
                    last = level;
                }
            }
            Ok(None) => return stop.cancelled().await,
            // Whoever needs the store tells it louder.
            Err(error) => debug!(%error, "cannot ask how full the store is"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// What there is to say; said when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Fine,
    High,
    Full,
}

impl Level {
    fn of(usage: Usage) -> Self {
        let is_high = |quota: u64| {
            u128::from(usage.bytes) * 100 > u128::from(quota) * u128::from(WARN_PERCENT)
        };
        if usage.is_full {
            Self::Full
        } else if usage.quota_bytes.is_some_and(is_high) {
            Self::High
        } else {
            Self::Fine
        }
    }

    fn tell(self, usage: Usage) {
        let (bytes, quota_bytes) = (usage.bytes, usage.quota_bytes);
        match self {
            Self::Fine => info!(bytes, quota_bytes, "the store has room again"),
            Self::High => warn!(
                bytes,
                quota_bytes, "the store is filling up; defragment it or raise its quota"
            ),
            Self::Full => warn!(
                bytes,
                quota_bytes,
                "the store is full and refuses writes; make room, defragment it, disarm the alarm"
            ),
        }
    }
}

const WARN_PERCENT: u8 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_above_80_percent_and_when_full() {
        let level = |bytes, quota_bytes, is_full| Level::of(Usage { bytes, quota_bytes, is_full });
        assert_eq!(level(80, Some(100), false), Level::Fine);
        assert_eq!(level(81, Some(100), false), Level::High);
        assert_eq!(level(u64::MAX, Some(u64::MAX), false), Level::High);
        assert_eq!(level(1, Some(100), true), Level::Full);
        assert_eq!(level(u64::MAX, None, false), Level::Fine);
    }
}
