//! The Debian packages that building and running need.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;
use crate::sh;

const PACKAGES: [&str; 15] = [
    // etcd-client compiles protobuf files, and needs the well-known types too.
    "protobuf-compiler",
    "libprotobuf-dev",
    // Debian's runc has seccomp; one built from its Go module would lack it.
    "runc",
    "containernetworking-plugins",
    "nftables",
    "iptables",
    "conntrack",
    "busybox-static",
    "iproute2",
    // For the Python client's tests.
    "python3-venv",
    "openssl",
    "util-linux",
    "mount",
    "procps",
    "ca-certificates",
];

pub(crate) fn install(progress: &Progress) -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("not root, and these packages are missing: {}", missing.join(" "));
    }
    progress.say(format!("apt: installing {}", missing.join(" ")));
    // The lists of a fresh machine are empty or old: update only when the install needs it.
    if apt_install(&missing).is_err() {
        sh::output(apt().arg("update")).context("apt-get update")?;
        apt_install(&missing)?;
    }
    progress.say("apt: done");
    Ok(())
}

pub(crate) fn go_is_there() -> Result<()> {
    if !sh::succeeds(Command::new("go").arg("version")) {
        bail!("go is missing: install Go and put it in PATH");
    }
    Ok(())
}

fn missing() -> Result<Vec<&'static str>> {
    let listed = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(PACKAGES)
        .stdin(Stdio::null())
        .output()
        .context("dpkg-query is missing: this needs Debian")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(not_installed(&listed))
}

fn not_installed(listed: &str) -> Vec<&'static str> {
    let installed =
        |package: &&str| listed.lines().any(|line| line == format!("{package} installed"));
    PACKAGES.into_iter().filter(|package| !installed(package)).collect()
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let mut command = apt();
    command.args(["install", "-y", "--no-install-recommends"]).args(packages);
    sh::output(&mut command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fully_installed_packages_count() {
        let listed: String = PACKAGES
            .iter()
            .filter(|package| **package != "runc")
            .map(|package| {
                let status = if *package == "nftables" { "config-files" } else { "installed" };
                format!("{package} {status}\n")
            })
            .collect();
        assert_eq!(not_installed(&listed), ["runc", "nftables"]);
    }
}
