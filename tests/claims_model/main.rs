//! No Sandbox is bound twice and no pool made too large: several replicas of claims and pools over
//! one store in this process, clients and faults from a seed, and a model that is told every change
//! in the order in which the store made it. `cargo xtask test claims`.
//!
//! ```text
//! round.rs    starts all of it; heals; waits until everything has settled
//! lab/        the stores, the replicas, each in a runtime that can be killed, and what goes wrong
//! clients.rs  claims, releases, scaling, new templates, pools deleted and made again
//! cluster.rs  what the host cluster would do: Sandboxes become ready, orphans are collected
//! model/      what must hold at every revision; pure
//! ```
//!
//! The seed decides what clients and faults choose; how they interleave is the machine's.

#![expect(clippy::print_stdout, reason = "a test runner talks to its user on stdout")]

mod clients;
mod cluster;
mod lab;
mod model;
mod round;
mod suite;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let flags = suite::Flags::parse();
    let runtime = tokio::runtime::Runtime::new().expect("threads and a poller");
    suite::run(&runtime, &flags)
}
