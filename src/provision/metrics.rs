//! What the loop costs, for `/metrics`: writes are the currency.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Driver, StoreSandboxes};
use crate::cluster::WriteCounts;

/// Reads the loop's counters at each scrape.
#[derive(Debug)]
pub struct LoopMetrics {
    pub cluster_writes: Arc<WriteCounts>,
    pub sandboxes: Arc<StoreSandboxes>,
    pub driver: Driver,
}

impl Collector for LoopMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let writes = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor(
            "sandbox_cluster_writes",
            "Writes asked of the host cluster, by kind and verb",
            None,
            writes.metric_type(),
        )?;
        for (kind, verb, count) in self.cluster_writes.snapshot() {
            let labels = [("kind", kind.as_str()), ("verb", verb.as_str())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        for (verb, count) in self.cluster_writes.policies() {
            let labels = [("kind", "NetworkPolicy"), ("verb", verb.as_str())];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let status = ConstCounter::new(self.sandboxes.status_writes());
        let metric = encoder.encode_descriptor(
            "sandbox_status_writes",
            "Status writes asked of our own store by the loop",
            None,
            status.metric_type(),
        )?;
        status.encode(metric)?;
        let backlog = ConstGauge::new(i64::try_from(self.driver.backlog()).unwrap_or(i64::MAX));
        let metric = encoder.encode_descriptor(
            "sandbox_provision_backlog",
            "Sandboxes that wait for a worker",
            None,
            backlog.metric_type(),
        )?;
        backlog.encode(metric)
    }
}
