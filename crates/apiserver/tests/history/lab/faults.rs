//! What goes wrong, when: a schedule from the seed.

use std::time::Duration;

use anyhow::Result;
use apiserver::storage::Kv;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use super::Lab;
use super::proxy::Proxy;
use crate::lab::reference::Reference;
use crate::model::history::{Compaction, Cut, Noise};
use crate::recorder::Recorder;

/// Kills, stops, starts and cuts until `until`; then something may still be down.
pub(crate) async fn run(
    lab: &mut Lab,
    recorder: &Recorder,
    mut rng: StdRng,
    until: Instant,
) -> Result<()> {
    // One round of any length sees lost answers.
    let mut fault = LOST_ANSWERS;
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
        match std::mem::replace(&mut fault, rng.random_range(0..LOST_ANSWERS + 3)) {
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
            8..LOST_ANSWERS => {
                lab.etcd.process.freeze()?;
                sleep(frozen).await;
                lab.etcd.process.resume()?;
            }
            LOST_ANSWERS.. => {
                cut(&lab.replicas[one].proxy, &mut rng).await;
                let (at, lost) = (recorder.now(), lab.replicas[one].proxy.take_lost());
                recorder.add(|history| history.cuts.push(Cut { at, replica: one, lost }));
            }
        }
        recorder.trouble();
    }
}

/// Cuts a replica off from etcd a few times, with and without an answer under way.
async fn cut(proxy: &Proxy, rng: &mut StdRng) {
    for _ in 0..rng.random_range(2..8) {
        // From "etcd may not even have seen it" to "certainly done".
        let after = Duration::from_millis(rng.random_range(0..40));
        proxy.lose_answers(rng.random_bool(0.75).then_some(after));
        sleep(Duration::from_millis(rng.random_range(50..300))).await;
        proxy.cut();
    }
    proxy.lose_answers(None);
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

/// From this number on.
const LOST_ANSWERS: u8 = 10;
/// Outside the kind's keys.
const NOISE: &str = "/noise";
