//! An etcd of a test's own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use apiserver::clock::new_uid;
use apiserver::storage::{EtcdKv, EtcdOptions, EtcdTls, Kv};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::env;

/// Stops with its value and takes its data along.
pub(crate) struct PrivateEtcd {
    child: Option<Child>,
    directory: PathBuf,
    port: u16,
    peer_port: u16,
    /// CA, certificate and key for both sides, in `directory`'s neighbour files.
    tls: Option<Tls>,
    arguments: Vec<String>,
}

struct Tls {
    files: PathBuf,
    options: EtcdTls,
}

impl PrivateEtcd {
    pub(crate) async fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("apiserver-it-{}", new_uid()));
        Self::start_in(directory, None, &[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("apiserver-it-{}", new_uid()));
        Self::start_in(directory, None, arguments).await
    }

    /// Both sides must show a certificate of one CA.
    pub(crate) async fn start_with_tls() -> Self {
        let directory = std::env::temp_dir().join(format!("apiserver-it-{}", new_uid()));
        let tls = Tls::make(&directory.with_extension("tls"));
        Self::start_in(directory, Some(tls), &[]).await
    }

    async fn start_in(directory: PathBuf, tls: Option<Tls>, arguments: &[&str]) -> Self {
        let (port, peer_port) = (free_port(), free_port());
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut etcd = Self { child: None, directory, port, peer_port, tls, arguments };
        etcd.restart().await;
        etcd
    }

    /// Starts it (again) on the same data and port.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let client = self.endpoint();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new(env("TEST_ETCD_BIN"));
        if let Some(tls) = &self.tls {
            let file = |name: &str| tls.files.join(name);
            command
                .arg("--client-cert-auth")
                .arg(flag("--trusted-ca-file", &file("ca.pem")))
                .arg(flag("--cert-file", &file("cert.pem")))
                .arg(flag("--key-file", &file("key.pem")));
        }
        let child = command
            .arg("--data-dir")
            .arg(&self.directory)
            .args(["--name=it", "--log-level=error", "--unsafe-no-fsync"])
            .args([format!("--listen-client-urls={client}")])
            .args([format!("--advertise-client-urls={client}")])
            .args([format!("--listen-peer-urls={peer}")])
            .args([format!("--initial-advertise-peer-urls={peer}")])
            .args([format!("--initial-cluster=it={peer}")])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("TEST_ETCD_BIN is an etcd");
        self.child = Some(child);
        let kv = self.kv().await;
        for _ in 0..200 {
            if kv.health().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("etcd on port {} is not healthy after 20 s", self.port);
    }

    /// Kills it; the data stay.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// Stops its work without closing its connections, as a hung machine does.
    pub(crate) fn freeze(&self) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args(["-STOP", &id]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// A client with short deadlines.
    pub(crate) async fn kv(&self) -> Arc<dyn Kv> {
        Arc::new(EtcdKv::connect(&self.options()).await.unwrap())
    }

    /// Those of [`PrivateEtcd::kv`].
    pub(crate) fn options(&self) -> EtcdOptions {
        let mut options = EtcdOptions::new(vec![self.endpoint()]);
        options.tls = self.tls.as_ref().map(|tls| tls.options.clone());
        options.deadline = Duration::from_secs(2);
        options.progress_interval = Duration::from_millis(200);
        options
    }

    /// One of etcd's own metrics.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }

    /// Waits until one of etcd's own metrics has the value.
    pub(crate) async fn wait_for_metric(&self, name: &str, expected: f64) {
        let mut value = f64::NAN;
        for _ in 0..200 {
            value = self.metric(name).await;
            if (value - expected).abs() < 0.5 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{name} is {value} after 10 s, not {expected}");
    }
}

/// etcd's own proxy before an etcd: it does not stream ranges, as etcd did not before 3.7.
pub(crate) struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    pub(crate) async fn start(etcd: &PrivateEtcd) -> Self {
        let port = free_port();
        let child = Command::new(env("TEST_ETCD_BIN"))
            .args(["grpc-proxy", "start"])
            .args([format!("--endpoints=127.0.0.1:{}", etcd.port)])
            .args([format!("--listen-addr=127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("TEST_ETCD_BIN is an etcd");
        let proxy = Self { child, port };
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                return proxy;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the proxy on port {port} does not listen after 10 s");
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

impl Drop for PrivateEtcd {
    fn drop(&mut self) {
        self.stop();
        for directory in [Some(&self.directory), self.tls.as_ref().map(|tls| &tls.files)] {
            let Some(directory) = directory else { continue };
            if let Err(error) = std::fs::remove_dir_all(directory) {
                eprintln!("cannot remove {}: {error}", directory.display());
            }
        }
    }
}

impl Tls {
    fn make(files: &Path) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &ca).unwrap();
        let (ca, certificate, key) = (ca.pem(), certificate.pem(), key.serialize_pem());
        std::fs::create_dir_all(files).unwrap();
        for (name, text) in [("ca.pem", &ca), ("cert.pem", &certificate), ("key.pem", &key)] {
            std::fs::write(files.join(name), text).unwrap();
        }
        let identity = Some((certificate.into_bytes(), key.into_bytes()));
        let options = EtcdTls { ca: Some(ca.into_bytes()), identity };
        Self { files: files.to_owned(), options }
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
