//! Audit: what is recorded of every request (`audit.k8s.io/v1`).
//!
//! ```text
//! [Policy] at which level, in which stages -> [Record] one request, from its head to its end
//!     -> [redact] without secrets -> [Log] a line of JSON in a file
//! ```
//! A [`Record`] travels with its request ([`Record::of`]); whoever keeps a clone keeps the request
//! open, and the last one that goes writes the stage ResponseComplete. So a stream's end, a watch's
//! and that of a mutation whose client has gone are recorded when they happen.
//!
//! Meaning: `[apiserver] pkg/endpoints/filters/audit.go`, `pkg/audit/request.go`.

mod arrival;
mod event;
mod log;
mod metrics;
mod policy;
mod record;
mod redact;
mod rotate;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::registry::Registry;
use tracing::error;

pub(crate) use self::arrival::Arrival;
use self::event::Event;
pub use self::log::{Log, LogMode, LogOptions};
use self::metrics::Counters;
pub use self::policy::{Level, Policy, PolicyError, Recording, Stage};
pub use self::record::Record;
pub(crate) use self::record::Said;
pub use self::rotate::Rotation;
use crate::clock::Clock;

/// Milliseconds between two complaints about events that could not be written.
const COMPLAINT_MILLIS: i64 = 10_000;

/// Records requests, or does not. Clones are the same one.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Auditor>>);

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Audit").field(&self.0.is_some()).finish()
    }
}

struct Auditor {
    policy: Policy,
    log: Log,
    clock: Arc<dyn Clock>,
    counters: Counters,
    complained: AtomicI64,
}

impl Audit {
    /// Records nothing.
    pub fn off() -> Self {
        Self::default()
    }

    pub fn new(policy: Policy, log: Log, clock: Arc<dyn Clock>) -> Self {
        let (counters, complained) = (Counters::default(), AtomicI64::new(i64::MIN));
        Self(Some(Arc::new(Auditor { policy, log, clock, counters, complained })))
    }

    /// `apiserver_audit_…` (`[apiserver] pkg/audit/metrics.go`).
    pub fn register(&self, registry: &mut Registry) {
        if let Some(auditor) = &self.0 {
            auditor.counters.register(registry);
        }
    }

    /// Waits until all that was recorded is in the log. What is recorded later is lost.
    pub async fn close(&self) {
        let Some(auditor) = self.0.clone() else { return };
        let closed = tokio::task::spawn_blocking(move || auditor.log.close()).await;
        if let Err(error) = closed {
            error!(error = %error, "closing the audit log");
        }
    }
}

impl Auditor {
    /// Whether the event has been stored, as far as the log's mode tells.
    fn write(&self, event: &Event) -> bool {
        self.counters.event();
        let now = self.clock.now();
        let written =
            serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
                line.push(b'\n');
                self.log.write(line, now)
            });
        let Err(error) = written else { return true };
        self.counters.failed();
        let (last, now) = (self.complained.load(Ordering::Relaxed), now.as_millisecond());
        let is_due = now.saturating_sub(last) >= COMPLAINT_MILLIS;
        if is_due
            && self
                .complained
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            error!(error = %error, "an audit event was not written; others may have been lost too");
        }
        false
    }
}
