//! A real etcd that syncs to disk: a kill must lose nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::process::Process;

pub(crate) struct Etcd {
    program: String,
    directory: PathBuf,
    port: u16,
    peer_port: u16,
    pub(crate) process: Process,
}

impl Etcd {
    pub(super) fn start(directory: PathBuf, port: u16, peer_port: u16) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "how the test runner says where etcd is")]
        let program = std::env::var("TEST_ETCD_BIN")
            .context("TEST_ETCD_BIN is not set: run `cargo xtask test history`")?;
        let mut etcd = Self { program, directory, port, peer_port, process: Process::default() };
        etcd.restart()?;
        Ok(etcd)
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Starts it (again) on the same data and ports; it needs a moment to answer.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(&self.directory)
            .args(["--name=history", "--log-level=error"])
            .args([format!("--listen-client-urls={client}")])
            .args([format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}")])
            .args([format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--initial-cluster=history={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.process.start(&mut command)
    }
}
