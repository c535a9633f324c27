//! Figures of streams for `/metrics`.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::splice::Ended;

/// What is open, and what has been. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StreamMetrics {
    open: Family<Of, Gauge>,
    ended: Family<OfEnd, Counter>,
    seconds: Family<Of, Counter<f64, std::sync::atomic::AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    verb: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEnd {
    verb: &'static str,
    reason: &'static str,
}

impl StreamMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("sandbox_streams_open", "Streams that are open", self.open.clone());
        registry.register(
            "sandbox_streams",
            "Streams that have ended, by the reason",
            self.ended.clone(),
        );
        registry.register(
            "sandbox_stream_seconds",
            "Time that streams were open, of those that have ended",
            self.seconds.clone(),
        );
    }

    pub(super) fn opened(&self, verb: &'static str) {
        self.open.get_or_create(&Of { verb }).inc();
    }

    pub(super) fn closed(&self, verb: &'static str, ended: Ended, after: Duration) {
        self.open.get_or_create(&Of { verb }).dec();
        self.ended.get_or_create(&OfEnd { verb, reason: ended.name() }).inc();
        self.seconds.get_or_create(&Of { verb }).inc_by(after.as_secs_f64());
    }
}
