//! `cargo xtask test`: runs the tests and adds up what their runners report.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cli::{TestKind, UpArgs};
use crate::gobuild::ETCD;
use crate::layout::{FORWARDS, Layout, Lock};
use crate::progress::Progress;
use crate::totals::Totals;
use crate::{clients, deps, node, sh, up};

pub(crate) fn run(
    layout: &Layout,
    progress: &Progress,
    kind: Option<TestKind>,
    args: &[String],
) -> Result<ExitCode> {
    deps::install(progress)?;
    // The checkers have flags of their own: they get the arguments only if they are meant.
    let meant = |only| if kind == Some(only) { args } else { &[] };
    let kinds = match kind {
        Some(kind) => vec![kind],
        None => vec![
            TestKind::Unit,
            TestKind::It,
            TestKind::History,
            TestKind::Claims,
            TestKind::Cluster,
            TestKind::Clients,
        ],
    };
    let mut totals = Totals::default();
    for kind in kinds {
        progress.say(format!("test {kind:?}"));
        let result = match kind {
            TestKind::Unit => unit(layout, args),
            TestKind::It => it(layout, progress, args),
            TestKind::History => history(layout, progress, meant(TestKind::History)),
            TestKind::Claims => claims(layout, progress, meant(TestKind::Claims)),
            TestKind::Cluster => cluster(layout, progress, args),
            TestKind::Clients => clients::run(layout, progress, args),
        };
        // The other kinds still have something to say.
        totals += result.unwrap_or_else(|error| {
            eprintln!("error: test {kind:?}: {error:#}");
            Totals::BROKEN
        });
    }
    if totals.ignored > 0 {
        println!("{} ignored", totals.ignored);
    }
    println!("{totals}");
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn unit(layout: &Layout, args: &[String]) -> Result<Totals> {
    let mut totals = Totals::default();
    for targets in [&["--lib", "--bins", "--examples"][..], &["--doc"]] {
        let mut cargo = cargo_test(layout);
        cargo.arg("--workspace").args(targets).arg("--").args(args);
        totals += watch(&mut cargo)?;
    }
    Ok(totals)
}

/// Our servers in the test's process, against an etcd of their own.
fn it(layout: &Layout, progress: &Progress, args: &[String]) -> Result<Totals> {
    let mut suites = Vec::new();
    for (package, directory) in
        [("apiserver", "crates/apiserver/tests/it"), ("sandbox-apiserver", "tests/it")]
    {
        if layout.root.join(directory).exists() {
            suites.push(package);
        } else {
            progress.say(format!("{directory} is not there yet: skipped"));
        }
    }
    if suites.is_empty() {
        return Ok(Totals::default());
    }
    let program = etcd_program(layout, progress)?;
    let etcd = PrivateEtcd::start(layout, &program)?;
    let mut totals = Totals::default();
    for package in suites {
        let mut cargo = cargo_test(layout);
        cargo
            .args(["-p", package, "--test", "it", "--"])
            .args(args)
            .env("TEST_ETCD_ENDPOINT", &etcd.endpoint)
            .env("TEST_ETCD_BIN", &program);
        totals += watch(&mut cargo)?;
    }
    Ok(totals)
}

/// Its etcds and replicas are its own. Without arguments: two minutes of a seed from the clock, and
/// the planted bugs.
fn history(layout: &Layout, progress: &Progress, args: &[String]) -> Result<Totals> {
    let program = etcd_program(layout, progress)?;
    let mut cargo = cargo_test(layout);
    cargo
        .args(["-p", "apiserver", "--test", "history", "--"])
        .args(args)
        .env("TEST_ETCD_BIN", program);
    watch(&mut cargo)
}

/// Its etcd is its own. Without arguments: a few thousand claims of a seed from the clock on both
/// stores, and the planted bug. With arguments it is optimised: they ask for many.
fn claims(layout: &Layout, progress: &Progress, args: &[String]) -> Result<Totals> {
    let program = etcd_program(layout, progress)?;
    let mut cargo = cargo_test(layout);
    if !args.is_empty() {
        cargo.arg("--release");
    }
    cargo
        .args(["-p", "sandbox-apiserver", "--test", "claims_model", "--"])
        .args(args)
        .env("TEST_ETCD_BIN", program);
    watch(&mut cargo)
}

fn etcd_program(layout: &Layout, progress: &Progress) -> Result<PathBuf> {
    let _lock = Lock::take()?;
    Ok(ETCD.ensure(layout, progress)?.join("etcd"))
}

fn cluster(layout: &Layout, progress: &Progress, args: &[String]) -> Result<Totals> {
    let Some(suite) = suite(layout) else {
        progress.say("tests/cluster/suite is not there yet: skipped");
        return Ok(Totals::default());
    };
    up::run(layout, progress, UpArgs::default())?;
    let mut go = Command::new("go");
    go.args(["test", "./...", "-v", "-count=1", "-timeout", "40m"]).args(args).current_dir(suite);
    watch(for_the_cluster(&mut go, layout)?)
}

/// The Go module of the cluster tests and benchmarks.
pub(crate) fn suite(layout: &Layout) -> Option<PathBuf> {
    let suite = layout.root.join("tests/cluster/suite");
    suite.join("go.mod").exists().then_some(suite)
}

/// What a Go program needs to find the cluster.
pub(crate) fn for_the_cluster<'a>(go: &'a mut Command, layout: &Layout) -> Result<&'a mut Command> {
    let [(_, _), (server, _), (cluster_etcd, _), (our_etcd, _)] = FORWARDS;
    Ok(go
        .env("KUBECONFIG", layout.kubeconfig())
        .env("KUBECTL", layout.bin().join("kubectl"))
        .env("XTASK", std::env::current_exe()?)
        .env("DEV_DIR", &layout.dev)
        .env("SANDBOX_SERVER", format!("https://127.0.0.1:{server}"))
        .env("CLUSTER_ETCD_ENDPOINT", format!("http://127.0.0.1:{cluster_etcd}"))
        .env("SANDBOX_ETCD_ENDPOINT", format!("http://127.0.0.1:{our_etcd}")))
}

/// The same for one that runs in the cluster's network namespace.
pub(crate) fn inside_the_cluster<'a>(
    program: &'a mut Command,
    layout: &Layout,
) -> Result<&'a mut Command> {
    let [_, (_, server), (_, cluster_etcd), (_, our_etcd)] = FORWARDS;
    Ok(for_the_cluster(program, layout)?
        .env("KUBECONFIG", layout.config("admin.kubeconfig"))
        .env("SANDBOX_SERVER", format!("https://{server}"))
        .env("CLUSTER_ETCD_ENDPOINT", format!("http://{cluster_etcd}"))
        .env("SANDBOX_ETCD_ENDPOINT", format!("http://{our_etcd}")))
}

fn cargo_test(layout: &Layout) -> Command {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--locked", "--no-fail-fast"]).current_dir(&layout.root);
    cargo
}

/// Shows the output as it comes, and counts.
pub(crate) fn watch(command: &mut Command) -> Result<Totals> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut output = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut totals = Totals::default();
    let mut line = Vec::new();
    let mut stdout = std::io::stdout();
    while output.read_until(b'\n', &mut line)? > 0 {
        stdout.write_all(&line)?;
        totals += Totals::of_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(totals.with_verdict(child.wait()?.success()))
}

/// A real etcd on a free port; ends with the tests.
struct PrivateEtcd {
    child: Child,
    directory: PathBuf,
    endpoint: String,
}

impl PrivateEtcd {
    fn start(layout: &Layout, program: &Path) -> Result<Self> {
        let directory = layout.dev.join("it").join(std::process::id().to_string());
        fs::create_dir_all(&directory)?;
        let (client, peer) = (free_port()?, free_port()?);
        let endpoint = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let log = fs::File::create(directory.join("etcd.log"))?;
        let child = Command::new(program)
            .args(["--name", "it", "--unsafe-no-fsync", "--log-level", "warn", "--data-dir"])
            .arg(directory.join("data"))
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("it={peer}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start etcd")?;
        let mut etcd = Self { child, directory, endpoint };
        etcd.wait_ready(client)?;
        Ok(etcd)
    }

    fn wait_ready(&mut self, port: u16) -> Result<()> {
        let started = Instant::now();
        // It listens once it has elected itself.
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if self.child.try_wait()?.is_some() || started.elapsed() > Duration::from_secs(30) {
                let log = fs::read_to_string(self.directory.join("etcd.log")).unwrap_or_default();
                bail!("etcd does not start: {}", log.lines().next_back().unwrap_or("no output"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for PrivateEtcd {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait()).map(drop);
        let removed = node::remove(&self.directory);
        if let Err(error) = ended.map_err(Into::into).and(removed) {
            eprintln!("cannot clean up the private etcd: {error:#}");
        }
        // Only empty ones: another test run may be going on.
        if let Some(parent) = self.directory.parent() {
            drop(fs::remove_dir(parent));
            drop(parent.parent().map(fs::remove_dir));
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
