//! `cargo xtask up`: from a bare machine to a running cluster with our server in it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::{StoreKind, UpArgs};
use crate::components::{self, Component, Ensured};
use crate::gobuild::{self, CONTAINERD, GVISOR, KUBERNETES};
use crate::layout::{FORWARDS, Layout, Lock, NODE_NAME, SERVER};
use crate::proc::Record;
use crate::progress::{self, Progress};
use crate::{
    cgroups, configs, deps, down, images, kube, netns, node, pki, plugin, preflight, server,
};

pub(crate) fn run(layout: &Layout, progress: &Progress, args: UpArgs) -> Result<()> {
    let _lock = Lock::take()?;
    preflight::root()?;
    preflight::check(layout)?;
    deps::install(progress)?;
    for part in gobuild::OF_THE_CLUSTER {
        part.ensure(layout, progress)?;
    }
    // Before anything starts: a server that does not compile is the likeliest failure.
    let built = match args.without_server {
        true => None,
        false => Some(server::build(layout, progress, args.release)?),
    };
    clean_up_a_dead_cluster(layout, progress)?;
    prepare(layout, args)?;
    if built.is_some() {
        plugin::ensure(layout, progress)?;
    }
    let mut components = components::all(layout, args.sync(), args.store)?;
    components.retain(|component| component.name() != SERVER);
    for component in &components {
        start(layout, progress, component)?;
    }
    if let Some(built) = &built {
        server::install(layout, built)?;
        server::start(layout, progress, &server::component(layout, args.sync(), args.store)?)?;
    }
    kube::wait(layout, &format!("node/{NODE_NAME}"), "Ready", Duration::from_secs(120))
        .with_context(|| format!("log {}", layout.show(&layout.log("kubelet"))))?;
    progress.say("node: Ready");
    if built.is_some() {
        server::wait_available(layout)?;
        progress.say("apiservice: Available");
    }
    print_next_steps(layout, args);
    Ok(())
}

/// After a crash or a reboot nothing that runs is worth keeping.
fn clean_up_a_dead_cluster(layout: &Layout, progress: &Progress) -> Result<()> {
    let Some(owner) = layout.owner() else { return Ok(()) };
    // Without its certificates a running one could not be reached: somebody emptied `.dev`.
    let whole = netns::exists() && layout.pki("ca.crt").exists();
    if owner == layout.root && whole && preflight::any_alive(layout) {
        return Ok(());
    }
    progress.say(format!("cleaning up after the dead cluster of {}", owner.display()));
    down::clean(layout, &owner)
}

fn prepare(layout: &Layout, args: UpArgs) -> Result<()> {
    fs::create_dir_all(layout.bin())?;
    node::claim(layout)?;
    fs::write(layout.state.join("mode"), if args.sync() { "fsync" } else { "no-fsync" })?;
    fs::write(layout.state.join("store"), store_name(args.store))?;
    if args.store == StoreKind::Embedded {
        // A cluster that had one before keeps it no longer.
        if let Some(old) = Record::load(layout, components::SERVER_ETCD) {
            old.stop(Duration::from_secs(20))?;
        }
    }
    netns::create()?;
    cgroups::create()?;
    pki::ensure(layout)?;
    configs::write_all(layout)?;
    let kubectl = layout.bin().join("kubectl");
    node::remove(&kubectl)?;
    std::os::unix::fs::symlink(KUBERNETES.bin(layout)?.join("kubectl"), kubectl)?;
    Ok(())
}

fn start(layout: &Layout, progress: &Progress, component: &Component) -> Result<()> {
    let name = component.name();
    if component.ensure(layout)? == Ensured::Started {
        progress.say(format!("{name}: ready (log {})", layout.show(&layout.log(name))));
    }
    match name {
        "kube-apiserver" => {
            kube::apply(layout, include_str!("manifests/storageclass.yaml"))?;
            if GVISOR.is_built(layout) {
                kube::apply(layout, include_str!("manifests/runtimeclass.yaml"))?;
            }
            server::apply_identity(layout)
        }
        "containerd" => images::ensure(layout, &CONTAINERD.bin(layout)?.join("ctr"), progress),
        _ => Ok(()),
    }
}

/// What the cluster was started with, for commands that start single components.
pub(crate) fn syncs(layout: &Layout) -> bool {
    fs::read_to_string(layout.state.join("mode")).is_ok_and(|mode| mode == "fsync")
}

/// Likewise.
pub(crate) fn store(layout: &Layout) -> StoreKind {
    match fs::read_to_string(layout.state.join("store")) {
        Ok(name) if name == store_name(StoreKind::Embedded) => StoreKind::Embedded,
        _ => StoreKind::Etcd,
    }
}

fn store_name(store: StoreKind) -> &'static str {
    match store {
        StoreKind::Etcd => "etcd",
        StoreKind::Embedded => "embedded",
    }
}

fn print_next_steps(layout: &Layout, args: UpArgs) {
    let forwards: Vec<String> =
        FORWARDS.iter().map(|(port, target)| format!("127.0.0.1:{port} -> {target}")).collect();
    let mut text = format!("\nThe cluster is up. {}\n", forwards.join(", "));
    text.push_str(&format!("  export KUBECONFIG={}\n", layout.kubeconfig().display()));
    text.push_str("  cargo xtask kubectl get nodes,pods -A\n");
    if !args.without_server {
        text.push_str("  cargo xtask kubectl get sandboxes,sandboxwarmpools -A\n");
        text.push_str("  cargo xtask kubectl sandbox doctor\n");
        text.push_str(&format!("  cargo xtask logs {SERVER} -f\n"));
    }
    text.push_str("  cargo xtask status\n  cargo xtask down\n");
    progress::print(&text);
}
