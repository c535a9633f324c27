//! `cargo xtask bench NAME`: a Go program of the suite against a release build.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cli::UpArgs;
use crate::gobuild::{ETCD, KWOK, SAMPLE_APISERVER};
use crate::layout::{Layout, Lock, NETNS_PATH, SERVER};
use crate::proc::Record;
use crate::progress::Progress;
use crate::{components, server, test, up};

pub(crate) fn run(
    layout: &Layout,
    progress: &Progress,
    name: &str,
    args: &[String],
) -> Result<ExitCode> {
    let Some(suite) = test::suite(layout) else { bail!("tests/cluster/suite is not there yet") };
    let program = format!("./bench/{name}");
    if !suite.join(&program).is_dir() {
        bail!("no benchmark tests/cluster/suite/bench/{name}");
    }
    let release = UpArgs { release: true, ..UpArgs::default() };
    let mut command = match name {
        "api" => {
            up::run(layout, progress, UpArgs { no_fsync: true, ..release })?;
            beside_a_peer(layout, progress, &suite, &program)?
        }
        "claim" => {
            // The program has the flag too: its goals are for stores that do not sync.
            let no_fsync = !args.iter().any(|arg| arg.trim_start_matches('-') == "durable");
            up::run(layout, progress, UpArgs { no_fsync, ..release })?;
            with_fake_nodes(layout, progress, &suite, &program)?
        }
        "exec" => {
            up::run(layout, progress, release)?;
            let mut command = inside(layout, &suite, &program)?;
            command.env("BENCH_SERVER_PID", pid(layout, SERVER)?);
            command
        }
        _ => {
            up::run(layout, progress, release)?;
            let mut go = Command::new("go");
            go.arg("run").arg(program).current_dir(suite);
            test::for_the_cluster(&mut go, layout)?;
            go
        }
    };
    let status = command.args(args).status().context("cannot run the benchmark")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program that runs servers of its own inside the cluster's network namespace, so that nothing
/// but the kernel is between client and server.
fn beside_a_peer(
    layout: &Layout,
    progress: &Progress,
    suite: &Path,
    program: &str,
) -> Result<Command> {
    let (peer, etcd) = {
        let _lock = Lock::take()?;
        (SAMPLE_APISERVER.ensure(layout, progress)?, ETCD.ensure(layout, progress)?)
    };
    progress.say("cargo build -p apiserver --example flunder --release");
    let ours = server::cargo_build(
        layout,
        &["-p", "apiserver", "--example", "flunder", "--release"],
        "release/examples/flunder",
    )?;
    let mut command = inside(layout, suite, program)?;
    command
        .env("BENCH_FLUNDER", ours)
        .env("BENCH_SAMPLE_APISERVER", peer.join("sample-apiserver"))
        .env("BENCH_ETCD", etcd.join("etcd"))
        .env("BENCH_SERVER_PID", pid(layout, SERVER)?)
        .env("BENCH_SERVER_ETCD_PID", pid(layout, components::SERVER_ETCD)?);
    Ok(command)
}

/// A program that starts kwok, and looks at what every component uses.
fn with_fake_nodes(
    layout: &Layout,
    progress: &Progress,
    suite: &Path,
    program: &str,
) -> Result<Command> {
    let kwok = {
        let _lock = Lock::take()?;
        KWOK.ensure(layout, progress)?
    };
    let mut pids = Vec::new();
    for name in components::NAMES {
        pids.push(format!("{name}={}", pid(layout, name)?));
    }
    let mut command = inside(layout, suite, program)?;
    command.env("BENCH_KWOK", kwok.join("kwok")).env("BENCH_PIDS", pids.join(","));
    Ok(command)
}

/// The program, compiled, in the cluster's network namespace.
fn inside(layout: &Layout, suite: &Path, program: &str) -> Result<Command> {
    let built = compile(layout, suite, program)?;
    // It keeps the pid, so that an interrupt of the terminal reaches the program.
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NETNS_PATH}")).arg("--").arg(built);
    test::inside_the_cluster(&mut command, layout)?;
    Ok(command)
}

/// Not `go run`: inside the namespace there is no module proxy.
fn compile(layout: &Layout, suite: &Path, program: &str) -> Result<PathBuf> {
    let name = Path::new(program).file_name().context("a benchmark without a name")?;
    let built = layout.bin().join("bench").join(name);
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&built)
        .arg(program)
        .current_dir(suite)
        .status()
        .context("cannot run go")?;
    if !status.success() {
        bail!("go build {program} failed (its messages are above)");
    }
    Ok(built)
}

fn pid(layout: &Layout, name: &str) -> Result<String> {
    match Record::load(layout, name) {
        Some(record) if record.is_alive() => Ok(record.pid.to_string()),
        _ => bail!("{name} does not run"),
    }
}
