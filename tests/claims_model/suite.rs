//! What is run and how it is told: in the form of Rust's own test runner, so that the same tools
//! count it.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use apiserver::clock::{Clock as _, SystemClock};
use clap::{Parser, ValueEnum};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::lab::faulty::Planted;
use crate::lab::store::StoreKind;
use crate::model::end::Totals;
use crate::model::{Check, Violation, tests};
use crate::round::Round;

/// A round has a store of its own; more claims than that are several.
const ROUND_MAX: usize = 20_000;
const PLANTED_ROUNDS_MAX: u64 = 5;
const PLANTED_CLAIMS: usize = 5_000;
const SHOWN_MAX: usize = 8;

#[derive(Debug, Parser)]
#[command(name = "claims", about = "Whether claims and pools keep their promises under faults")]
pub(crate) struct Flags {
    /// Of the first round; the next ones count up. From the clock if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Claims that are asked for in all, on all stores together
    #[arg(long, default_value_t = 3_000)]
    claims: usize,
    #[arg(long, value_enum, default_value_t = Stores::Both)]
    store: Stores,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    replicas: u8,
    /// Only this run; without the flag the good one and the one with a bug
    #[arg(long)]
    planted: Option<Planted>,
    /// Only tests whose names contain this
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stores {
    Etcd,
    Embedded,
    Both,
}

impl Stores {
    fn kinds(self) -> &'static [StoreKind] {
        match self {
            Self::Etcd => &[StoreKind::Etcd],
            Self::Embedded => &[StoreKind::Embedded],
            Self::Both => &[StoreKind::Etcd, StoreKind::Embedded],
        }
    }
}

/// Counts and failures so far.
#[derive(Default)]
struct Report {
    passed: usize,
    failed: Vec<String>,
    filtered: usize,
}

pub(crate) fn run(runtime: &Runtime, flags: &Flags) -> ExitCode {
    let started = Instant::now();
    let mut report = Report::default();
    println!();
    let runs = |planted| flags.planted.is_none_or(|only| only == planted);
    for (name, table) in tests::ALL {
        report.test(flags, name, || catch_unwind(table).map_err(|_| anyhow::anyhow!("panicked")));
    }
    let kinds = flags.store.kinds();
    for kind in kinds.iter().copied() {
        let name = match kind {
            StoreKind::Etcd => "on_etcd",
            StoreKind::Embedded => "on_the_embedded_store",
        };
        if runs(Planted::None) {
            let claims = flags.claims / kinds.len();
            report.test(flags, name, || runtime.block_on(good(flags, kind, claims)));
        }
    }
    if runs(Planted::NoGuard) {
        let name = "finds_a_missing_guard";
        report.test(flags, name, || runtime.block_on(bad(flags, kinds[0])));
    }
    report.close(started)
}

impl Report {
    fn test(&mut self, flags: &Flags, name: &str, run: impl FnOnce() -> Result<()>) {
        let name = format!("claims_model::{name}");
        if flags.filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            self.filtered += 1;
            return;
        }
        match run() {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) => {
                println!("{error:#}");
                println!("test {name} ... FAILED");
                self.failed.push(name);
            }
        }
    }

    fn close(self, started: Instant) -> ExitCode {
        if !self.failed.is_empty() {
            println!("\nfailures:");
            self.failed.iter().for_each(|name| println!("    {name}"));
        }
        let good = self.failed.is_empty();
        println!(
            "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; \
             finished in {:.2}s\n",
            if good { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
            self.filtered,
            started.elapsed().as_secs_f64(),
        );
        if good { ExitCode::SUCCESS } else { ExitCode::from(101) }
    }
}

/// Rounds without a bug: nothing may be found.
async fn good(flags: &Flags, store: StoreKind, claims: usize) -> Result<()> {
    let mut seed = seed(flags)?;
    let (mut left, mut all) = (claims, Totals::default());
    while left > 0 {
        let claims = left.min(ROUND_MAX);
        left -= claims;
        let replicas = flags.replicas.into();
        let (totals, found) =
            play(Round { seed, store, claims, replicas, planted: Planted::None }).await?;
        if !found.is_empty() {
            show(&found);
            let store = if store == StoreKind::Etcd { "etcd" } else { "embedded" };
            bail!(
                "{} violations; to play it again: --planted none --seed {seed} --claims {claims} \
                 --store {store} --replicas {replicas}",
                found.len()
            );
        }
        // One that shows nothing is no test.
        let telling = totals.warm > 0 && totals.cold > 0 && totals.gangs > 0 && totals.races > 0;
        ensure!(telling, "the round shows nothing: {totals}");
        all += totals;
        seed = seed.wrapping_add(1);
    }
    println!("claims: {store:?}, all rounds: {all}");
    Ok(())
}

/// Rounds with the bug, until it shows as what it is.
async fn bad(flags: &Flags, store: StoreKind) -> Result<()> {
    let first = seed(flags)?;
    for number in 0..PLANTED_ROUNDS_MAX {
        let (seed, replicas) = (first.wrapping_add(number), flags.replicas.into());
        let (claims, planted) = (PLANTED_CLAIMS, Planted::NoGuard);
        let (_, found) = play(Round { seed, store, claims, replicas, planted }).await?;
        if let Some(violation) = found.iter().find(|it| it.check == Check::Binding) {
            println!("found as planted: {violation}");
            return Ok(());
        }
    }
    bail!("the planted bug was not found in {PLANTED_ROUNDS_MAX} rounds, seeds from {first}")
}

async fn play(round: Round) -> Result<(Totals, Vec<Violation>)> {
    println!("claims: {round:?}");
    let started = Instant::now();
    let (totals, found) = round.play().await?;
    println!("claims: seed {} in {:.1?}: {totals}", round.seed, started.elapsed());
    Ok((totals, found))
}

/// The first of each kind, and how many there are.
fn show(found: &[Violation]) {
    let mut counts: BTreeMap<Check, usize> = BTreeMap::new();
    for violation in found {
        let count = counts.entry(violation.check).or_default();
        *count += 1;
        if *count <= SHOWN_MAX {
            println!("{violation}");
        }
    }
    println!("{counts:?}");
}

fn seed(flags: &Flags) -> Result<u64> {
    flags.seed.map_or_else(|| Ok(u64::try_from(SystemClock.now().as_microsecond())?), Ok)
}
