//! Architecture invariants that a compiler can't check; the list is in ARCHITECTURE.md.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with one of `extensions` below `folder`.
fn files(folder: &str, extensions: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, extensions: &[&str], into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                walk(&path, extensions, into);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                let text = fs::read_to_string(&path).expect("a UTF-8 file");
                into.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join(folder), extensions, &mut all);
    assert!(!all.is_empty(), "{folder} has no such files: the check would check nothing");
    all
}

/// The code alone: no comment lines, nothing from `mod tests` on.
fn code(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.starts_with("mod tests"))
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn offenders(folder: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files(folder, &["rs"]) {
        let name = path.strip_prefix(root()).expect("it lies below").display().to_string();
        // A test may serve any kind and wait for anything.
        let test = name.ends_with("tests.rs") || name.contains("/tests/");
        if test || allowed.iter().any(|a| name.contains(a)) {
            continue;
        }
        let code = code(&text);
        found.extend(
            words.iter().filter(|word| code.contains(**word)).map(|word| format!("{name}: {word}")),
        );
    }
    found
}

#[test]
fn the_machinery_knows_no_sandbox() {
    let found = offenders("crates/apiserver/src", &["sandbox", "Sandbox"], &[]);
    assert!(found.is_empty(), "{found:#?}");
    let manifest = fs::read_to_string(root().join("crates/apiserver/Cargo.toml")).unwrap();
    assert!(!manifest.contains("sandbox"), "the machinery's manifest names the product");
}

#[test]
fn only_storage_speaks_to_etcd() {
    for folder in ["crates/apiserver/src", "src", "crates/sandbox-api/src"] {
        let found = offenders(folder, &["etcd_client"], &["src/storage/etcd"]);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn the_host_clusters_client_is_held_in_two_places() {
    let words = ["kube::Client", "kube::Api", "Api::<", "kube::api"];
    // The wiring hands the client on; it asks nothing of it.
    let wiring = ["src/aggregated.rs", "src/app.rs"];
    let machinery = offenders("crates/apiserver/src", &words, &["src/delegated/", wiring[0]]);
    assert!(machinery.is_empty(), "{machinery:#?}");
    let product = offenders("src", &words, &["src/cluster/kube", wiring[1]]);
    assert!(product.is_empty(), "{product:#?}");
}

#[test]
fn vocabulary_and_planning_are_pure() {
    let words = ["async fn", "tokio::", ".await", "now()", "std::fs", "std::env"];
    for folder in
        ["meta", "request", "selector", "patch", "schema", "codec", "discovery", "openapi"]
    {
        let found = offenders(&format!("crates/apiserver/src/{folder}"), &words, &[]);
        assert!(found.is_empty(), "{found:#?}");
    }
    let pools = ["plan.rs", "setbacks.rs", "story.rs", "stuck.rs"].map(|it| format!("pools/{it}"));
    let others = ["provision/plan.rs", "provision/status.rs", "bucket.rs", "events/pace.rs"];
    for file in others.map(str::to_owned).into_iter().chain(pools) {
        let text = fs::read_to_string(root().join("src").join(&file)).unwrap();
        let code = code(&text);
        let found: Vec<_> = words.iter().filter(|word| code.contains(**word)).collect();
        assert!(found.is_empty(), "{file}: {found:?}");
    }
    let found = offenders("src/provision/children", &words, &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_auth_makes_permits() {
    let machinery = offenders("crates/apiserver/src", &["Permit::granted"], &["src/auth/"]);
    assert!(machinery.is_empty(), "{machinery:#?}");
    let product = offenders("src", &["Permit::internal"], &["src/app.rs"]);
    assert!(product.is_empty(), "{product:#?}");
    let machinery = offenders("crates/apiserver/src", &["Permit::internal"], &["src/auth/"]);
    assert!(machinery.is_empty(), "{machinery:#?}");
}

#[test]
fn no_crd_of_our_group_is_ever_deployed() {
    for folder in ["deploy", "apiservice"] {
        for (path, text) in files(folder, &["yaml", "yml", "json"]) {
            assert!(
                !text.contains("kind: CustomResourceDefinition"),
                "{}: kube-apiserver would register an APIService of its own for it",
                path.display()
            );
            assert!(!text.contains("insecureSkipTLSVerify: true"), "{}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for folder in ["crates", "src", "xtask/src"] {
        for (path, text) in files(folder, &["rs"]) {
            let lines = text.lines().count();
            assert!(lines <= 800, "{}: {lines} lines; split it", path.display());
        }
    }
}
