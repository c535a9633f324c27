//! How many requests may be under way at once.
//!
//! Rules: `k8s.io/apiserver/pkg/server/filters/maxinflight.go`.

use std::sync::Arc;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Body, Limits, Metrics, response};

/// The slots, for reads and mutations apart.
#[derive(Debug)]
pub(super) struct InFlight {
    reads: Arc<Semaphore>,
    mutations: Arc<Semaphore>,
}

/// A slot that is held.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// One more on a gauge, until dropped.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl InFlight {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(limits.reads_max)),
            mutations: Arc::new(Semaphore::new(limits.mutations_max)),
        }
    }

    pub(super) fn take(&self, is_mutating: bool, metrics: &Metrics) -> Option<Slot> {
        let slots = if is_mutating { &self.mutations } else { &self.reads };
        let permit = slots.clone().try_acquire_owned().ok()?;
        Some(Slot { _permit: permit, _counted: Counted::new(metrics.in_flight(is_mutating)) })
    }
}

pub(super) fn too_many() -> Response<Body> {
    let text = "Too many requests, please try again later.\n";
    let mut response = response::text(StatusCode::TOO_MANY_REQUESTS, text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
