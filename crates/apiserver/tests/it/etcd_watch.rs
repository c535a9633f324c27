//! Watches of [`EtcdKv`](apiserver::storage::EtcdKv) and what they cost etcd.

use std::sync::Arc;
use std::time::Duration;

use apiserver::storage::{EtcdKv, Kv, KvError, KvWatch, Outcome, Write};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use crate::etcd::PrivateEtcd;
use crate::kv::put;

const STREAMS: &str = "etcd_debugging_mvcc_watch_stream_total";
const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";
const PATIENCE: Duration = Duration::from_secs(20);

/// The next batch with events.
async fn news(watch: &mut KvWatch) -> Vec<apiserver::storage::KvEvent> {
    loop {
        let item = timeout(PATIENCE, watch.next()).await.expect("news in time");
        let batch = item.expect("the watch goes on").unwrap();
        if !batch.events.is_empty() {
            return batch.events;
        }
    }
}

/// Waits for a batch that reaches `revision`.
async fn reach(watch: &mut KvWatch, revision: i64) {
    loop {
        let item = timeout(PATIENCE, watch.next()).await.expect("progress in time");
        if item.expect("the watch goes on").unwrap().revision >= revision {
            return;
        }
    }
}

#[tokio::test]
async fn many_watches_share_a_stream() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let first = put(kv.as_ref(), "0/a", "1").await;
    let mut watches = Vec::new();
    for n in 0..50 {
        watches.push(kv.watch(&format!("{n}/"), first + 1).await.unwrap());
    }
    assert_eq!(etcd.metric(STREAMS).await.to_string(), "1");
    etcd.wait_for_metric(WATCHERS, 50.0).await;
    for (n, watch) in watches.iter_mut().enumerate() {
        let revision = put(kv.as_ref(), &format!("{n}/a"), "2").await;
        assert_eq!(news(watch).await[0].revision, revision);
    }
    // Those with history come to it when they are through.
    let mut late = Vec::new();
    for n in 0..5 {
        late.push(kv.watch(&format!("{n}/"), first).await.unwrap());
    }
    let last = put(kv.as_ref(), "elsewhere", "1").await;
    for watch in &mut late {
        reach(watch, last).await;
    }
    // One more step, in which they leave the streams they had.
    let last = put(kv.as_ref(), "elsewhere", "2").await;
    for watch in &mut late {
        reach(watch, last).await;
    }
    etcd.wait_for_metric(STREAMS, 1.0).await;
    etcd.wait_for_metric(WATCHERS, 55.0).await;
    // What is not listened to any more is cancelled, and then so is the stream.
    watches.truncate(10);
    etcd.wait_for_metric(WATCHERS, 15.0).await;
    drop((watches, late));
    etcd.wait_for_metric(STREAMS, 0.0).await;
}

/// Handing over from history to the shared stream loses nothing while everybody writes.
#[tokio::test]
async fn watches_change_streams_without_a_gap() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let first = put(kv.as_ref(), "a/0", "0").await;
    let write = async {
        let mut last = first;
        for n in 1..400 {
            last = put(kv.as_ref(), &format!("a/{}", n % 7), &n.to_string()).await;
        }
        last
    };
    let reader = |delay: u64| {
        let kv = kv.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let mut watch = kv.watch("a/", first).await.unwrap();
            let mut next = first;
            while next < first + 400 {
                for event in news(&mut watch).await {
                    assert_eq!(event.revision, next);
                    next += 1;
                }
            }
        }
    };
    let readers = join_all((0..10).map(|n| reader(n * 50)));
    futures::join!(write, readers);
    etcd.wait_for_metric("etcd_debugging_mvcc_slow_watcher_total", 0.0).await;
}

#[tokio::test]
async fn a_broken_stream_ends_its_watches_and_the_next_is_new() {
    let mut etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let from = put(kv.as_ref(), "a", "1").await + 1;
    let mut watches = join_all((0..3).map(|_| kv.watch("a", from))).await;
    etcd.restart().await;
    for watch in &mut watches {
        let watch = watch.as_mut().unwrap();
        let end = async {
            loop {
                match watch.next().await {
                    Some(Ok(batch)) => assert!(batch.events.is_empty()),
                    other => return other,
                }
            }
        };
        let end = timeout(PATIENCE, end).await.expect("an end in time");
        assert!(matches!(end, Some(Err(KvError::Unavailable { .. }))), "{end:?}");
        assert!(watch.next().await.is_none());
    }
    let mut watch = kv.watch("a", from).await.unwrap();
    let revision = put(kv.as_ref(), "a", "2").await;
    assert_eq!(news(&mut watch).await[0].revision, revision);
}

/// A transaction whose previous values are twenty times what a message may have, told live and as
/// history.
#[tokio::test]
async fn a_huge_transaction_comes_whole() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let value = Bytes::from(vec![b'x'; 300 * 1024]);
    for n in 0..100 {
        let write = Write::Put { key: format!("a/{n:02}"), value: value.clone() };
        kv.txn(Vec::new(), vec![write]).await.unwrap();
    }
    let from = put(kv.as_ref(), "b", "1").await + 1;
    let mut live = kv.watch("a/", from).await.unwrap();
    let writes = (0..100).map(|n| Write::Delete { key: format!("a/{n:02}") }).collect();
    let outcome = kv.txn(Vec::new(), writes).await.unwrap();
    assert_eq!(outcome, Outcome::Done(from));
    let mut history = kv.watch("a/", from).await.unwrap();
    for watch in [&mut live, &mut history] {
        let events = news(watch).await;
        assert_eq!(events.len(), 100);
        assert!(events.iter().all(|event| event.revision == from));
        assert!(events.iter().all(|event| event.previous.as_ref() == Some(&value)));
        assert!(events.is_sorted_by_key(|event| &event.key));
    }
}

/// History that nobody reads, more than is buffered: every call and every other watch goes on.
#[tokio::test]
async fn unread_history_blocks_nobody() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let value = Bytes::from(vec![b'x'; 1024 * 1024]);
    let mut first = 0;
    for n in 0..45 {
        let write = Write::Put { key: format!("a/{n:02}"), value: value.clone() };
        let Outcome::Done(revision) = kv.txn(Vec::new(), vec![write]).await.unwrap() else {
            panic!("nothing was guarded");
        };
        first = if first == 0 { revision } else { first };
    }
    let mut unread = join_all((0..6).map(|_| kv.watch("a/", first))).await;
    let mut lively = kv.watch("b", first + 45).await.unwrap();
    etcd.wait_for_metric(WATCHERS, 7.0).await;
    let begun = Instant::now();
    // Until those that nobody reads have been given up.
    while etcd.metric(WATCHERS).await > 1.5 {
        assert!(begun.elapsed() < PATIENCE);
        let revision = put(kv.as_ref(), "b", "1").await;
        assert_eq!(news(&mut lively).await[0].revision, revision);
        reach(&mut lively, revision).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each told its reader an unbroken beginning, and then that it could not wait.
    for watch in &mut unread {
        let watch = watch.as_mut().unwrap();
        let mut next = first;
        let error = loop {
            match timeout(PATIENCE, watch.next()).await.expect("an end in time") {
                Some(Ok(batch)) => {
                    for event in batch.events {
                        assert_eq!(event.revision, next);
                        next += 1;
                    }
                }
                Some(Err(error)) => break error,
                None => panic!("no reason"),
            }
        };
        assert!(matches!(error, KvError::Unavailable { .. }), "{error}");
        assert!(next > first);
    }
}

/// A watch that does not keep up is cancelled in etcd too.
#[tokio::test]
async fn a_stalled_watch_is_cancelled() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let from = put(kv.as_ref(), "a", "1").await + 1;
    let stalled = kv.watch("a", from).await.unwrap();
    let mut lively = kv.watch("b", from).await.unwrap();
    etcd.wait_for_metric(WATCHERS, 2.0).await;
    // More than is buffered for a watch.
    let writer = |_: usize| async {
        for n in 0..110 {
            put(kv.as_ref(), "a", &n.to_string()).await;
        }
    };
    join_all((0..10).map(writer)).await;
    etcd.wait_for_metric(WATCHERS, 1.0).await;
    let revision = put(kv.as_ref(), "b", "1").await;
    assert_eq!(news(&mut lively).await[0].revision, revision);
    drop(stalled);
}

/// Asked on a store that nobody writes to, where the watch's start does not exist yet.
#[tokio::test]
async fn progress_comes_on_a_store_at_rest() {
    let etcd = PrivateEtcd::start().await;
    let mut options = etcd.options();
    options.progress_interval = Duration::from_secs(3600);
    let kv = Arc::new(EtcdKv::connect(&options).await.unwrap());
    let last = put(kv.as_ref(), "a", "1").await;
    let mut watch = kv.watch("a", last + 1).await.unwrap();
    for _ in 0..10 {
        kv.request_progress().await.unwrap();
        let batch = timeout(PATIENCE, watch.next()).await.expect("progress in time");
        let batch = batch.unwrap().unwrap();
        assert_eq!((batch.revision, batch.events.len()), (last, 0));
    }
}

/// A client that knows nothing of the store yet, and a start that is long past.
#[tokio::test]
async fn a_new_client_watches_history() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let first = put(kv.as_ref(), "a", "1").await;
    put(kv.as_ref(), "a", "2").await;
    let other = etcd.kv().await;
    let mut watch = other.watch("a", first).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(news(&mut watch).await);
    }
    assert_eq!(heard.iter().map(|event| event.revision).collect::<Vec<_>>(), [first, first + 1]);
    kv.compact(first + 1).await.unwrap();
    let mut watch = etcd.kv().await.watch("a", first).await.unwrap();
    let end = watch.next().await.unwrap();
    assert!(
        matches!(end, Err(KvError::Compacted { asked, compacted })
            if asked == first && compacted == first + 1),
        "{end:?}"
    );
}
