//! `kubectl sandbox`: built beside the cluster's kubectl, so that its hints and the README find it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::layout::Layout;
use crate::progress::Progress;
use crate::{node, sh};

const PLUGIN: &str = "kubectl-sandbox";
/// kubectl asks an executable of this name for completions.
const COMPLETER: &str = "kubectl_complete-sandbox";
/// What it is built from, below `clients/`.
const SOURCES: [&str; 2] = [PLUGIN, "go"];

/// Builds it, unless it is newer than all that it is built from.
pub(crate) fn ensure(layout: &Layout, progress: &Progress) -> Result<()> {
    let clients = layout.root.join("clients");
    let program = layout.bin().join(PLUGIN);
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in SOURCES {
        newest = newest.max(newest_below(&clients.join(source))?);
    }
    let built = fs::metadata(&program).and_then(|file| file.modified());
    if built.is_ok_and(|built| built > newest) {
        return Ok(());
    }
    progress.say(format!("go build clients/{PLUGIN}"));
    let temporary = program.with_extension("new");
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&temporary).arg(".");
    sh::output(go.current_dir(clients.join(PLUGIN)).env("CGO_ENABLED", "0"))?;
    fs::rename(&temporary, &program)?;
    let completer = layout.bin().join(COMPLETER);
    node::remove(&completer)?;
    symlink(PLUGIN, completer)?;
    Ok(())
}

/// When a file below was last changed.
fn newest_below(directory: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    let entries = fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let changed = match entry.file_type()?.is_dir() {
            true => newest_below(&entry.path())?,
            false => entry.metadata()?.modified()?,
        };
        newest = newest.max(changed);
    }
    Ok(newest)
}
