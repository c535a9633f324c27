//! Builds the pinned Go programs into the cache outside the checkout.
//!
//! A part is a go.mod under `tests/cluster/`; its version and the hash of go.mod and go.sum name the
//! directory in the cache, which appears by rename, so that it is complete or absent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::layout::{Layout, Lock};
use crate::node;
use crate::progress::Progress;

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// The module whose version in go.mod is the part's version.
    module: &'static str,
    /// Go package -> name of the program.
    programs: &'static [(&'static str, &'static str)],
    tags: &'static str,
    /// What `-X` sets; `{v}` is the version.
    variables: &'static [&'static str],
}

pub(crate) const KUBERNETES: Part = Part {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    programs: &[
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
        ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
        ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
    ],
    tags: "",
    // Without them kube-apiserver reports v0.0.0-master and some clients misbehave.
    variables: &[
        "k8s.io/component-base/version.gitVersion={v}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
        "k8s.io/component-base/version.gitTreeState=clean",
    ],
};

pub(crate) const ETCD: Part = Part {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    programs: &[
        ("go.etcd.io/etcd/etcdctl/v3", "etcdctl"),
        ("go.etcd.io/etcd/etcdutl/v3", "etcdutl"),
        ("go.etcd.io/etcd/server/v3", "etcd"),
    ],
    tags: "",
    variables: &[],
};

pub(crate) const CONTAINERD: Part = Part {
    name: "containerd",
    module: "github.com/containerd/containerd/v2",
    programs: &[
        ("github.com/containerd/containerd/v2/cmd/containerd", "containerd"),
        (
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "containerd-shim-runc-v2",
        ),
        ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
    ],
    // None of these snapshotters is used, and they need headers or cgo.
    tags: "no_btrfs no_zfs no_devmapper no_aufs",
    variables: &["github.com/containerd/containerd/v2/version.Version={v}"],
};

/// Built only when a test or a benchmark asks.
pub(crate) const SAMPLE_APISERVER: Part = Part {
    name: "sample-apiserver",
    module: "k8s.io/sample-apiserver",
    programs: &[("k8s.io/sample-apiserver", "sample-apiserver")],
    tags: "",
    variables: &[],
};

/// Built only when a test or a benchmark asks.
pub(crate) const KWOK: Part = Part {
    name: "kwok",
    module: "sigs.k8s.io/kwok",
    programs: &[("sigs.k8s.io/kwok/cmd/kwok", "kwok")],
    tags: "",
    variables: &[],
};

/// Built only when a test asks; the next `up` then offers it as the RuntimeClass `gvisor`.
pub(crate) const GVISOR: Part = Part {
    name: "gvisor",
    module: "gvisor.dev/gvisor",
    programs: &[("gvisor.dev/gvisor/runsc", "runsc")],
    tags: "",
    variables: &[],
};

pub(crate) const OF_THE_CLUSTER: [&Part; 3] = [&KUBERNETES, &ETCD, &CONTAINERD];
const OPTIONAL: [&Part; 3] = [&SAMPLE_APISERVER, &KWOK, &GVISOR];

/// `cargo xtask build NAME`: the directory is printed alone on the last line, for scripts.
pub(crate) fn build_named(layout: &Layout, progress: &Progress, name: &str) -> Result<()> {
    let Some(part) = OF_THE_CLUSTER.into_iter().chain(OPTIONAL).find(|part| part.name == name)
    else {
        bail!("no part {name:?} under tests/cluster");
    };
    let _lock = Lock::take()?;
    println!("{}", part.ensure(layout, progress)?.display());
    Ok(())
}

impl Part {
    fn source(&self, layout: &Layout) -> PathBuf {
        layout.root.join("tests/cluster").join(self.name)
    }

    fn directory(&self, layout: &Layout) -> Result<(String, PathBuf)> {
        let read = |file: &str| {
            let path = self.source(layout).join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (go_mod, go_sum) = (read("go.mod")?, read("go.sum")?);
        let version = pinned_version(&go_mod, self.module)
            .with_context(|| format!("{}/go.mod does not require {}", self.name, self.module))?;
        let mut hash = Sha256::new();
        for text in [&go_mod, &go_sum, &format!("{:?}", self)] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        let hash = hex::encode(hash.finalize());
        let name = format!("{}-{version}-{}", self.name, &hash[..8]);
        Ok((version.to_owned(), layout.cache.join(name)))
    }

    /// Where the programs are. They may not be built yet.
    pub(crate) fn bin(&self, layout: &Layout) -> Result<PathBuf> {
        Ok(self.directory(layout)?.1.join("bin"))
    }

    pub(crate) fn is_built(&self, layout: &Layout) -> bool {
        self.bin(layout)
            .is_ok_and(|bin| self.programs.iter().all(|(_, program)| bin.join(program).is_file()))
    }

    /// Builds the part unless the cache has it; returns the directory of its programs.
    pub(crate) fn ensure(&self, layout: &Layout, progress: &Progress) -> Result<PathBuf> {
        let (version, target) = self.directory(layout)?;
        if self.is_built(layout) {
            return Ok(target.join("bin"));
        }
        // The lock is held: what is there is of an interrupted build.
        let temporary = layout.cache.join(format!("tmp-{}", self.name));
        node::remove(&temporary)?;
        fs::create_dir_all(temporary.join("bin"))?;
        let log = layout.cache.join(format!("{}.log", self.name));
        progress.say(format!("go build {} {version} (log {})", self.name, log.display()));
        if let Err(error) = self.compile(layout, progress, &version, &temporary.join("bin"), &log) {
            fs::remove_dir_all(&temporary)?;
            return Err(error);
        }
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(&temporary, &target)?;
        progress.say(format!("go build {} {version}: done", self.name));
        Ok(target.join("bin"))
    }

    fn compile(
        &self,
        layout: &Layout,
        progress: &Progress,
        version: &str,
        bin: &Path,
        log: &Path,
    ) -> Result<()> {
        let log_file = fs::File::create(log)?;
        let mut child = Command::new("go")
            .args(["build", "-v", "-trimpath", "-mod=readonly", "-tags", self.tags, "-ldflags"])
            .arg(self.linker_flags(version))
            .arg("-o")
            .arg(bin)
            .args(self.programs.iter().map(|(package, _)| package))
            .current_dir(self.source(layout))
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "-buildvcs=false")
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            .spawn()
            .context("go is missing: install Go and put it in PATH")?;
        let started = Instant::now();
        let mut next_report = Duration::from_secs(30);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(200));
            if started.elapsed() > next_report {
                next_report += Duration::from_secs(30);
                let compiled = fs::read_to_string(log).unwrap_or_default().lines().count();
                progress.say(format!("  {}: {compiled} lines of build log so far", self.name));
            }
        };
        if !status.success() {
            let text = fs::read_to_string(log).unwrap_or_default();
            let cause = text.lines().next_back().unwrap_or("no message");
            bail!("go build {} failed: {cause} (log {})", self.name, log.display());
        }
        // Go names a program after its directory.
        let server = bin.join("server");
        if server.exists() {
            fs::rename(server, bin.join("etcd"))?;
        }
        Ok(())
    }

    fn linker_flags(&self, version: &str) -> String {
        let mut numbers = version.trim_start_matches('v').split('.');
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        let mut flags = String::from("-s -w");
        for variable in self.variables {
            let variable = variable
                .replace("{v}", version)
                .replace("{major}", major)
                .replace("{minor}", minor);
            flags.push_str(" -X ");
            flags.push_str(&variable);
        }
        flags
    }
}

fn pinned_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().filter(|line| !line.contains("=>")).find_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("require ").unwrap_or(line);
        let mut words = line.split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_require_line() {
        let one = "module x\n\nrequire a.b/c v1.2.3\n\nreplace a.b/c => a.b/c v9.9.9\n";
        assert_eq!(pinned_version(one, "a.b/c"), Some("v1.2.3"));
        let block = "require (\n\ta.b/cc v0.1.0\n\ta.b/c v2.0.0 // indirect\n)\n";
        assert_eq!(pinned_version(block, "a.b/c"), Some("v2.0.0"));
        assert_eq!(pinned_version(block, "a.b"), None);
    }

    #[test]
    fn kubernetes_reports_its_version() {
        let flags = KUBERNETES.linker_flags("v1.37.2");
        assert!(flags.contains("version.gitVersion=v1.37.2"), "{flags}");
        assert!(flags.contains("version.gitMajor=1 "), "{flags}");
        assert!(flags.contains("version.gitMinor=37 "), "{flags}");
    }
}
