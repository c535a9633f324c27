//! Figures of claims for `/metrics`.

use std::time::Duration;

use apiserver::status::ApiError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::service::Answer;

/// From half a millisecond: a claim is expected to take a few.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What claims came to.
#[derive(Debug, Clone)]
pub struct ClaimMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    races: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
    launch_type: &'static str,
}

impl Default for ClaimMetrics {
    fn default() -> Self {
        Self {
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            races: Counter::default(),
        }
    }
}

impl ClaimMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "sandbox_claim_duration_seconds",
            "Time from a judged request to the stored claim, by what came of it",
            self.durations.clone(),
        );
        registry.register(
            "sandbox_claim_races",
            "Candidates that were lost to another claim",
            self.races.clone(),
        );
    }

    pub(super) fn raced(&self) {
        self.races.inc();
    }

    pub(super) fn answered(&self, duration: Duration, answer: &Result<Answer, ApiError>) {
        let labels = match answer {
            Err(error) => Labels { outcome: outcome(error), launch_type: "" },
            Ok(Answer { created: false, .. }) => Labels { outcome: "known", launch_type: "" },
            Ok(Answer { claim, .. }) => {
                let launch = claim.at("status.sandbox.launchType").and_then(|it| it.as_str());
                match launch {
                    Some("Warm") => Labels { outcome: "bound", launch_type: "warm" },
                    Some(_) => Labels { outcome: "bound", launch_type: "cold" },
                    None => Labels { outcome: "waiting", launch_type: "" },
                }
            }
        };
        self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    /// A claim that had waited got its Sandboxes.
    pub(super) fn served(&self, waited: Duration) {
        let labels = Labels { outcome: "served", launch_type: "warm" };
        self.durations.get_or_create(&labels).observe(waited.as_secs_f64());
    }
}

fn outcome(error: &ApiError) -> &'static str {
    match error.code() {
        409 => "conflict",
        422 => "invalid",
        429 => "too_many",
        503 => "exhausted",
        _ => "error",
    }
}
