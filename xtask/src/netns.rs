//! The cluster's network namespace: nothing leaves the machine, nothing collides with its ports.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::layout::{NETNS, NETNS_PATH, NODE_IP};
use crate::sh::{self, cmd};

const BRIDGE: &str = "cni0";

pub(crate) fn exists() -> bool {
    Path::new(NETNS_PATH).exists()
}

pub(crate) fn create() -> Result<()> {
    if exists() {
        return Ok(());
    }
    sh::output(&mut cmd("ip", &["netns", "add", NETNS]))?;
    let address = format!("{NODE_IP}/16");
    let steps: [&[&str]; 6] = [
        &["ip", "link", "set", "lo", "up"],
        &["ip", "link", "add", BRIDGE, "type", "bridge"],
        &["ip", "addr", "add", &address, "dev", BRIDGE],
        &["ip", "link", "set", BRIDGE, "up"],
        // Components look for the interface of the default route to learn their own address.
        &["ip", "route", "add", "default", "dev", BRIDGE],
        &["sysctl", "-qw", "net.ipv4.ip_forward=1"],
    ];
    for step in steps {
        sh::output(&mut inside(step))?;
    }
    Ok(())
}

pub(crate) fn delete() -> Result<()> {
    if exists() {
        sh::output(&mut cmd("ip", &["netns", "delete", NETNS]))?;
    }
    Ok(())
}

/// A command inside the namespace.
pub(crate) fn inside(args: &[&str]) -> std::process::Command {
    let mut command = cmd("nsenter", &[format!("--net={NETNS_PATH}")]);
    command.arg("--").args(args);
    command
}

/// Moves the calling thread, and no other, into the namespace for good.
pub(crate) fn enter() -> Result<()> {
    let file = File::open(NETNS_PATH).context("the cluster's network namespace is gone")?;
    setns(file, CloneFlags::CLONE_NEWNET).context("setns")?;
    Ok(())
}

/// Whether somebody listens at `address` in the namespace.
pub(crate) fn listens(address: &str) -> bool {
    in_thread(address, |address| connect(address).is_ok())
}

/// Whether `GET path` at `address` in the namespace answers 200.
pub(crate) fn answers(address: &str, path: &str) -> bool {
    let path = path.to_owned();
    in_thread(address, move |address| http_ok(address, &path).unwrap_or(false))
}

fn in_thread(address: &str, probe: impl FnOnce(&str) -> bool + Send + 'static) -> bool {
    let address = address.to_owned();
    let probe = std::thread::spawn(move || enter().is_ok() && probe(&address));
    probe.join().unwrap_or(false)
}

fn connect(address: &str) -> Result<TcpStream> {
    let address: SocketAddr = address.parse()?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

fn http_ok(address: &str, path: &str) -> Result<bool> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head.ends_with(b" 200"))
}

/// `ip netns add` also makes /run/netns itself a mount; an empty one is of no use to anybody.
pub(crate) fn remove_empty_mount_point() -> Result<()> {
    let directory = Path::new("/run/netns");
    if directory.exists() && fs::read_dir(directory)?.next().is_none() {
        // Not a mount: nothing to undo.
        nix::mount::umount(directory).unwrap_or_default();
        fs::remove_dir(directory)?;
    }
    Ok(())
}
