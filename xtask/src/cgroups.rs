//! The cluster's own cgroup, in whatever hierarchies the machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::CGROUP_ROOT;

const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// The kubelet wants its root to exist in every hierarchy.
pub(crate) fn create() -> Result<()> {
    for hierarchy in hierarchies()? {
        enable_controllers(&hierarchy)?;
        let group = hierarchy.join(CGROUP_ROOT);
        if !group.exists() {
            fs::create_dir(&group)
                .with_context(|| format!("cannot make cgroup {}", group.display()))?;
        }
        // A new cpuset is empty, and nothing could run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (parent, own) = (hierarchy.join(file), group.join(file));
            if parent.exists() && fs::read_to_string(&own)?.trim().is_empty() {
                fs::write(own, fs::read_to_string(parent)?)?;
            }
        }
    }
    Ok(())
}

/// Only the unified hierarchy has this file: controllers reach a group when its parent says so.
fn enable_controllers(hierarchy: &Path) -> Result<()> {
    let switch = hierarchy.join("cgroup.subtree_control");
    if !switch.exists() || !hierarchy.join("cgroup.controllers").exists() {
        return Ok(());
    }
    let available = fs::read_to_string(hierarchy.join("cgroup.controllers"))?;
    for controller in available.split_whitespace() {
        fs::write(&switch, format!("+{controller}"))
            .with_context(|| format!("cannot enable the cgroup controller {controller}"))?;
    }
    Ok(())
}

/// Ends every process in the groups, then removes the groups, the deepest first.
pub(crate) fn remove() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    for hierarchy in hierarchies()? {
        let group = hierarchy.join(CGROUP_ROOT);
        while group.exists() {
            let groups = subtree(&group)?;
            for group in &groups {
                kill_members(group)?;
            }
            for group in groups.iter().rev() {
                // Busy until its last process is reaped: the next round removes it.
                if fs::remove_dir(group).is_err() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            if Instant::now() > deadline {
                bail!("cgroup {} cannot be removed", group.display());
            }
        }
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(MOUNT_POINT);
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).context("no cgroups are mounted")? {
        let path = entry?.path();
        // Some machines have links such as cpu -> cpu,cpuacct.
        if !path.is_symlink() && path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

/// A group and those below it, parents first.
fn subtree(group: &Path) -> Result<Vec<PathBuf>> {
    let mut groups = vec![group.to_path_buf()];
    let mut next = 0;
    while let Some(group) = groups.get(next) {
        next += 1;
        let Ok(entries) = fs::read_dir(group) else { continue };
        let children: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        groups.extend(children);
    }
    Ok(groups)
}

fn kill_members(group: &Path) -> Result<()> {
    let Ok(members) = fs::read_to_string(group.join("cgroup.procs")) else { return Ok(()) };
    for member in members.lines() {
        let pid: i32 = member.parse().with_context(|| format!("odd pid {member:?} in a cgroup"))?;
        // 0 stands for a process of another pid namespace; to kill it would mean our own group.
        if pid <= 1 {
            continue;
        }
        // Gone already is what we want.
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
    }
    Ok(())
}
