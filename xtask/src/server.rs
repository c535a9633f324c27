//! Our own server: build it, give it an identity in the cluster, register it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cli::StoreKind;
use crate::components::{self, Component, Ensured};
use crate::layout::{API_SERVICE, Layout, SERVER, SYSTEM_NAMESPACE};
use crate::progress::Progress;
use crate::{configs, kube, sh};

/// Our group-version in the index of `/openapi/v3`.
const OPENAPI_PATH: &str = "apis/sandbox.x-k8s.io/v1beta1";

/// Builds the server; returns what cargo built.
pub(crate) fn build(layout: &Layout, progress: &Progress, release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "dev" };
    progress.say(format!("cargo build -p {SERVER} --profile {profile}"));
    let directory = if release { "release" } else { "debug" };
    cargo_build(
        layout,
        &["-p", SERVER, "--bin", SERVER, "--profile", profile],
        &format!("{directory}/{SERVER}"),
    )
}

/// Returns the path of what was built, which is `built` in the target directory.
pub(crate) fn cargo_build(layout: &Layout, args: &[&str], built: &str) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--locked"]).args(args);
    // Its own progress and errors go to the terminal.
    let status = cargo.current_dir(&layout.root).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build {} failed (its messages are above)", args.join(" "));
    }
    Ok(target_directory(layout)?.join(built))
}

fn target_directory(layout: &Layout) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&layout.root);
    let metadata: Value = serde_json::from_str(&sh::output(&mut cargo)?)?;
    let directory = metadata["target_directory"].as_str().context("odd cargo metadata")?;
    Ok(PathBuf::from(directory))
}

/// Puts the server where its component runs it from, by rename, and only when it differs: cargo may
/// replace its own file at any time.
pub(crate) fn install(layout: &Layout, built: &Path) -> Result<()> {
    let to = layout.bin().join(SERVER);
    let new = fs::read(built).with_context(|| format!("{} was not built", built.display()))?;
    if fs::read(&to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let temporary = to.with_extension("new");
    fs::copy(built, &temporary)?;
    fs::rename(&temporary, to)?;
    Ok(())
}

/// The namespace, the ServiceAccount and its rights.
pub(crate) fn apply_identity(layout: &Layout) -> Result<()> {
    kube::apply(layout, &kube::kustomize(layout, "deploy")?)?;
    if !layout.config("sandbox-apiserver.kubeconfig").exists() {
        let account = ["create", "token", SERVER, "-n", SYSTEM_NAMESPACE, "--duration=8760h"];
        configs::write_server_kubeconfig(layout, &kube::run(layout, &account)?)?;
    }
    Ok(())
}

/// Starts it, and registers it once it listens.
pub(crate) fn start(layout: &Layout, progress: &Progress, component: &Component) -> Result<()> {
    let ensured = component.ensure(layout)?;
    if ensured == Ensured::Started {
        progress.say(format!("{SERVER}: started (log {})", layout.show(&layout.log(SERVER))));
    }
    let manifest = kube::kustomize(layout, "deploy/dev")?;
    let bundle = configs::encoded(layout, "serving-ca.crt")?;
    kube::apply(layout, &manifest.replace("REPLACE_WITH_CA_BUNDLE", &bundle))
}

/// Available, and in the front's OpenAPI, which it fetches on its own time: `kubectl explain` and
/// `kubectl apply` need it.
pub(crate) fn wait_available(layout: &Layout) -> Result<()> {
    let object = format!("apiservice/{API_SERVICE}");
    kube::wait(layout, &object, "Available", Duration::from_secs(60))
        .with_context(|| format!("log {}", layout.show(&layout.log(SERVER))))?;
    kube::wait_documented(layout, OPENAPI_PATH, Duration::from_secs(90))
}

pub(crate) fn component(layout: &Layout, sync: bool, store: StoreKind) -> Result<Component> {
    components::all(layout, sync, store)?
        .into_iter()
        .find(|component| component.name() == SERVER)
        .context("our server is not in the table of components")
}
