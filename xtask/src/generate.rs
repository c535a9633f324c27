//! `cargo xtask generate`: files derived from the types, so that nobody edits them by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::layout::{Layout, SERVER};
use crate::{node, sh};

const CRDS: &str = "crds";
const GO_CLIENT: &str = "clients/go";

pub(crate) fn run(layout: &Layout, check: bool) -> Result<()> {
    let target = layout.root.join(CRDS);
    if !check {
        generate(layout, &target)?;
        return go_client(&layout.root.join(GO_CLIENT));
    }
    check_go_client(layout)?;
    let temporary = layout.dev.join(CRDS);
    node::remove(&temporary)?;
    generate(layout, &temporary)?;
    let (fresh, committed) = (files(&temporary)?, files(&target)?);
    node::remove(&temporary)?;
    for name in fresh.keys().chain(committed.keys()) {
        if fresh.get(name) != committed.get(name) {
            bail!("{CRDS}/{name} is stale: run `cargo xtask generate` and commit the result");
        }
    }
    Ok(())
}

/// Deep copies, clientset, listers and informers of the Go types.
fn go_client(directory: &Path) -> Result<()> {
    sh::output(Command::new("hack/generate.sh").current_dir(directory)).map(drop)
}

fn check_go_client(layout: &Layout) -> Result<()> {
    let (committed, fresh) = (layout.root.join(GO_CLIENT), layout.dev.join("generate"));
    node::remove(&fresh)?;
    fs::create_dir_all(&layout.dev)?;
    sh::output(Command::new("cp").arg("-a").args([&committed, &fresh]))?;
    go_client(&fresh)?;
    let same = sh::succeeds(Command::new("diff").arg("-rq").args([&committed, &fresh]));
    node::remove(&fresh)?;
    if !same {
        bail!("{GO_CLIENT} is stale: run `cargo xtask generate` and commit the result");
    }
    Ok(())
}

fn generate(layout: &Layout, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut cargo = sh::cargo();
    cargo
        .args(["run", "--locked", "--quiet", "-p", SERVER, "--bin", SERVER, "--"])
        .args(["generate-crds", "--out-dir"])
        .arg(directory)
        .current_dir(&layout.root);
    sh::output(&mut cargo).map(drop)
}

fn files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return Ok(files) };
    for entry in entries {
        let path = entry?.path();
        // A hand-written README may explain the generated ones.
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "json") {
            let name = path.file_name().context("a file without a name")?;
            files.insert(name.to_string_lossy().into_owned(), fs::read(&path)?);
        }
    }
    Ok(files)
}
