//! `cargo xtask bench NAME`: a Go program of the suite against a release build.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cli::UpArgs;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::{test, up};

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
    up::run(layout, progress, UpArgs { release: true, ..UpArgs::default() })?;
    let mut go = Command::new("go");
    go.arg("run").arg(program).args(args).current_dir(suite);
    let status = test::for_the_cluster(&mut go, layout)?.status().context("cannot run go")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
