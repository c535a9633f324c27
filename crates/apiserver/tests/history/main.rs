//! The history checker: several replicas over one real etcd, clients that write, list, page and
//! watch, faults all the while, and a model that every answer must fit. `cargo xtask test history`.
//!
//! ```text
//! round.rs  starts the lab, the clients and the faults; heals; waits for the watchers
//! lab/      real processes: etcd and replicas (this executable again), a proxy between them, and
//!           what is done to all of it
//! clients/  writers, readers and watchers over HTTPS
//! model/    what was recorded, and whether it fits; pure, with tables of its own
//! ```
//!
//! The seed decides what clients and faults choose; how they interleave is the machine's. A failed
//! round is played again with its seed until it shows itself.

#![expect(clippy::print_stdout, reason = "a test runner talks to its user on stdout")]

mod clients;
mod lab;
mod model;
mod recorder;
mod round;
mod suite;
mod summary;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::lab::replica::ReplicaFlags;
use crate::suite::Flags;

#[derive(Debug, Parser)]
#[command(name = "history", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be one of the servers
    #[command(hide = true)]
    Replica(ReplicaFlags),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads and a poller");
    match cli.command {
        Some(Command::Replica(flags)) => match runtime.block_on(flags.serve()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("replica: {error:#}");
                ExitCode::FAILURE
            }
        },
        None => suite::run(&runtime, &cli.flags),
    }
}
