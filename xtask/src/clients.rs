//! The tests of `clients/`, against the cluster: each language's own checkers and runner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::cli::UpArgs;
use crate::layout::{Layout, Lock};
use crate::progress::Progress;
use crate::test::{for_the_cluster, watch};
use crate::totals::Totals;
use crate::{sh, up};

/// Directory, what must be in it, and the flag of its runner that picks tests.
const GROUPS: [(&str, &str, &str); 3] = [
    ("python", REQUIREMENTS, "-k"),
    ("go", "go.mod", "-run"),
    ("kubectl-sandbox", "go.mod", "-run"),
];
const REQUIREMENTS: &str = "requirements-dev.txt";

/// `args` go to each runner: `-run X` means Go's tests and none of Python's, `-k X` the reverse.
pub(crate) fn run(layout: &Layout, progress: &Progress, args: &[String]) -> Result<Totals> {
    up::run(layout, progress, UpArgs::default())?;
    let clients = layout.root.join("clients");
    let meant = |flag: &str| args.is_empty() || args.iter().any(|arg| arg == flag);
    let mut totals = Totals::default();
    for (name, marker, flag) in GROUPS {
        let directory = clients.join(name);
        if !directory.join(marker).exists() || !meant(flag) {
            continue;
        }
        progress.say(format!("clients/{name}"));
        let result = match name {
            "python" => python(layout, progress, &directory, args),
            _ => go(layout, &directory, args),
        };
        // The others still have something to say.
        totals += result.unwrap_or_else(|error| {
            eprintln!("error: clients/{name}: {error:#}");
            Totals::BROKEN
        });
    }
    Ok(totals)
}

fn go(layout: &Layout, module: &Path, args: &[String]) -> Result<Totals> {
    sh::output(Command::new("go").args(["vet", "./..."]).current_dir(module))?;
    let mut go = Command::new("go");
    go.args(["test", "./...", "-v", "-count=1", "-timeout", "20m"]).args(args).current_dir(module);
    watch(for_the_cluster(&mut go, layout)?)
}

fn python(layout: &Layout, progress: &Progress, package: &Path, args: &[String]) -> Result<Totals> {
    let bin = environment(layout, progress, package)?;
    let in_package = |program: &str, args: &[&str]| {
        let mut command = sh::cmd(bin.join(program), args);
        command.current_dir(package).env("PYTHONPATH", "src").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    sh::output(&mut in_package("ruff", &["check", "--no-cache", "."]))?;
    sh::output(&mut in_package("ruff", &["format", "--no-cache", "--check", "."]))?;
    sh::output(&mut in_package("mypy", &["--cache-dir", "/dev/null"]))?;
    let mut pytest = in_package("python", &["-m", "pytest", "-p", "no:cacheprovider"]);
    watch(for_the_cluster(pytest.args(args), layout)?)
}

/// Where the programs are of a virtual environment with exactly what is required. It is kept beside
/// the built Kubernetes; the package itself is not in it.
fn environment(layout: &Layout, progress: &Progress, package: &Path) -> Result<PathBuf> {
    let _lock = Lock::take()?;
    let required = package.join(REQUIREMENTS);
    let text = fs::read(&required).with_context(|| format!("{}", required.display()))?;
    let hash = hex::encode(Sha256::digest(&text));
    let directory = layout.cache.join(format!("python-{}", &hash[..8]));
    let (bin, whole) = (directory.join("bin"), directory.join("whole"));
    if !whole.exists() {
        progress.say("python: installing what the client and its tests require");
        sh::output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
        let mut pip = sh::cmd(bin.join("pip"), &["install", "--quiet", "--no-deps", "-r"]);
        sh::output(pip.arg(&required).env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))?;
        fs::write(&whole, "")?;
    }
    Ok(bin)
}
