//! kubectl against the cluster.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::layout::Layout;
use crate::sh;

pub(crate) fn kubectl(layout: &Layout) -> Command {
    let mut command = Command::new(layout.bin().join("kubectl"));
    command.env("KUBECONFIG", layout.kubeconfig());
    // Discovery of the last cluster would lie about this one.
    command.env("KUBECACHEDIR", layout.dev.join("kubectl-cache"));
    // It looks for plugins there.
    let mut path = layout.bin().into_os_string();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    command.env("PATH", path);
    command
}

/// `cargo xtask kubectl ...`
pub(crate) fn passthrough(layout: &Layout, args: &[String]) -> Result<ExitCode> {
    if !layout.kubeconfig().exists() {
        bail!("no cluster: run `cargo xtask up`");
    }
    // Only returns when it fails: signals, terminal and exit code are kubectl's own.
    let error = kubectl(layout).args(args).exec();
    Err(error).context("cannot run kubectl")
}

pub(crate) fn run(layout: &Layout, args: &[&str]) -> Result<String> {
    sh::output(kubectl(layout).args(["--request-timeout=20s"]).args(args))
}

pub(crate) fn apply(layout: &Layout, manifest: &str) -> Result<()> {
    let mut command = kubectl(layout);
    command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
    sh::output_with_input(&mut command, manifest.as_bytes()).map(drop)
}

/// Builds a kustomization of the checkout.
pub(crate) fn kustomize(layout: &Layout, directory: &str) -> Result<String> {
    sh::output(kubectl(layout).arg("kustomize").arg(layout.root.join(directory)))
}

pub(crate) fn is_ready(layout: &Layout) -> bool {
    sh::succeeds(kubectl(layout).args(["--request-timeout=2s", "get", "--raw", "/readyz"]))
}

/// Whether the object's condition is True. An object that is not there has none.
pub(crate) fn condition(layout: &Layout, object: &str, condition: &str) -> bool {
    let path = format!("jsonpath={{.status.conditions[?(@.type==\"{condition}\")].status}}");
    let mut command = kubectl(layout);
    command.args(["--request-timeout=5s", "get", object, "-o", &path]);
    sh::output(&mut command).is_ok_and(|status| status == "True")
}

/// Waits for the condition; says why it is not there when `limit` is over.
pub(crate) fn wait(layout: &Layout, object: &str, name: &str, limit: Duration) -> Result<()> {
    let started = Instant::now();
    while !condition(layout, object, name) {
        if started.elapsed() > limit {
            let path = format!("jsonpath={{.status.conditions[?(@.type==\"{name}\")].message}}");
            let message = run(layout, &["get", object, "-o", &path])
                .unwrap_or_else(|error| format!("{error:#}"));
            bail!("{object} is not {name} after {} s: {message}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Waits until the index of `/openapi/v3` has `path`.
pub(crate) fn wait_documented(layout: &Layout, path: &str, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let entry = format!("{path:?}");
    while !run(layout, &["get", "--raw", "/openapi/v3"]).is_ok_and(|index| index.contains(&entry)) {
        if started.elapsed() > limit {
            bail!(
                "kube-apiserver has not fetched the OpenAPI of {path} after {} s",
                limit.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
