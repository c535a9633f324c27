//! Certificates of one cluster's life, made with the openssl program. See `certs/README.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::layout::{Layout, NODE_IP, NODE_NAME};
use crate::sh;

/// Reference time is the machine's; a year is longer than any cluster here lives.
const DAYS: &str = "365";

struct Leaf {
    file: &'static str,
    ca: &'static str,
    subject: String,
    usage: &'static str,
    names: String,
}

/// Makes what is missing; keeps what is there, so that tests may rotate single files.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    let directory = layout.dev.join("pki");
    fs::create_dir_all(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    // The system's openssl.cnf would add extensions of its own.
    let config = directory.join("openssl.cnf");
    fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n")?;
    for ca in ["ca", "front-proxy-ca", "serving-ca"] {
        if !directory.join(format!("{ca}.crt")).exists() {
            authority(&directory, ca)?;
        }
    }
    for leaf in leaves() {
        if !directory.join(format!("{}.crt", leaf.file)).exists() {
            leaf.make(&directory)?;
        }
    }
    if !directory.join("sa.pub").exists() {
        service_account_key(&directory)?;
    }
    Ok(())
}

fn leaves() -> Vec<Leaf> {
    const CLIENT: &str = "clientAuth";
    const SERVER: &str = "serverAuth";
    let client = |file, subject: &str| Leaf {
        file,
        ca: "ca",
        subject: subject.to_owned(),
        usage: CLIENT,
        names: String::new(),
    };
    vec![
        client("admin", "/O=system:masters/CN=admin"),
        client(
            "kube-apiserver-kubelet-client",
            "/O=system:masters/CN=kube-apiserver-kubelet-client",
        ),
        client("kube-controller-manager", "/CN=system:kube-controller-manager"),
        client("kube-scheduler", "/CN=system:kube-scheduler"),
        client("kube-proxy", "/CN=system:kube-proxy"),
        client("kubelet-client", &format!("/O=system:nodes/CN=system:node:{NODE_NAME}")),
        Leaf { ca: "front-proxy-ca", ..client("front-proxy-client", "/CN=front-proxy-client") },
        Leaf {
            file: "apiserver",
            ca: "ca",
            subject: "/CN=kube-apiserver".to_owned(),
            usage: SERVER,
            names: format!(
                "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                 DNS:kubernetes.default.svc.cluster.local,DNS:localhost,\
                 IP:127.0.0.1,IP:{NODE_IP},IP:10.96.0.1"
            ),
        },
        Leaf {
            file: "kubelet",
            ca: "ca",
            subject: format!("/O=system:nodes/CN=system:node:{NODE_NAME}"),
            usage: SERVER,
            names: format!("DNS:{NODE_NAME},IP:{NODE_IP},IP:127.0.0.1"),
        },
        Leaf {
            file: "sandbox-apiserver",
            ca: "serving-ca",
            subject: "/CN=sandbox-apiserver".to_owned(),
            usage: SERVER,
            names: format!(
                "DNS:sandbox-apiserver.sandbox-system.svc,\
                 DNS:sandbox-apiserver.sandbox-system.svc.cluster.local,\
                 DNS:localhost,IP:127.0.0.1,IP:{NODE_IP}"
            ),
        },
    ]
}

impl Leaf {
    fn make(&self, directory: &Path) -> Result<()> {
        let mut command = request(directory, self.file, &self.subject);
        command
            .arg("-CA")
            .arg(directory.join(format!("{}.crt", self.ca)))
            .arg("-CAkey")
            .arg(directory.join(format!("{}.key", self.ca)))
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", "keyUsage=critical,digitalSignature"])
            .args(["-addext", &format!("extendedKeyUsage={}", self.usage)]);
        if !self.names.is_empty() {
            command.args(["-addext", &format!("subjectAltName={}", self.names)]);
        }
        sh::output(&mut command).map(drop)
    }
}

fn authority(directory: &Path, name: &str) -> Result<()> {
    let mut command = request(directory, name, &format!("/CN=sandbox-dev-{name}"));
    command
        .args(["-addext", "basicConstraints=critical,CA:TRUE"])
        .args(["-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"])
        .args(["-addext", "subjectKeyIdentifier=hash"]);
    sh::output(&mut command).map(drop)
}

fn request(directory: &Path, name: &str, subject: &str) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"])
        .args(["-sha256", "-days", DAYS, "-subj", subject])
        .arg("-config")
        .arg(directory.join("openssl.cnf"))
        .arg("-keyout")
        .arg(directory.join(format!("{name}.key")))
        .arg("-out")
        .arg(directory.join(format!("{name}.crt")));
    command
}

fn service_account_key(directory: &Path) -> Result<()> {
    let (key, public) = (directory.join("sa.key"), directory.join("sa.pub"));
    let mut generate = Command::new("openssl");
    generate.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]);
    sh::output(generate.arg(&key))?;
    let mut publish = Command::new("openssl");
    sh::output(publish.args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public))?;
    Ok(())
}
