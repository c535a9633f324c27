//! `cargo xtask down`: leaves nothing behind but the caches.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::{Layout, Lock};
use crate::proc::{self, Record};
use crate::progress::Progress;
use crate::{cgroups, components, netns, node, preflight};

/// What `up` makes in `.dev`; the private etcds of `test it` are there too and not ours.
const IN_DEV: [&str; 8] =
    ["bin", "config", "data", "kubeconfig", "kubectl-cache", "logs", "pki", "crds"];

pub(crate) fn run(layout: &Layout, progress: &Progress) -> Result<()> {
    let _lock = Lock::take()?;
    let owner = layout.owner();
    if owner.is_none() && !layout.dev.exists() {
        progress.say("nothing is up");
        return Ok(());
    }
    preflight::root()?;
    preflight::owner(layout)?;
    clean(layout, &owner.unwrap_or_else(|| layout.root.clone()))?;
    progress.say("down: nothing is left but the caches");
    Ok(())
}

/// Ends and removes the cluster that the checkout `owner` started.
pub(crate) fn clean(layout: &Layout, owner: &Path) -> Result<()> {
    stop_processes(layout)?;
    cgroups::remove()?;
    kill_shims(layout)?;
    netns::delete()?;
    netns::remove_empty_mount_point()?;
    node::release(layout)?;
    let dev = owner.join(".dev");
    for name in IN_DEV {
        node::remove(&dev.join(name))?;
    }
    // Not empty while `test it` runs.
    drop(fs::remove_dir(dev));
    Ok(())
}

/// Our server first, while the cluster it talks to is still there; the kubelet before the containers,
/// so that it does not restart them; the etcds last.
fn stop_processes(layout: &Layout) -> Result<()> {
    for name in components::NAMES.iter().rev() {
        if let Some(record) = Record::load(layout, name) {
            record.stop(Duration::from_secs(5))?;
        }
    }
    Ok(())
}

/// The shims left their parent on purpose, to survive containerd; its address tells whose they are.
/// What they started goes with them: gVisor's processes are in no cgroup of ours.
fn kill_shims(layout: &Layout) -> Result<()> {
    let socket = layout.containerd_socket().display().to_string();
    for _ in 0..100 {
        let shims: Vec<i32> = proc::all()
            .into_iter()
            .filter(|(_, args)| {
                args.first().is_some_and(|program| program.ends_with("/containerd-shim-runc-v2"))
                    && args.contains(&socket)
            })
            .map(|(pid, _)| pid)
            .collect();
        if shims.is_empty() {
            return Ok(());
        }
        for pid in proc::with_descendants(shims) {
            // Gone already is what we want.
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("containerd shims survive SIGKILL");
}
