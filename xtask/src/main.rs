//! `cargo xtask`: the real Kubernetes cluster for development, the tests and the benchmarks.
//!
//! The cluster runs from Go modules, in a network namespace of its own, without a container engine:
//! `up` builds and starts it, `down` removes every trace. See `cargo xtask --help`.

#![expect(clippy::print_stdout, reason = "a command line tool talks to its user on stdout")]
#![expect(clippy::disallowed_types, reason = "progress lines show real elapsed time")]

mod bench;
mod cgroups;
mod cli;
mod clients;
mod components;
mod configs;
mod deps;
mod down;
mod forward;
mod generate;
mod gobuild;
mod images;
mod kube;
mod layout;
mod netns;
mod node;
mod pki;
mod plugin;
mod preflight;
mod proc;
mod progress;
mod server;
mod services;
mod sh;
mod status;
mod test;
mod totals;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
