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

use crate::support::env;

/// Stops with its value and takes its data along.
pub(crate) struct PrivateEtcd {
    child: Option<Child>,
    directory: PathBuf,
    port: u16,
    peer_port: u16,
    /// CA, certificate and key for both sides, in `directory`'s neighbour files.
    tls: Option<Tls>,
}

struct Tls {
    files: PathBuf,
    options: EtcdTls,
}

impl PrivateEtcd {
    pub(crate) async fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("apiserver-it-{}", new_uid()));
        Self::start_in(directory, None).await
    }

    /// Both sides must show a certificate of one CA.
    pub(crate) async fn start_with_tls() -> Self {
        let directory = std::env::temp_dir().join(format!("apiserver-it-{}", new_uid()));
        let tls = Tls::make(&directory.with_extension("tls"));
        Self::start_in(directory, Some(tls)).await
    }

    async fn start_in(directory: PathBuf, tls: Option<Tls>) -> Self {
        let (port, peer_port) = (free_port(), free_port());
        let mut etcd = Self { child: None, directory, port, peer_port, tls };
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
        let mut options = EtcdOptions::new(vec![self.endpoint()]);
        options.tls = self.tls.as_ref().map(|tls| tls.options.clone());
        options.deadline = Duration::from_secs(2);
        options.progress_interval = Duration::from_millis(200);
        Arc::new(EtcdKv::connect(&options).await.unwrap())
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

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
