//! What became of Events, for `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    /// Refused by the cluster, or the cluster was away for too long.
    Failed,
    /// The queue had no room.
    QueueFull,
    /// Its object has had too many.
    Paced,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Failed => "failed",
            Self::QueueFull => "queue_full",
            Self::Paced => "paced",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// Counts of Events by outcome. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct EventMetrics(Family<Labels, Counter>);

impl EventMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("sandbox_events", "Events told, by what became of them", self.0.clone());
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.0.get_or_create(&Labels { outcome: outcome.as_str() }).inc();
    }

    #[cfg(test)]
    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        self.0.get_or_create(&Labels { outcome: outcome.as_str() }).get()
    }
}
