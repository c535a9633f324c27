//! Parse, build, run, map to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use sandbox_apiserver::config::{Command, Config, Flags};
use sandbox_apiserver::{app, generate, telemetry};

/// JSON is many small objects: with the C library's allocator a claim spent almost half of its CPU
/// on them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(Command::GenerateCrds { out_dir }) = &flags.command {
        return exit(generate::crds(out_dir), 1);
    }
    let config = match Config::try_from(flags) {
        Ok(config) => config,
        Err(error) => return exit(Err(error), 64),
    };
    telemetry::init(config.log_format);
    exit(app::run(config), 1)
}

/// 64 (EX_USAGE) for a bad configuration, 1 for a server that could not start or go on.
fn exit(result: anyhow::Result<()>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}
