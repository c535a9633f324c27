//! The two stores, each empty at first and gone in the end.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use apiserver::clock::new_uid;
use apiserver::storage::{EmbeddedKv, EmbeddedOptions, EtcdKv, EtcdOptions, Kv};
use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Etcd,
    Embedded,
}

/// Where a replica finds the store.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Etcd(String),
    Embedded(Arc<EmbeddedKv>),
}

impl Address {
    /// A way of one's own to it, in the runtime of the caller.
    pub(crate) async fn connect(&self) -> Result<Arc<dyn Kv>> {
        Ok(match self {
            Self::Etcd(endpoint) => {
                Arc::new(EtcdKv::connect(&EtcdOptions::new(vec![endpoint.clone()])).await?)
            }
            Self::Embedded(kv) => kv.clone(),
        })
    }
}

pub(crate) struct Store {
    pub(crate) address: Address,
    etcd: Option<Etcd>,
    directory: PathBuf,
}

impl Store {
    pub(crate) async fn start(kind: StoreKind) -> Result<Self> {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("claims-{}", new_uid()));
        std::fs::create_dir_all(&directory)?;
        let (address, etcd) = match kind {
            StoreKind::Embedded => {
                let kv = EmbeddedKv::open(EmbeddedOptions::new(&directory))?;
                (Address::Embedded(Arc::new(kv)), None)
            }
            StoreKind::Etcd => {
                let etcd = Etcd::start(&directory)?;
                (Address::Etcd(etcd.endpoint.clone()), Some(etcd))
            }
        };
        let store = Self { address, etcd, directory };
        let kv = store.address.connect().await?;
        for _ in 0..100 {
            if kv.health().await.is_ok() {
                return Ok(store);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the store does not answer");
    }

    /// SIGKILL and, after a while, again on the same data. False if there is nothing to kill.
    pub(crate) async fn kill(&mut self, down: Duration) -> Result<bool> {
        let Some(etcd) = &mut self.etcd else { return Ok(false) };
        etcd.kill();
        tokio::time::sleep(down).await;
        etcd.run()?;
        Ok(true)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.etcd = None;
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("cannot remove {}: {error}", self.directory.display());
        }
    }
}

struct Etcd {
    program: String,
    directory: PathBuf,
    endpoint: String,
    peer: String,
    child: Option<Child>,
}

impl Etcd {
    fn start(directory: &Path) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "how the test runner says where etcd is")]
        let program = std::env::var("TEST_ETCD_BIN")
            .context("TEST_ETCD_BIN is not set: run `cargo xtask test claims`")?;
        let [endpoint, peer] =
            [free_port()?, free_port()?].map(|port| format!("http://127.0.0.1:{port}"));
        let directory = directory.join("etcd");
        let mut etcd = Self { program, directory, endpoint, peer, child: None };
        etcd.run()?;
        Ok(etcd)
    }

    fn run(&mut self) -> Result<()> {
        let Self { endpoint, peer, .. } = self;
        let mut command = Command::new(&self.program);
        command
            .args(["--name=claims", "--log-level=error", "--unsafe-no-fsync", "--data-dir"])
            .arg(&self.directory)
            .args([format!("--listen-client-urls={endpoint}")])
            .args([format!("--advertise-client-urls={endpoint}")])
            .args([format!("--listen-peer-urls={peer}")])
            .args([format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--initial-cluster=claims={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = Some(command.spawn().context("cannot start etcd")?);
        Ok(())
    }

    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            eprintln!("cannot end etcd {}: {error}", child.id());
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
