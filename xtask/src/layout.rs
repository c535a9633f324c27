//! Where everything lives, and the addresses everybody agrees on.
//!
//! - `.dev/` in the checkout: what people and tests read (kubeconfig, pki, logs) and both etcds' data.
//! - `/var/lib/sandbox-dev`: what the node mounts things under, and who owns the cluster. Not in the
//!   checkout: editors and `grep -r` must not walk into running containers, and a deleted checkout
//!   must not hide which processes to end.
//! - `/run/sandbox-dev`: sockets, because a socket path may not exceed 108 bytes.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub(crate) const NETNS: &str = "sandbox-dev";
pub(crate) const NETNS_PATH: &str = "/run/netns/sandbox-dev";
pub(crate) const NODE_NAME: &str = "sandbox-dev";
pub(crate) const NODE_IP: &str = "10.88.0.1";
pub(crate) const POD_CIDR: &str = "10.88.0.0/16";
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
pub(crate) const SYSTEM_NAMESPACE: &str = "sandbox-system";
pub(crate) const SERVER: &str = "sandbox-apiserver";
pub(crate) const API_SERVICE: &str = "v1beta1.sandbox.x-k8s.io";
/// A cgroup of our own in every hierarchy, so that `down` removes exactly ours.
pub(crate) const CGROUP_ROOT: &str = "sandbox-dev";
/// kube-controller-manager's hostpath provisioner has no flag for this path.
pub(crate) const HOSTPATH_VOLUMES: &str = "/tmp/hostpath_pv";

/// Loopback port of the machine -> address in the cluster's network namespace.
pub(crate) const FORWARDS: [(u16, &str); 4] = [
    (16443, "127.0.0.1:6443"),
    (18443, "10.88.0.1:8443"),
    (12379, CLUSTER_ETCD),
    (12479, OUR_ETCD),
];
pub(crate) const CLUSTER_ETCD: &str = "127.0.0.1:2379";
pub(crate) const OUR_ETCD: &str = "127.0.0.1:2479";

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) dev: PathBuf,
    pub(crate) cache: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) state: PathBuf,
}

impl Layout {
    pub(crate) fn of_this_checkout() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not inside a checkout")?
            .to_path_buf();
        let cache_home = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
            (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
            (_, Some(home)) => Path::new(&home).join(".cache"),
            _ => bail!("neither XDG_CACHE_HOME nor HOME is set"),
        };
        Ok(Self {
            dev: root.join(".dev"),
            cache: cache_home.join("sandbox-apiserver"),
            run: PathBuf::from("/run/sandbox-dev"),
            state: PathBuf::from("/var/lib/sandbox-dev"),
            root,
        })
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dev.join("logs")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.dev.join("bin")
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dev.join("data").join(name)
    }

    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.dev.join("pki").join(file)
    }

    pub(crate) fn config(&self, file: &str) -> PathBuf {
        self.dev.join("config").join(file)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dev.join("kubeconfig")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.state.join("processes")
    }

    pub(crate) fn owner_file(&self) -> PathBuf {
        self.state.join("owner")
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    /// The checkout whose cluster is, or was, on this machine.
    pub(crate) fn owner(&self) -> Option<PathBuf> {
        let text = std::fs::read_to_string(self.owner_file()).ok()?;
        Some(PathBuf::from(text.trim_end()))
    }

    /// Shows a path as people type it: relative to the checkout when it is inside.
    pub(crate) fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// One `cargo xtask` at a time may change the cluster. An abstract socket is a lock that the kernel
/// releases with the process and that leaves no file behind.
#[derive(Debug)]
pub(crate) struct Lock {
    _listener: UnixListener,
}

impl Lock {
    pub(crate) fn take() -> Result<Self> {
        let address = SocketAddr::from_abstract_name("sandbox-dev-xtask")?;
        for attempt in 0..2400 {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(Self { _listener: listener }),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    if attempt == 0 {
                        eprintln!("waiting for another cargo xtask to finish");
                    }
                    std::thread::sleep(Duration::from_millis(500));
                }
                Err(error) => return Err(error).context("cannot take the xtask lock"),
            }
        }
        bail!("another cargo xtask has been running for twenty minutes");
    }
}

/// `--flag=PATH`, without going through UTF-8.
pub(crate) fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut text = OsString::from(format!("--{name}="));
    text.push(value);
    text
}
