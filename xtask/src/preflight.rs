//! Refuses early, in one line each, what could not work.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Result, bail};

use crate::gobuild;
use crate::layout::{FORWARDS, Layout};
use crate::proc::Record;
use crate::{components, deps};

const GIB: u64 = 1 << 30;

pub(crate) fn root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("not root: namespaces, mounts and cgroups need it (try sudo)");
    }
    Ok(())
}

/// Everything that must hold before `up` changes anything.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    owner(layout)?;
    ports(layout)?;
    disk(layout)?;
    deps::go_is_there()
}

/// A living cluster of another checkout is not ours to touch; a dead one, or that of a checkout that
/// was deleted, is only rubbish.
pub(crate) fn owner(layout: &Layout) -> Result<()> {
    match layout.owner() {
        Some(owner) if owner != layout.root && owner.exists() && any_alive(layout) => bail!(
            "the cluster of another checkout is running: {} (run `cargo xtask down` there)",
            owner.display()
        ),
        _ => Ok(()),
    }
}

pub(crate) fn any_alive(layout: &Layout) -> bool {
    components::NAMES
        .iter()
        .any(|name| Record::load(layout, name).is_some_and(|record| record.is_alive()))
}

fn ports(layout: &Layout) -> Result<()> {
    if Record::load(layout, "forward").is_some_and(|record| record.is_alive()) {
        return Ok(());
    }
    for (port, _) in FORWARDS {
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            bail!("port 127.0.0.1:{port} is taken by another program: {error}");
        }
    }
    Ok(())
}

fn disk(layout: &Layout) -> Result<()> {
    let cold = gobuild::OF_THE_CLUSTER.iter().any(|part| !part.is_built(layout));
    // Go's own module and build caches take most of it.
    let needed = if cold { 12 * GIB } else { 3 * GIB };
    for path in [layout.cache.as_path(), layout.root.as_path(), Path::new("/var/lib")] {
        let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let stat = nix::sys::statvfs::statvfs(existing)?;
        let free = stat.blocks_available() * stat.fragment_size();
        if free < needed {
            bail!(
                "{} has {:.1} GiB free, {} GiB are needed",
                existing.display(),
                free as f64 / GIB as f64,
                needed / GIB
            );
        }
    }
    Ok(())
}
