//! [`EmbeddedKv`](apiserver::storage::EmbeddedKv) beyond what every store does: its file.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use apiserver::storage::{
    EmbeddedKv, EmbeddedOptions, Expect, Kv, KvError, OpenError, Outcome, Page, Write,
};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;

use crate::directory::Directory;

/// Set for a process that only writes; the test's directory.
const WRITER: &str = "TEST_EMBEDDED_WRITER";

fn open(directory: &Path) -> Result<EmbeddedKv, OpenError> {
    EmbeddedKv::open(EmbeddedOptions::new(directory))
}

async fn put(kv: &EmbeddedKv, key: &str, value: &str) -> i64 {
    let write = Write::Put { key: key.into(), value: Bytes::from(value.to_owned()) };
    match kv.txn(Vec::new(), vec![write]).await.unwrap() {
        Outcome::Done(revision) => revision,
        Outcome::Conflict(_) => panic!("nothing was guarded"),
    }
}

#[tokio::test]
async fn reopening_keeps_data_revisions_and_history() {
    let directory = Directory::new();
    let kv = open(&directory.path).unwrap();
    let first = put(&kv, "a", "1").await;
    let second = put(&kv, "a", "2").await;
    put(&kv, "b", "1").await;
    kv.compact(second).await.unwrap();
    drop(kv);
    let kv = open(&directory.path).unwrap();
    let got = kv.get("a", None).await.unwrap();
    assert_eq!((got.kv.unwrap().mod_revision, got.revision), (second, second + 1));
    assert!(matches!(kv.get("a", Some(first)).await, Err(KvError::Compacted { .. })));
    let mut watch = kv.watch("", second).await.unwrap();
    let next = put(&kv, "a", "3").await;
    assert_eq!(next, second + 2);
    for revision in second..=next {
        let batch = watch.next().await.unwrap().unwrap();
        assert_eq!((batch.revision, batch.events.len()), (revision, 1));
    }
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let directory = Directory::new();
    let kv = open(&directory.path).unwrap();
    let error = open(&directory.path).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    put(&kv, "a", "1").await;
    drop(kv);
    open(&directory.path).unwrap();
}

/// What is not a store, is cut off or has a flipped byte is reported, and not changed or served.
#[tokio::test]
async fn a_damaged_file_is_reported() {
    let directory = Directory::new();
    let kv = open(&directory.path).unwrap();
    for n in 0..200 {
        put(&kv, &format!("key-{n}"), &"x".repeat(1000)).await;
    }
    drop(kv);
    let file = EmbeddedKv::file(&directory.path);
    let good = std::fs::read(&file).unwrap();
    let needle = b"xxxxxxxx";
    let place = good.windows(needle.len()).rposition(|part| part == needle).unwrap();
    let mut flipped = good.clone();
    // Every value, so that the ones in use are among them.
    flipped.iter_mut().filter(|byte| **byte == b'x').for_each(|byte| *byte = b'y');
    assert_ne!(flipped[place], good[place]);
    for (what, bytes) in [
        ("not a store", b"something else entirely, and long enough".repeat(100)),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("changed values", flipped),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let error = open(&directory.path).map(|_| what).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("damaged"), "{error}");
    }
    std::fs::write(&file, good).unwrap();
    let kv = open(&directory.path).unwrap();
    assert_eq!(kv.count("key-").await.unwrap().0, 200);
}

/// The writer for the test below, in a process of its own: prints each acknowledged number.
#[tokio::test(flavor = "multi_thread")]
async fn writes_until_killed() {
    let Some(directory) = std::env::var_os(WRITER) else { return };
    let kv = open(Path::new(&directory)).unwrap();
    let kv = &kv;
    join_all((0..4).map(|writer| async move {
        for n in 0..u64::MAX {
            put(kv, &format!("{writer}/{n}"), &n.to_string()).await;
            // One line, one write to the pipe.
            eprintln!("acknowledged {writer}/{n}");
        }
    }))
    .await;
}

#[tokio::test]
async fn kill_9_loses_no_acknowledged_write() {
    let directory = Directory::new();
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::writes_until_killed", "--nocapture"])
            .env(WRITER, &directory.path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut acknowledged: Vec<String> = Vec::new();
        while acknowledged.len() < 200 {
            let line = lines.next().expect("the writer writes").unwrap();
            acknowledged.extend(line.strip_prefix("acknowledged ").map(str::to_owned));
        }
        // In the middle: the others are at it.
        assert!(matches!(open(&directory.path), Err(OpenError::InUse { .. })));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        let rest = lines.map_while(Result::ok);
        acknowledged
            .extend(rest.filter_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned)));
        let kv = open(&directory.path).unwrap();
        let listed = kv.list("", Page::default()).await.unwrap();
        for key in &acknowledged {
            let found = listed.items.iter().any(|kv| kv.key == *key);
            assert!(found, "round {round}: {key} was acknowledged and is lost");
        }
        let last = listed.items.iter().map(|kv| kv.mod_revision).max().unwrap();
        assert_eq!(last, listed.revision);
        // History is whole: every revision since the empty store has its event.
        let mut watch = kv.watch("", 2).await.unwrap();
        for revision in 2..=last {
            assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
        }
        let empty = join_all(listed.items.iter().map(|item| {
            let guard = (item.key.clone(), Expect::Revision(item.mod_revision));
            kv.txn(vec![guard], vec![Write::Delete { key: item.key.clone() }])
        }));
        assert!(empty.await.into_iter().all(|outcome| matches!(outcome, Ok(Outcome::Done(_)))));
        drop(watch);
        drop(kv);
        std::fs::remove_file(EmbeddedKv::file(&directory.path)).unwrap();
    }
}

/// A buffer that is full ends the watch; where it stood, another one goes on.
#[tokio::test]
async fn a_full_buffer_ends_the_watch() {
    let directory = Directory::new();
    let mut options = EmbeddedOptions::new(&directory.path);
    options.watch_batches_max = 4;
    let kv = EmbeddedKv::open(options).unwrap();
    let mut watch = kv.watch("a", 2).await.unwrap();
    for n in 0..10 {
        put(&kv, "a", &n.to_string()).await;
    }
    let mut reached = 1;
    let error = loop {
        match watch.next().await.unwrap() {
            Ok(batch) => {
                assert_eq!(batch.revision, reached + 1);
                reached = batch.revision;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, KvError::Unavailable { .. }), "{error}");
    assert!(watch.next().await.is_none());
    let mut watch = kv.watch("a", reached + 1).await.unwrap();
    for revision in reached + 1..=11 {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    }
}

/// Compaction gives the room back: the file of a store that is rewritten does not grow for ever.
#[tokio::test]
async fn compaction_frees_room() {
    let directory = Directory::new();
    let kv = open(&directory.path).unwrap();
    let value = "x".repeat(100_000);
    let mut sizes = Vec::new();
    for _ in 0..6 {
        let mut last = 0;
        for n in 0..30 {
            last = put(&kv, &format!("{}", n % 3), &value).await;
        }
        kv.compact(last).await.unwrap();
        // The sweep goes on after the answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
        sizes.push(std::fs::metadata(EmbeddedKv::file(&directory.path)).unwrap().len());
    }
    assert!(sizes[5] <= sizes[1] * 3 / 2, "{sizes:?}");
}

#[tokio::test]
async fn dropping_ends_watches_and_keeps_what_was_begun() {
    let directory = Directory::new();
    let kv = open(&directory.path).unwrap();
    let mut watch = kv.watch("a", 2).await.unwrap();
    put(&kv, "a", "1").await;
    drop(kv);
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 2);
    assert!(matches!(watch.next().await, Some(Err(KvError::Unavailable { .. }))));
    drop(watch);
    assert_eq!(open(&directory.path).unwrap().get("a", None).await.unwrap().revision, 2);
}
