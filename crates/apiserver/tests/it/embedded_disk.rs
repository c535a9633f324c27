//! [`EmbeddedKv`](apiserver::storage::EmbeddedKv) on a disk that is full.

use std::path::Path;
use std::process::Command;

use apiserver::storage::{EmbeddedKv, EmbeddedOptions, Kv, KvError, Outcome, Page, Write};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;

use crate::directory::Directory;

/// Set for the process that has a small disk to itself: where it is mounted.
const DISK: &str = "TEST_EMBEDDED_DISK";

fn value() -> Bytes {
    Bytes::from(vec![b'x'; 100_000])
}

async fn put(kv: &EmbeddedKv, key: String) -> Result<i64, KvError> {
    match kv.txn(Vec::new(), vec![Write::Put { key, value: value() }]).await? {
        Outcome::Done(revision) => Ok(revision),
        Outcome::Conflict(_) => panic!("nothing was guarded"),
    }
}

/// Exactly these keys, at consecutive revisions from 2 on, and a watch tells the same.
async fn check(kv: &EmbeddedKv, keys: &[String]) {
    let listed = kv.list("", Page::default()).await.unwrap();
    let mut items = listed.items;
    items.sort_by_key(|kv| kv.mod_revision);
    assert_eq!(items.iter().map(|kv| &kv.key).collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert!(items.iter().all(|kv| kv.value == value()));
    assert!(items.iter().map(|kv| kv.mod_revision).eq(2..=listed.revision));
    let mut watch = kv.watch("", 2).await.unwrap();
    for revision in 2..=listed.revision {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    }
}

/// The test below, on a disk of 48 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn fills_its_disk() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let disk = Path::new(&disk);
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0; 12 * 1024 * 1024]).unwrap();
    let open = || EmbeddedKv::open(EmbeddedOptions::new(disk.join("store"))).unwrap();
    let kv = open();
    let mut watch = kv.watch("", 2).await.unwrap();
    let mut keys = Vec::new();
    let error = loop {
        let key = format!("{:03}", keys.len());
        match put(&kv, key.clone()).await {
            Ok(_) => keys.push(key),
            Err(error) => break error,
        }
        assert!(keys.len() < 400, "no end of the disk");
    };
    // A clear error, and all goes on but writing.
    assert!(matches!(&error, KvError::NoSpace { .. }), "{error:?}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(!keys.is_empty());
    check(&kv, &keys).await;
    kv.health().await.unwrap();
    assert!(kv.usage().await.unwrap().unwrap().is_full);
    for refused in join_all((0..20).map(|n| put(&kv, format!("refused/{n}")))).await {
        assert!(matches!(refused, Err(KvError::NoSpace { .. })), "{refused:?}");
    }
    check(&kv, &keys).await;

    // Room, and it works again.
    std::fs::remove_file(&ballast).unwrap();
    for n in 0..10 {
        let key = format!("again/{n}");
        put(&kv, key.clone()).await.unwrap();
        keys.push(key);
    }
    assert!(!kv.usage().await.unwrap().unwrap().is_full);
    check(&kv, &keys).await;
    // The watch from before heard each write, once.
    for revision in 2..2 + i64::try_from(keys.len()).unwrap() {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    }
    drop((watch, kv));
    let kv = open();
    check(&kv, &keys).await;
    drop(kv);

    // And without more disk: what is deleted and compacted away is room too.
    let kv = open();
    let mut last = 0;
    while let Ok(revision) = put(&kv, format!("fill/{last}")).await {
        last = revision;
        assert!(last < 400, "no end of the disk");
    }
    for key in keys {
        last = match kv.txn(Vec::new(), vec![Write::Delete { key }]).await.unwrap() {
            Outcome::Done(revision) => revision,
            Outcome::Conflict(_) => panic!("nothing was guarded"),
        };
    }
    kv.compact(last).await.unwrap();
    let mut tries = 0;
    while put(&kv, "after".into()).await.is_err() {
        // The sweep goes on after the answer.
        tries += 1;
        assert!(tries < 100, "compaction made no room");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// In a mount namespace of its own, which ends with the process, however it ends.
#[test]
fn a_full_disk_changes_nothing() {
    let directory = Directory::new();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=48m none \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(&directory.path)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded_disk::fills_its_disk", "--nocapture"])
        .env(DISK, &directory.path)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
    assert!(std::fs::read_dir(&directory.path).unwrap().next().is_none(), "it was a mount");
}
