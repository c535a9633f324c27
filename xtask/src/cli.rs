//! The command line, and which module answers which command.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::layout::Layout;
use crate::{
    bench, deps, down, forward, generate, gobuild, kube, progress::Progress, services, status,
    test, up,
};

#[derive(Parser, Debug)]
#[command(name = "cargo xtask", about = "The local cluster, the tests, the benchmarks")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Install, build and start everything: a real Kubernetes and our server in it
    Up(UpArgs),
    /// Stop and remove everything that `up` made (the build caches stay)
    Down,
    /// Show every component, the node and the APIService
    Status,
    /// Show a component's log
    Logs {
        name: String,
        /// Follow the log
        #[arg(short, long)]
        follow: bool,
        /// How many lines from the end
        #[arg(long, default_value_t = 200)]
        tail: u32,
    },
    /// Run kubectl against the cluster
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the tests (all of them, or one kind) and print the totals
    Test {
        kind: Option<TestKind>,
        /// Passed on to the test runner, after `--`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Run a benchmark against a release build
    Bench {
        name: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Regenerate the files that are derived from the types
    Generate {
        /// Only compare; fail when a file differs
        #[arg(long)]
        check: bool,
    },
    /// Install the Debian packages that are missing
    Deps,
    /// Build one pinned Go part and print where its programs are
    #[command(hide = true)]
    Build { part: String },
    /// Stop, start or kill one component (for tests)
    #[command(hide = true)]
    Service { action: ServiceAction, name: String },
    /// Carry loopback ports of the machine into the cluster's network namespace
    #[command(hide = true)]
    Forward,
}

#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct UpArgs {
    /// Build our server optimised, and let both etcds sync to disk
    #[arg(long)]
    pub(crate) release: bool,
    /// What our server keeps its objects in
    #[arg(long, value_enum, default_value_t)]
    pub(crate) store: StoreKind,
    /// The cluster alone
    #[arg(long, hide = true)]
    pub(crate) without_server: bool,
    /// Even an optimised build: a benchmark of servers wants the disk out of the way
    #[arg(long, hide = true)]
    pub(crate) no_fsync: bool,
}

impl UpArgs {
    /// Whether both etcds sync to disk.
    pub(crate) fn sync(self) -> bool {
        self.release && !self.no_fsync
    }
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StoreKind {
    /// An etcd of its own
    #[default]
    Etcd,
    /// A file; no second etcd runs
    Embedded,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TestKind {
    /// cargo test of libraries, binaries and examples
    Unit,
    /// in-process servers against a private real etcd
    It,
    /// several servers over one etcd while things are killed, and whether what clients saw fits
    History,
    /// replicas of claims and pools over one store under faults, and whether promises were kept
    Claims,
    /// the Go suite against the whole cluster
    Cluster,
    /// the client libraries against the whole cluster
    Clients,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceAction {
    Start,
    Stop,
    Restart,
    /// SIGKILL, and do not start again
    Kill,
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let layout = Layout::of_this_checkout()?;
        let progress = Progress::start();
        match self.command {
            Command::Up(args) => up::run(&layout, &progress, args)?,
            Command::Down => down::run(&layout, &progress)?,
            Command::Status => return status::run(&layout),
            Command::Logs { name, follow, tail } => services::logs(&layout, &name, follow, tail)?,
            Command::Kubectl { args } => return kube::passthrough(&layout, &args),
            Command::Test { kind, args } => return test::run(&layout, &progress, kind, &args),
            Command::Bench { name, args } => return bench::run(&layout, &progress, &name, &args),
            Command::Generate { check } => generate::run(&layout, check)?,
            Command::Deps => deps::install(&progress)?,
            Command::Build { part } => gobuild::build_named(&layout, &progress, &part)?,
            Command::Service { action, name } => services::act(&layout, &progress, action, &name)?,
            Command::Forward => forward::run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
