//! `cargo xtask service` and `logs`: one component at a time.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::ServiceAction;
use crate::components::{self, NAMES};
use crate::layout::{Layout, Lock, SERVER};
use crate::proc::Record;
use crate::progress::Progress;
use crate::{preflight, up};

pub(crate) fn act(
    layout: &Layout,
    progress: &Progress,
    action: ServiceAction,
    name: &str,
) -> Result<()> {
    check_name(name)?;
    let _lock = Lock::take()?;
    preflight::root()?;
    if layout.owner().as_ref() != Some(&layout.root) {
        bail!("no cluster of this checkout: run `cargo xtask up`");
    }
    let record = Record::load(layout, name);
    if let Some(record) = record {
        match action {
            ServiceAction::Stop | ServiceAction::Restart => record.stop(grace(name))?,
            ServiceAction::Kill => record.kill()?,
            ServiceAction::Start => {}
        }
    }
    if matches!(action, ServiceAction::Start | ServiceAction::Restart) {
        let component = components::all(layout, up::syncs(layout), up::store(layout))?
            .into_iter()
            .find(|component| component.name() == name)
            .context("not in the table of components")?;
        component.ensure(layout)?;
    }
    let state = match Record::load(layout, name) {
        Some(record) if record.is_alive() => format!("up, pid {}", record.pid),
        _ => "down".to_owned(),
    };
    progress.say(format!("{name}: {state}"));
    Ok(())
}

pub(crate) fn logs(layout: &Layout, name: &str, follow: bool, lines: u32) -> Result<()> {
    check_name(name)?;
    let log = layout.log(name);
    if !log.exists() {
        bail!("no log {}: `cargo xtask up` has not started {name}", layout.show(&log));
    }
    let mut tail = Command::new("tail");
    tail.args(["-n", &lines.to_string()]);
    if follow {
        tail.arg("-F");
    }
    // Only returns when it fails.
    Err(tail.arg(log).exec()).context("cannot run tail")
}

/// Ours may take its time to drain, as it would in a cluster. kube-apiserver waits a minute for its
/// watches to end, and they never do.
fn grace(name: &str) -> Duration {
    Duration::from_secs(if name == SERVER { 60 } else { 5 })
}

fn check_name(name: &str) -> Result<()> {
    if !NAMES.contains(&name) {
        bail!("no component {name:?}; there are: {}", NAMES.join(", "));
    }
    Ok(())
}
