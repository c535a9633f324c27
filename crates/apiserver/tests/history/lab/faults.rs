//! What goes wrong, when: a schedule from the seed.

use std::time::Duration;

use anyhow::Result;
use apiserver::storage::Kv;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use super::Lab;
use crate::lab::reference::Reference;
use crate::model::history::{Compaction, Noise};
use crate::recorder::Recorder;

/// Kills, stops and starts until `until`; then something may still be down.
pub(crate) async fn run(
    lab: &mut Lab,
    recorder: &Recorder,
    mut rng: StdRng,
    until: Instant,
) -> Result<()> {
    loop {
        let pause = Duration::from_millis(rng.random_range(1000..4000));
        if Instant::now() + pause >= until {
            sleep_until(until).await;
            return Ok(());
        }
        sleep(pause).await;
        let one = rng.random_range(0..lab.replicas.len());
        let down = Duration::from_millis(rng.random_range(0..1500));
        // Up to longer than a silent watch of the store is trusted.
        let frozen = Duration::from_millis(rng.random_range(100..3500));
        recorder.trouble();
        match rng.random_range(0..10) {
            0..=3 => {
                lab.replicas[one].process.kill();
                sleep(down).await;
                lab.replicas[one].start()?;
            }
            4..=5 => {
                lab.replicas[one].process.freeze()?;
                sleep(frozen).await;
                lab.replicas[one].process.resume()?;
            }
            6..=7 => {
                lab.etcd.process.kill();
                sleep(down).await;
                lab.etcd.restart()?;
            }
            _ => {
                lab.etcd.process.freeze()?;
                sleep(frozen).await;
                lab.etcd.process.resume()?;
            }
        }
        recorder.trouble();
    }
}

/// Compacts at random moments, and moves the revision by keys that no watch is about. Never returns.
pub(crate) async fn compact(
    kv: &dyn Kv,
    reference: &Reference,
    recorder: &Recorder,
    mut rng: StdRng,
) {
    loop {
        sleep(Duration::from_millis(rng.random_range(300..2500))).await;
        if rng.random_bool(0.5) {
            let start = recorder.now();
            let put = apiserver::storage::Write::Put { key: NOISE.into(), value: "x".into() };
            if let Ok(apiserver::storage::Outcome::Done(revision)) =
                kv.txn(Vec::new(), vec![put]).await
            {
                let end = recorder.now();
                recorder.add(|history| history.noises.push(Noise { start, end, revision }));
            }
        }
        // The reference must not be outrun: then nobody would know the truth.
        let most = reference.reached();
        let back = if rng.random_bool(0.25) { 0 } else { rng.random_range(50..400) };
        let revision = most - back;
        if revision <= 1 {
            continue;
        }
        let start = recorder.now();
        // Whatever the answer: it may have happened.
        recorder.add(|history| history.compactions.push(Compaction { start, revision }));
        drop(kv.compact(revision).await);
    }
}

/// Outside the kind's keys.
const NOISE: &str = "/noise";
