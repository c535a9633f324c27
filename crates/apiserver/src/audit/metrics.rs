//! Names: `[apiserver] pkg/audit/metrics.go`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Level;

#[derive(Debug, Default)]
pub(super) struct Counters {
    events: Counter,
    errors: Family<Plugin, Counter>,
    levels: Family<OfLevel, Counter>,
    rejected: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plugin {
    plugin: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLevel {
    level: &'static str,
}

const LOG: Plugin = Plugin { plugin: "log" };

impl Counters {
    /// The encoder appends `_total`.
    pub(super) fn register(&self, registry: &mut Registry) {
        // So that a first failure is a rise and not a new series.
        let _made = self.errors.get_or_create(&LOG);
        registry.register(
            "apiserver_audit_event",
            "Audit events made and given to the log",
            self.events.clone(),
        );
        registry.register(
            "apiserver_audit_error",
            "Audit events that were lost: the log could not be written or its queue was full",
            self.errors.clone(),
        );
        registry.register(
            "apiserver_audit_level",
            "Requests by the level that the audit policy gave them",
            self.levels.clone(),
        );
        registry.register(
            "apiserver_audit_requests_rejected",
            "Requests refused because their audit event could not be stored (blocking-strict)",
            self.rejected.clone(),
        );
    }

    pub(super) fn event(&self) {
        self.events.inc();
    }

    pub(super) fn failed(&self) {
        self.errors.get_or_create(&LOG).inc();
    }

    pub(super) fn level(&self, level: Level) {
        self.levels.get_or_create(&OfLevel { level: level.name() }).inc();
    }

    pub(super) fn rejected(&self) {
        self.rejected.inc();
    }
}
