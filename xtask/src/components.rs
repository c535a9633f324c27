//! The components in the order of their start, with their command lines.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cli::StoreKind;
use crate::gobuild::{CONTAINERD, ETCD, KUBERNETES};
use crate::layout::{
    CLUSTER_ETCD, FORWARDS, Layout, NODE_IP, NODE_NAME, OUR_ETCD, POD_CIDR, SERVER, SERVICE_CIDR,
    flag,
};
use crate::proc::{Record, Spec};
use crate::{kube, netns};

#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) spec: Spec,
    ready: Probe,
}

#[derive(Debug, Clone)]
enum Probe {
    Http(&'static str, &'static str),
    Tcp(&'static str),
    UnixSocket(PathBuf),
    Loopback,
    KubernetesReadyz,
}

/// What was started or found running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ensured {
    Running,
    Started,
}

pub(crate) const NAMES: [&str; 10] = [
    "etcd",
    SERVER_ETCD,
    "forward",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    SERVER,
];

/// The etcd of our server.
pub(crate) const SERVER_ETCD: &str = "sandbox-etcd";

/// The table. `sync` lets both etcds wait for the disk, as a benchmark must.
pub(crate) fn all(layout: &Layout, sync: bool, store: StoreKind) -> Result<Vec<Component>> {
    let builders: [fn(&Layout) -> Result<Component>; 7] =
        [forward, kube_apiserver, controller_manager, scheduler, containerd, kubelet, kube_proxy];
    let mut components = vec![etcd(layout, "etcd", CLUSTER_ETCD, "127.0.0.1:2380", sync)?];
    if store == StoreKind::Etcd {
        components.push(etcd(layout, SERVER_ETCD, OUR_ETCD, "127.0.0.1:2480", sync)?);
    }
    for builder in builders {
        components.push(builder(layout)?);
    }
    components.push(server(layout, store));
    Ok(components)
}

impl Component {
    pub(crate) fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Runs, and the way we would start it now?
    pub(crate) fn is_current(&self, layout: &Layout) -> Result<bool> {
        let Some(record) = Record::load(layout, self.name()) else { return Ok(false) };
        Ok(record.is_alive() && record.fingerprint == self.spec.fingerprint()?)
    }

    /// Starts it unless it runs already, and waits until it is ready.
    pub(crate) fn ensure(&self, layout: &Layout) -> Result<Ensured> {
        if self.is_current(layout)? {
            return Ok(Ensured::Running);
        }
        if let Some(old) = Record::load(layout, self.name()) {
            old.stop(Duration::from_secs(20))?;
        }
        let record = self.spec.spawn(layout)?;
        self.wait_ready(layout, &record)?;
        Ok(Ensured::Started)
    }

    fn wait_ready(&self, layout: &Layout, record: &Record) -> Result<()> {
        let started = Instant::now();
        let log = layout.show(&record.log);
        loop {
            if !record.is_alive() {
                bail!("{} exited at once: {} (log {log})", self.name(), record.last_words());
            }
            if self.ready.passes(layout) {
                return Ok(());
            }
            if started.elapsed() > Duration::from_secs(90) {
                bail!("{} is not ready after 90 s (log {log})", self.name());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Probe {
    fn passes(&self, layout: &Layout) -> bool {
        match self {
            Self::Http(address, path) => netns::answers(address, path),
            Self::Tcp(address) => netns::listens(address),
            Self::UnixSocket(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
            Self::Loopback => FORWARDS
                .iter()
                .all(|(port, _)| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok()),
            Self::KubernetesReadyz => kube::is_ready(layout),
        }
    }
}

fn etcd(
    layout: &Layout,
    name: &'static str,
    client: &'static str,
    peer: &str,
    sync: bool,
) -> Result<Component> {
    let mut args = vec![
        flag("name", name),
        flag("data-dir", layout.data(name)),
        flag("listen-client-urls", format!("http://{client}")),
        flag("advertise-client-urls", format!("http://{client}")),
        flag("listen-peer-urls", format!("http://{peer}")),
        flag("initial-advertise-peer-urls", format!("http://{peer}")),
        flag("initial-cluster", format!("{name}=http://{peer}")),
        flag("quota-backend-bytes", (8_u64 << 30).to_string()),
        flag("log-level", "warn"),
    ];
    if !sync {
        args.push("--unsafe-no-fsync".into());
    }
    let program = ETCD.bin(layout)?.join("etcd");
    Ok(component(name, program, args, Probe::Http(client, "/health")))
}

fn forward(_: &Layout) -> Result<Component> {
    let program = std::env::current_exe()?;
    let mut component = component("forward", program, vec!["forward".into()], Probe::Loopback);
    // Its listeners are the machine's.
    component.spec.in_netns = false;
    Ok(component)
}

fn kube_apiserver(layout: &Layout) -> Result<Component> {
    let pki = |file| layout.pki(file);
    let args = vec![
        flag("etcd-servers", format!("http://{CLUSTER_ETCD}")),
        flag("bind-address", "0.0.0.0"),
        flag("secure-port", "6443"),
        // Not loopback: endpoints may not be.
        flag("advertise-address", NODE_IP),
        flag("service-cluster-ip-range", SERVICE_CIDR),
        flag("allow-privileged", "true"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction,OwnerReferencesPermissionEnforcement"),
        flag("tls-cert-file", pki("apiserver.crt")),
        flag("tls-private-key-file", pki("apiserver.key")),
        flag("client-ca-file", pki("ca.crt")),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("service-account-key-file", pki("sa.pub")),
        flag("service-account-signing-key-file", pki("sa.key")),
        flag("kubelet-certificate-authority", pki("ca.crt")),
        flag("kubelet-client-certificate", pki("kube-apiserver-kubelet-client.crt")),
        flag("kubelet-client-key", pki("kube-apiserver-kubelet-client.key")),
        // Nobody resolves the node's name here.
        flag("kubelet-preferred-address-types", "InternalIP"),
        // Reaches our server at its endpoint's address, without kube-proxy.
        flag("enable-aggregator-routing", "true"),
        flag("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        flag("requestheader-allowed-names", "front-proxy-client"),
        flag("requestheader-username-headers", "X-Remote-User"),
        flag("requestheader-uid-headers", "X-Remote-Uid"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("proxy-client-cert-file", pki("front-proxy-client.crt")),
        flag("proxy-client-key-file", pki("front-proxy-client.key")),
    ];
    kubernetes(layout, "kube-apiserver", args, Probe::KubernetesReadyz)
}

fn controller_manager(layout: &Layout) -> Result<Component> {
    let mut args = as_user(layout, "kube-controller-manager");
    args.extend([
        flag("service-account-private-key-file", layout.pki("sa.key")),
        flag("root-ca-file", layout.pki("ca.crt")),
        flag("cluster-signing-cert-file", layout.pki("ca.crt")),
        flag("cluster-signing-key-file", layout.pki("ca.key")),
        flag("use-service-account-credentials", "true"),
        flag("enable-hostpath-provisioner", "true"),
        flag("flex-volume-plugin-dir", layout.state.join("volume-plugins")),
        flag("cluster-cidr", POD_CIDR),
        flag("kube-api-qps", "500"),
        flag("kube-api-burst", "1000"),
    ]);
    kubernetes(layout, "kube-controller-manager", args, Probe::Tcp("127.0.0.1:10257"))
}

fn scheduler(layout: &Layout) -> Result<Component> {
    let mut args = as_user(layout, "kube-scheduler");
    // The default of 50 a second would be the wall of every benchmark.
    args.extend([flag("kube-api-qps", "500"), flag("kube-api-burst", "1000")]);
    kubernetes(layout, "kube-scheduler", args, Probe::Tcp("127.0.0.1:10259"))
}

/// What controllers and scheduler share. One of each, so nobody to elect.
fn as_user(layout: &Layout, user: &str) -> Vec<OsString> {
    let kubeconfig = layout.config(&format!("{user}.kubeconfig"));
    vec![
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        flag("leader-elect", "false"),
        flag("bind-address", "127.0.0.1"),
        flag("cert-dir", layout.dev.join("pki/self-signed").join(user)),
    ]
}

fn containerd(layout: &Layout) -> Result<Component> {
    let program = CONTAINERD.bin(layout)?.join("containerd");
    let config = layout.config("containerd.toml");
    let args = vec![flag("config", &config)];
    let ready = Probe::UnixSocket(layout.containerd_socket());
    let mut component = component("containerd", program, args, ready);
    component.spec.inputs = vec![config];
    Ok(component)
}

fn kubelet(layout: &Layout) -> Result<Component> {
    let config = layout.config("kubelet.json");
    let args = vec![
        flag("config", &config),
        flag("kubeconfig", layout.config("kubelet-client.kubeconfig")),
        flag("root-dir", layout.state.join("kubelet")),
        flag("hostname-override", NODE_NAME),
        flag("node-ip", NODE_IP),
    ];
    let ready = Probe::Http("127.0.0.1:10248", "/healthz");
    let mut component = kubernetes(layout, "kubelet", args, ready)?;
    component.spec.inputs = vec![config];
    Ok(component)
}

fn kube_proxy(layout: &Layout) -> Result<Component> {
    let config = layout.config("kube-proxy.json");
    let ready = Probe::Tcp("127.0.0.1:10256");
    let mut component = kubernetes(layout, "kube-proxy", vec![flag("config", &config)], ready)?;
    component.spec.inputs = vec![config];
    Ok(component)
}

fn server(layout: &Layout, store: StoreKind) -> Component {
    let program = layout.bin().join(SERVER);
    let mut args: Vec<OsString> = vec![
        "--bind-address".into(),
        NODE_IP.into(),
        "--secure-port".into(),
        "8443".into(),
        "--tls-cert-file".into(),
        layout.pki("sandbox-apiserver.crt").into(),
        "--tls-private-key-file".into(),
        layout.pki("sandbox-apiserver.key").into(),
        "--kubeconfig".into(),
        layout.config("sandbox-apiserver.kubeconfig").into(),
        "--etcd-prefix".into(),
        "/registry".into(),
        "--cluster-domain".into(),
        "cluster.local".into(),
        "--log-format".into(),
        "text".into(),
    ];
    let policy = layout.config("audit-policy.yaml");
    args.extend([
        flag("audit-policy-file", &policy),
        flag("audit-log-path", layout.logs().join("audit.log")),
        flag("audit-log-maxsize", "500"),
        flag("audit-log-maxbackup", "1"),
    ]);
    args.extend(match store {
        StoreKind::Etcd => vec![flag("etcd-servers", format!("http://{OUR_ETCD}"))],
        StoreKind::Embedded => {
            vec![flag("store", "embedded"), flag("data-dir", layout.data("sandbox-store"))]
        }
    });
    let mut component = component(SERVER, program.clone(), args, Probe::Tcp("10.88.0.1:8443"));
    // An edit of our server makes another binary: that restarts it, and another policy.
    component.spec.inputs = vec![program, policy];
    component
}

fn kubernetes(
    layout: &Layout,
    name: &'static str,
    args: Vec<OsString>,
    ready: Probe,
) -> Result<Component> {
    Ok(component(name, KUBERNETES.bin(layout)?.join(name), args, ready))
}

fn component(name: &'static str, program: PathBuf, args: Vec<OsString>, ready: Probe) -> Component {
    let mut argv = vec![program.into_os_string()];
    argv.extend(args);
    Component { spec: Spec { name, argv, inputs: Vec::new(), in_netns: true }, ready }
}
