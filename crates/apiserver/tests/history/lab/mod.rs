//! The real things: an etcd and several replicas as child processes, what lies between them, and
//! what is done to all of it.

mod etcd;
pub(crate) mod faults;
mod process;
mod proxy;
pub(crate) mod reference;
pub(crate) mod replica;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use apiserver::clock::new_uid;
use apiserver::storage::{EtcdKv, EtcdOptions, Kv};
use apiserver::tasks::Tasks;
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout};

use self::etcd::Etcd;
use self::process::Process;
use self::proxy::Proxy;
use self::replica::{Planted, ReplicaFlags};

/// One etcd and its replicas, in a directory of their own that goes with them.
pub(crate) struct Lab {
    pub(crate) etcd: Etcd,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) certificate: Vec<u8>,
    _directory: Directory,
}

pub(crate) struct Replica {
    flags: ReplicaFlags,
    pub(crate) process: Process,
    /// Between it and etcd.
    pub(crate) proxy: Proxy,
}

impl Lab {
    /// Returns once everything answers.
    pub(crate) async fn start(replicas: usize, planted: Planted, tasks: &Tasks) -> Result<Self> {
        let directory = Directory::make()?;
        let mut ports = free_ports(2 * replicas + 2)?.into_iter();
        let mut port = move || ports.next().context("as many ports as asked for");
        let etcd = Etcd::start(directory.0.join("etcd"), port()?, port()?)?;
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (certificate, key) = (directory.0.join("cert.pem"), directory.0.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        let mut lab = Self {
            etcd,
            replicas: Vec::new(),
            certificate: made.cert.der().to_vec(),
            _directory: directory,
        };
        for _ in 0..replicas {
            let proxy = Proxy::start(port()?, lab.etcd.address(), tasks);
            let flags = ReplicaFlags {
                port: port()?,
                etcd: proxy.endpoint(),
                certificate: certificate.clone(),
                key: key.clone(),
                planted,
            };
            lab.replicas.push(Replica { flags, process: Process::default(), proxy });
        }
        lab.heal().await?;
        Ok(lab)
    }

    /// Everything runs and answers again.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.etcd.process.resume()?;
        if !self.etcd.process.is_running() {
            self.etcd.restart()?;
        }
        let kv = self.kv().await?;
        wait_until("etcd", || async { kv.health().await.is_ok() }).await?;
        for replica in &mut self.replicas {
            replica.proxy.lose_answers(None);
            replica.process.resume()?;
            replica.start()?;
        }
        for replica in &mut self.replicas {
            replica.answers().await?;
        }
        Ok(())
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(Replica::address).collect()
    }

    /// The checker's own client of etcd.
    pub(crate) async fn kv(&self) -> Result<Arc<dyn Kv>> {
        let mut options = EtcdOptions::new(vec![self.etcd.endpoint()]);
        options.deadline = Duration::from_secs(2);
        options.progress_interval = Duration::from_millis(200);
        Ok(Arc::new(EtcdKv::connect(&options).await?))
    }
}

impl Replica {
    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.flags.port).into()
    }

    /// Starts it unless it runs.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.process.is_running() {
            return Ok(());
        }
        self.process.start(&mut self.flags.command()?)
    }

    async fn answers(&mut self) -> Result<()> {
        let address = self.address();
        let started = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            // Somebody may have had the port for a moment.
            self.start()?;
            if started.elapsed() > PATIENCE {
                bail!("the replica on {address} does not listen");
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// Polls until it is so.
pub(crate) async fn wait_until<F, R>(what: &str, mut condition: F) -> Result<()>
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let poll = async {
        while !condition().await {
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, poll).await.with_context(|| format!("{what}: not within {PATIENCE:?}"))
}

/// Not from the range that the kernel gives to outgoing connections: a replica must find its port
/// free when it comes back.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut rng = rand::rng();
    let mut ports = Vec::new();
    for _ in 0..PORT_ATTEMPTS {
        let port = rng.random_range(15_000..32_000);
        if !ports.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
        if ports.len() == count {
            return Ok(ports);
        }
    }
    bail!("no {count} free ports")
}

struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Self> {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}", new_uid()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const PORT_ATTEMPTS: usize = 10_000;
