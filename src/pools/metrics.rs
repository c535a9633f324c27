//! Figures of pools for `/metrics`.
//!
//! They are read from the keeper's memory at each scrape, so a pool's series end with the pool, and
//! no more than [`POOLS_MAX`] pools have any.

use std::fmt;
use std::sync::Arc;

use apiserver::meta::ObjectKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::keeper::Keeper;
use super::plan::Why;

/// Pools that have series: the first by namespace and name.
const POOLS_MAX: usize = 1_000;

/// What is counted of one pool, by this process.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) ready: i32,
    pub(super) desired: i32,
    pub(super) created: u64,
    /// By [`Why`].
    pub(super) deleted: [u64; Why::ALL.len()],
}

/// The figures of all pools, and how many claims wait.
#[derive(Debug)]
pub struct PoolMetrics {
    keeper: Arc<Keeper>,
}

/// A pool and what is to be told of it.
type Row = (String, String, Figures);

impl PoolMetrics {
    pub(super) fn new(keeper: Arc<Keeper>) -> Self {
        Self { keeper }
    }

    fn rows(&self) -> Vec<Row> {
        let memory = self.keeper.memory();
        let mut all: Vec<(&ObjectKey, &Figures)> = memory
            .iter()
            .filter_map(|(key, memory)| Some((key, memory.figures.as_ref()?)))
            .collect();
        all.sort_by_key(|(key, _)| *key);
        all.truncate(POOLS_MAX);
        let row = |(key, figures): (&ObjectKey, &Figures)| {
            (key.namespace.clone().unwrap_or_default(), key.name.clone(), figures.clone())
        };
        all.into_iter().map(row).collect()
    }
}

/// One metric with a series for each pool.
fn per_pool<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    rows: &[Row],
    (name, help): (&str, &str),
    metric: impl Fn(&Figures) -> M,
) -> Result<(), fmt::Error> {
    let kind = metric(&Figures::default()).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (namespace, pool, figures) in rows {
        let labels = [("namespace", namespace.as_str()), ("pool", pool.as_str())];
        metric(figures).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Collector for PoolMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.rows();
        let about = ("sandbox_pool_ready", "Members that a claim can have");
        per_pool(&mut encoder, &rows, about, |it| ConstGauge::new(i64::from(it.ready)))?;
        let about = ("sandbox_pool_desired", "Members that are asked for");
        per_pool(&mut encoder, &rows, about, |it| ConstGauge::new(i64::from(it.desired)))?;
        let about = ("sandbox_pool_created", "Members that this server has made");
        per_pool(&mut encoder, &rows, about, |it| ConstCounter::new(it.created))?;
        let kind = ConstCounter::new(0_u64).metric_type();
        let help = "Members that this server has deleted, by cause";
        let mut family = encoder.encode_descriptor("sandbox_pool_deleted", help, None, kind)?;
        for (namespace, pool, figures) in &rows {
            for why in Why::ALL {
                let labels = [
                    ("namespace", namespace.as_str()),
                    ("pool", pool.as_str()),
                    ("cause", why.as_str()),
                ];
                let count = ConstCounter::new(figures.deleted[why as usize]);
                count.encode(family.encode_family(&labels)?)?;
            }
        }
        let waiting = i64::try_from(self.keeper.claims.waiting()).unwrap_or(i64::MAX);
        let waiting = ConstGauge::new(waiting);
        let help = "Claims that wait for stock, in all lines";
        let name = "sandbox_claim_queue_length";
        let metric = encoder.encode_descriptor(name, help, None, waiting.metric_type())?;
        waiting.encode(metric)
    }
}
