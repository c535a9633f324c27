//! The configuration files of the cluster's components.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::gobuild::{CONTAINERD, GVISOR};
use crate::images::PAUSE;
use crate::layout::{CGROUP_ROOT, FORWARDS, Layout, NODE_IP, NODE_NAME, POD_CIDR};

/// Writes every file whose content does not depend on a running cluster.
pub(crate) fn write_all(layout: &Layout) -> Result<()> {
    fs::create_dir_all(layout.config("cni"))?;
    write_runsc_wrapper(layout)?;
    write(&layout.config("containerd.toml"), &containerd(layout)?)?;
    write_json(&layout.config("cni/10-sandbox-dev.conflist"), &cni(layout))?;
    write_json(&layout.config("kubelet.json"), &kubelet(layout))?;
    write_json(&layout.config("kube-proxy.json"), &kube_proxy(layout))?;
    let policy = include_str!("manifests/audit-policy.yaml");
    write(&layout.config("audit-policy.yaml"), policy)?;
    write(&layout.config("resolv.conf"), "# No DNS in this cluster: there is no image for it.\n")?;
    for user in
        ["kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet-client", "admin"]
    {
        let path = layout.config(&format!("{user}.kubeconfig"));
        write_json(&path, &kubeconfig(layout, &in_cluster(), &certificate_user(layout, user)?)?)?;
    }
    let admin = certificate_user(layout, "admin")?;
    let (port, _) = FORWARDS[0];
    let server = format!("https://127.0.0.1:{port}");
    write_json(&layout.kubeconfig(), &kubeconfig(layout, &server, &admin)?)
}

/// Our server acts as its ServiceAccount, so that the rights in `deploy/` are what is tested.
pub(crate) fn write_server_kubeconfig(layout: &Layout, token: &str) -> Result<()> {
    let user = json!({ "token": token.trim() });
    let path = layout.config("sandbox-apiserver.kubeconfig");
    write_json(&path, &kubeconfig(layout, &in_cluster(), &user)?)
}

fn in_cluster() -> String {
    format!("https://{NODE_IP}:6443")
}

/// With everything inside, so that tests may copy the file.
fn kubeconfig(layout: &Layout, server: &str, user: &Value) -> Result<Value> {
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "sandbox-dev",
            "cluster": { "server": server, "certificate-authority-data": encoded(layout, "ca.crt")? },
        }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{
            "name": "sandbox-dev",
            "context": { "cluster": "sandbox-dev", "user": "user" },
        }],
        "current-context": "sandbox-dev",
    }))
}

fn certificate_user(layout: &Layout, name: &str) -> Result<Value> {
    Ok(json!({
        "client-certificate-data": encoded(layout, &format!("{name}.crt"))?,
        "client-key-data": encoded(layout, &format!("{name}.key"))?,
    }))
}

/// A file of the pki in base64.
pub(crate) fn encoded(layout: &Layout, file: &str) -> Result<String> {
    let path = layout.pki(file);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(STANDARD.encode(bytes))
}

fn containerd(layout: &Layout) -> Result<String> {
    let bin = CONTAINERD.bin(layout)?;
    // TOML basic strings and JSON strings agree on every path.
    let text = |path: &Path| serde_json::to_string(&path.to_string_lossy());
    let (run, state) = (&layout.run, &layout.state);
    let shim = text(&bin.join("containerd-shim-runc-v2"))?;
    let runc = text(&run.join("runc"))?;
    let config = format!(
        r#"version = 4
root = {root}
state = {run_state}
imports = []
disabled_plugins = ["io.containerd.nri.v1.nri"]

[plugins."io.containerd.server.v1.grpc"]
address = {socket}

[plugins."io.containerd.server.v1.ttrpc"]
address = {ttrpc}

[plugins."io.containerd.internal.v1.opt"]
path = {opt}

[plugins."io.containerd.shim.v1.manager"]
socket_dir = {shims}

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
# Where CAP_SYS_RESOURCE is missing, runc could not lower the score of the pause container.
restrict_oom_score_adj = true
# Under the state directory, so that `down` finds every mount below one path.
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = {shim}

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
Root = {runc}

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = {cni}
"#,
        root = text(&state.join("containerd"))?,
        run_state = text(&run.join("containerd"))?,
        socket = text(&layout.containerd_socket())?,
        ttrpc = text(&run.join("containerd.sock.ttrpc"))?,
        opt = text(&state.join("opt"))?,
        shims = text(&run.join("s"))?,
        cni = text(&layout.config("cni"))?,
    );
    if !GVISOR.is_built(layout) {
        return Ok(config);
    }
    let runsc = text(&layout.config("runsc"))?;
    Ok(format!(
        r#"{config}
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc]
runtime_type = "io.containerd.runc.v2"
runtime_path = {shim}

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runsc.options]
BinaryName = {runsc}
Root = {runc}
"#
    ))
}

/// gVisor behind the shim of runc: its own must lower its OOM score, which not every machine allows.
///
/// `runsc start` gives its own stdout to the second container of a Pod, where runc's shim waits for
/// that stdout to end: without the redirection the start would last as long as the container. The
/// price is that `kubectl logs` shows nothing.
fn write_runsc_wrapper(layout: &Layout) -> Result<()> {
    let program = GVISOR.bin(layout)?.join("runsc");
    let script = format!(
        r#"#!/bin/sh
for arg; do
  if [ "$arg" = start ]; then exec </dev/null >/dev/null 2>&1; fi
done
exec '{}' --platform=systrap --ignore-cgroups "$@"
"#,
        program.display()
    );
    let path = layout.config("runsc");
    write(&path, &script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn cni(layout: &Layout) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "sandbox-dev",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.run.join("cni"),
                    "ranges": [[{
                        "subnet": POD_CIDR,
                        "rangeStart": "10.88.1.0",
                        "gateway": NODE_IP,
                    }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

fn kubelet(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": layout.pki("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": layout.pki("kubelet.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP_ROOT}"),
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": ["10.96.0.10"],
        "resolvConf": layout.config("resolv.conf"),
        "podLogsDir": layout.state.join("pod-logs"),
        "volumePluginDir": layout.state.join("volume-plugins"),
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%" },
        "maxPods": 500,
        "serializeImagePulls": false,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 100,
        "nodeStatusUpdateFrequency": "5s",
    })
}

fn kube_proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_CIDR,
        "clientConnection": { "kubeconfig": layout.config("kube-proxy.kubeconfig") },
        // The sysctls of conntrack belong to the machine.
        "conntrack": { "maxPerCore": 0, "min": 0 },
        // Pods share one bridge: without this a reply from Pod to Pod would not pass the NAT again.
        "nftables": { "masqueradeAll": true },
    })
}

/// An unchanged file keeps its time: a newer one would restart its component.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write(path, &serde_json::to_string_pretty(value)?)
}
