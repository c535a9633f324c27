//! What the cluster leaves on the machine outside its own directories, and how to remove it again.
//!
//! Some paths have no flag. Those that are not there before `up` are noted, and `down` removes them;
//! those that are there belong to somebody else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};

use crate::layout::{HOSTPATH_VOLUMES, Layout};

const WITHOUT_A_FLAG: [&str; 11] = [
    HOSTPATH_VOLUMES,
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/log/containers",
    "/var/log/pods",
    "/run/containerd",
    "/run/runc",
    "/run/xtables.lock",
    "/opt/cni",
    "/usr/libexec/kubernetes",
];

/// Takes possession of the machine's one cluster.
pub(crate) fn claim(layout: &Layout) -> Result<()> {
    fs::create_dir_all(&layout.run)?;
    fs::create_dir_all(layout.records())?;
    let noted = layout.state.join("made-by-us");
    if !noted.exists() {
        let absent: Vec<&str> =
            WITHOUT_A_FLAG.into_iter().filter(|path| !Path::new(path).exists()).collect();
        fs::write(&noted, absent.join("\n"))?;
    }
    fs::write(layout.owner_file(), layout.root.as_os_str().as_encoded_bytes())?;
    Ok(())
}

/// Removes every path that the cluster made. Nothing of it may be running any more.
pub(crate) fn release(layout: &Layout) -> Result<()> {
    unmount_below(&[&layout.state, &layout.run, Path::new("/var/lib/kubelet")])?;
    let noted = fs::read_to_string(layout.state.join("made-by-us")).unwrap_or_default();
    for path in noted.lines() {
        remove(Path::new(path))?;
    }
    remove_links_into(Path::new("/var/log/containers"), &layout.state)?;
    remove(&layout.run)?;
    remove(&layout.state)
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    result.with_context(|| format!("cannot remove {}", path.display()))
}

fn remove_links_into(directory: &Path, target: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|link| link.starts_with(target)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Nothing is deleted below a mount that stays: what is mounted there could be anybody's.
fn unmount_below(roots: &[&Path]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mounts = mounts_below(roots)?;
        let Some(first) = mounts.first() else { return Ok(()) };
        if Instant::now() > deadline {
            bail!("{} cannot be unmounted", first.display());
        }
        for mount in mounts.iter().rev() {
            // One that is busy or hidden below another: the next round sees.
            umount2(mount, MntFlags::MNT_DETACH).unwrap_or_default();
        }
    }
}

fn mounts_below(roots: &[&Path]) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| roots.iter().any(|root| path.starts_with(root)))
        .collect();
    mounts.sort();
    Ok(mounts)
}
