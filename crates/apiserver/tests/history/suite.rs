//! What is run and how it is told: in the form of Rust's own test runner, so that the same tools
//! count it.

use std::io::Write as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use apiserver::clock::{Clock as _, SystemClock};
use apiserver::request::duration::parse;
use clap::{Args, ValueEnum as _};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::lab::replica::Planted;
use crate::model::history::History;
use crate::model::{self, Check, Violation};
use crate::round::{Round, SERVED};
use crate::summary::Summary;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Of the first round; the next ones count up. From the clock if not given
    #[arg(long)]
    seed: Option<u64>,
    /// Of all good rounds together
    #[arg(long, default_value = "2m", value_parser = duration)]
    duration: Duration,
    /// Of one round at most
    #[arg(long, default_value = "2m", value_parser = duration)]
    round: Duration,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Only this run; without the flag the good one and those with a bug
    #[arg(long)]
    planted: Option<Planted>,
    /// Where to put every history as JSON lines; without the flag only those with a violation are
    /// kept, in cargo's directory for tests
    #[arg(long)]
    history_dir: Option<PathBuf>,
    /// Only tests whose names contain this
    filter: Option<String>,
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
    for (name, table) in model::tests::ALL {
        report.test(flags, name, || catch_unwind(table).map_err(|_| anyhow::anyhow!("panicked")));
    }
    // Names, not numbers: a test's name should not need an explanation.
    let count = ["no", "one", "two", "three", "four", "five"][usize::from(flags.replicas)];
    for planted in Planted::value_variants().iter().copied() {
        if flags.planted.is_some_and(|only| only != planted) {
            continue;
        }
        let (name, wanted) = match planted {
            Planted::None => (format!("history::etcd_{count}_replicas"), &[][..]),
            Planted::DropEvent => ("history::finds_a_dropped_event".into(), &[Check::Watch][..]),
            // The state that a watch begins with is a list too.
            Planted::StaleList => {
                ("history::finds_a_stale_list".into(), &[Check::List, Check::Watch][..])
            }
            Planted::RepeatWrite => ("history::finds_a_repeated_write".into(), &[Check::Write][..]),
        };
        report.test(flags, &name, || match wanted {
            [] => runtime.block_on(good(flags)),
            _ => runtime.block_on(bad(flags, planted, wanted)),
        });
    }
    report.close(started)
}

impl Report {
    fn test(&mut self, flags: &Flags, name: &str, run: impl FnOnce() -> Result<()>) {
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
                self.failed.push(name.to_owned());
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
async fn good(flags: &Flags) -> Result<()> {
    let mut left = flags.duration;
    let mut seed = seed(flags)?;
    while !left.is_zero() {
        let duration = left.min(flags.round);
        left -= duration;
        let round =
            Round { seed, duration, replicas: flags.replicas.into(), planted: Planted::None };
        let (history, found) = play(round).await?;
        let name = format!("history-{seed}.jsonl");
        if found.is_empty() {
            if let Some(directory) = &flags.history_dir {
                save(directory, &name, &history)?;
            }
            ensure!(Summary::of(&history).is_telling(), "the round shows nothing: not a test");
        } else {
            let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let path = save(flags.history_dir.as_deref().unwrap_or(scratch), &name, &history)?;
            found.iter().take(SHOWN_MAX).for_each(|violation| println!("{violation}"));
            bail!(
                "{} violations; the history is {}; to play it again: --planted none --seed {seed} \
                 --duration {}s --replicas {}",
                found.len(),
                path.display(),
                duration.as_secs(),
                flags.replicas,
            );
        }
        seed = seed.wrapping_add(1);
    }
    Ok(())
}

/// Short rounds with a bug, until it shows as the first of `wanted`. It may show as the others too.
async fn bad(flags: &Flags, planted: Planted, wanted: &[Check]) -> Result<()> {
    let first = seed(flags)?;
    for number in 0..PLANTED_ROUNDS_MAX {
        let seed = first.wrapping_add(number);
        let round =
            Round { seed, duration: PLANTED_ROUND, replicas: flags.replicas.into(), planted };
        let (history, found) = play(round).await?;
        if let Some(directory) = &flags.history_dir {
            save(directory, &format!("history-{planted:?}-{seed}.jsonl"), &history)?;
        }
        // Any other finding would be a bug that nobody planted.
        ensure!(
            found.iter().all(|violation| wanted.contains(&violation.check)),
            "more than the planted bug: {}",
            found.iter().map(|violation| format!("\n{violation}")).collect::<String>()
        );
        if let Some(violation) = found.iter().find(|violation| violation.check == wanted[0]) {
            println!(
                "found {} violations, as planted, the first of them\n{violation}",
                found.len()
            );
            return Ok(());
        }
    }
    bail!("the planted bug was not found in {PLANTED_ROUNDS_MAX} rounds, seeds from {first}")
}

async fn play(round: Round) -> Result<(History, Vec<Violation>)> {
    let Round { seed, duration, replicas, planted } = round;
    println!("history: seed {seed}, {duration:?}, {replicas} replicas, planted {planted:?}");
    let history = round.play().await.with_context(|| format!("seed {seed}"))?;
    println!("history: seed {seed}: {}", Summary::of(&history));
    let started = Instant::now();
    let found = model::check(&history, SERVED);
    println!("history: seed {seed}: judged in {:.1?}", started.elapsed());
    Ok((history, found))
}

fn seed(flags: &Flags) -> Result<u64> {
    flags.seed.map_or_else(|| Ok(u64::try_from(SystemClock.now().as_microsecond())?), Ok)
}

/// One record a line, each with its kind.
fn save(directory: &Path, name: &str, history: &History) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(name);
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    for line in history.lines() {
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(path)
}

fn duration(text: &str) -> Result<Duration> {
    parse(text).context("not a duration like 90s or 2m")
}

const SHOWN_MAX: usize = 5;
const PLANTED_ROUND: Duration = Duration::from_secs(12);
const PLANTED_ROUNDS_MAX: u64 = 5;
