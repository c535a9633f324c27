//! What happens when etcd goes away and comes back.

use std::time::Duration;

use apiserver::request::WatchOptions;
use futures::StreamExt as _;
use serde_json::json;

use crate::etcd::PrivateEtcd;
use crate::support::{Bench, next, short, thing};

#[tokio::test]
async fn calls_work_again_and_watches_end_or_go_on() {
    let mut etcd = PrivateEtcd::start().await;
    let bench = Bench::on(etcd.kv().await);
    bench.create(thing("a", json!({}))).await;
    let mut watch = bench
        .watch(&WatchOptions {
            resource_version: bench.revision().await.to_string(),
            ..WatchOptions::default()
        })
        .await;

    etcd.stop();
    let error = bench.get("a").await.unwrap_err();
    assert_eq!(error.code(), 503, "{error}");
    let error = bench.try_create(thing("b", json!({}))).await.unwrap_err();
    assert_eq!(error.code(), 504, "{error}");
    assert!(error.details().unwrap().retry_after_seconds.is_none());
    assert!(bench.kv.health().await.is_err());

    etcd.restart().await;
    let mut healthy = false;
    for _ in 0..100 {
        if bench.kv.health().await.is_ok() {
            healthy = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(healthy, "no reconnect within 10 s");
    assert_eq!(bench.get("a").await.unwrap().name(), "a");
    bench.create(thing("c", json!({}))).await;
    let event = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    let event = short(event.expect("a watch must not hang").as_ref());
    assert!(
        event == "END" || event.starts_with("ERROR 503") || event.starts_with("ADDED c@"),
        "{event}"
    );
}

#[tokio::test]
async fn starts_before_etcd_does() {
    let mut etcd = PrivateEtcd::start().await;
    etcd.stop();
    let kv = etcd.kv().await;
    assert!(kv.health().await.is_err());
    etcd.restart().await;
    for _ in 0..100 {
        if kv.health().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no connection within 10 s");
}

#[tokio::test]
async fn a_watch_on_a_hung_etcd_ends() {
    let etcd = PrivateEtcd::start().await;
    let bench = Bench::on(etcd.kv().await);
    let options = WatchOptions {
        resource_version: bench.revision().await.to_string(),
        ..WatchOptions::default()
    };
    let mut watch = bench.watch(&options).await;
    etcd.freeze();
    let event = next(&mut watch).await;
    assert!(event.starts_with("ERROR 503"), "{event}");
    assert_eq!(next(&mut watch).await, "END");
    assert_eq!(bench.get("a").await.unwrap_err().code(), 503);
}

#[tokio::test]
async fn a_watch_on_a_quiet_etcd_lives_on() {
    let etcd = PrivateEtcd::start().await;
    let bench = Bench::on(etcd.kv().await);
    let options = WatchOptions {
        resource_version: bench.revision().await.to_string(),
        ..WatchOptions::default()
    };
    let mut watch = bench.watch(&options).await;
    // Longer than a watch that hears nothing lives.
    let early = tokio::time::timeout(Duration::from_millis(2500), watch.next()).await;
    assert!(early.is_err(), "{early:?}");
    let a = bench.create(thing("a", json!({}))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", a.resource_version().unwrap()));
}

#[tokio::test]
async fn a_watch_from_the_future_waits() {
    let etcd = PrivateEtcd::start().await;
    let bench = Bench::on(etcd.kv().await);
    let now = bench.revision().await;
    let options =
        WatchOptions { resource_version: (now + 1).to_string(), ..WatchOptions::default() };
    let mut watch = bench.watch(&options).await;
    // Longer than a watch that hears nothing lives.
    let early = tokio::time::timeout(Duration::from_millis(2500), watch.next()).await;
    assert!(early.is_err(), "{early:?}");
    bench.create(thing("a", json!({}))).await;
    let b = bench.create(thing("b", json!({}))).await;
    let expected = format!("ADDED b@{}", b.resource_version().unwrap());
    assert_eq!(next(&mut watch).await, expected);
}
