//! Watches.

use std::time::Duration;

use apiserver::meta::Object;
use apiserver::registry::{EventKind, WatchEvent};
use apiserver::request::{DeleteOptions, ResourceVersionMatch, WatchOptions};
use apiserver::selector::{FieldSelector, LabelSelector};
use apiserver::storage::Write;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::etcd::PrivateEtcd;
use crate::support::{Bench, next, thing};

fn from(version: impl ToString) -> WatchOptions {
    WatchOptions { resource_version: version.to_string(), ..WatchOptions::default() }
}

fn version(object: &Object) -> &str {
    object.resource_version().unwrap()
}

async fn label(bench: &Bench, object: &Object, labels: Value) -> Object {
    let mut object = object.clone();
    object.set_meta("labels", labels);
    bench.update(object).await
}

#[tokio::test]
async fn shows_the_state_then_what_happens() {
    let bench = Bench::new().await;
    let a = bench.create(thing("a", json!({}))).await;
    for start in ["", "0"] {
        let mut watch = bench.watch(&from(start)).await;
        assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
        let b = bench.create(thing("b", json!({}))).await;
        assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
        let b = label(&bench, &b, json!({"x": "1"})).await;
        assert_eq!(next(&mut watch).await, format!("MODIFIED b@{}", version(&b)));
        bench.delete("b", &DeleteOptions::default()).await.unwrap();
        let deleted = bench.revision().await;
        let event = next(&mut watch).await;
        let at: i64 = event.strip_prefix("DELETED b@").expect(&event).parse().unwrap();
        assert!(at > version(&b).parse().unwrap() && at <= deleted);
    }
}

#[tokio::test]
async fn continues_from_a_revision() {
    let bench = Bench::new().await;
    let a = bench.create(thing("a", json!({}))).await;
    let b = bench.create(thing("b", json!({}))).await;
    let a2 = label(&bench, &a, json!({"x": "1"})).await;
    let mut watch = bench.watch(&from(version(&a))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
    assert_eq!(next(&mut watch).await, format!("MODIFIED a@{}", version(&a2)));

    // `sendInitialEvents=false` without a revision: from now on.
    let options = WatchOptions { send_initial_events: Some(false), ..WatchOptions::default() };
    let mut watch = bench.watch(&options).await;
    let c = bench.create(thing("c", json!({}))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED c@{}", version(&c)));

    let scope = apiserver::meta::Scope::All;
    let error = bench.store.watch(&bench.permit, &scope, &from("x")).await.err().unwrap();
    assert_eq!(error.code(), 422);
}

#[tokio::test]
async fn marks_the_end_of_the_initial_events() {
    let bench = Bench::new().await;
    let a = bench.create(thing("a", json!({}))).await;
    let mut options = WatchOptions {
        send_initial_events: Some(true),
        resource_version_match: Some(ResourceVersionMatch::NotOlderThan),
        allow_bookmarks: true,
        ..WatchOptions::default()
    };
    let before = bench.revision().await;
    let mut watch = bench.watch(&options).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    match watch.next().await {
        Some(WatchEvent::Bookmark { revision, initial_events_end: true }) => {
            assert!(revision >= before);
        }
        other => panic!("{other:?}"),
    }
    let b = bench.create(thing("b", json!({}))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));

    options.resource_version = (bench.revision().await + 1_000_000).to_string();
    let mut watch = bench.watch(&options).await;
    let event = next(&mut watch).await;
    assert!(event.starts_with("ERROR 504 Timeout: Too large resource version"), "{event}");
    assert_eq!(next(&mut watch).await, "END");
}

#[tokio::test]
async fn compacted_history_is_an_error_event() {
    let etcd = PrivateEtcd::start().await;
    let bench = Bench::on(etcd.kv().await);
    let a = bench.create(thing("a", json!({}))).await;
    label(&bench, &a, json!({"x": "1"})).await;
    bench.create(thing("b", json!({}))).await;
    bench.kv.compact(bench.revision().await).await.unwrap();
    let mut watch = bench.watch(&from(version(&a))).await;
    assert_eq!(
        next(&mut watch).await,
        "ERROR 410 The resourceVersion for the provided watch is too old."
    );
    assert_eq!(next(&mut watch).await, "END");
}

#[tokio::test]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let bench = Bench::new().await;
    let options = WatchOptions {
        label_selector: LabelSelector::parse("x=1").unwrap(),
        ..from(bench.revision().await)
    };
    let mut watch = bench.watch(&options).await;
    let mut a = bench.create(thing("a", json!({}))).await;
    a = label(&bench, &a, json!({"x": "1"})).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    a = label(&bench, &a, json!({"x": "1", "y": "1"})).await;
    assert_eq!(next(&mut watch).await, format!("MODIFIED a@{}", version(&a)));
    a = label(&bench, &a, json!({"x": "2"})).await;
    match watch.next().await {
        Some(WatchEvent::Change(EventKind::Deleted, shared)) => {
            let object = shared.item().object().unwrap();
            // The content that matched, at the revision at which it no longer did.
            assert_eq!(object.label("y"), Some("1"));
            assert_eq!(version(&object), version(&a));
        }
        other => panic!("{other:?}"),
    }
    bench.delete("a", &DeleteOptions::default()).await.unwrap();
    let b = bench.create(thing("b", json!({"metadata": {"labels": {"x": "1"}}}))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));

    let options = WatchOptions {
        field_selector: FieldSelector::parse("metadata.name=c").unwrap(),
        ..from(bench.revision().await)
    };
    let mut watch = bench.watch(&options).await;
    bench.create(thing("cc", json!({}))).await;
    let c = bench.create(thing("c", json!({}))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED c@{}", version(&c)));
}

#[tokio::test]
async fn bookmarks_come_from_progress_and_the_timeout_ends_the_stream() {
    let bench = Bench::new().await;
    let start = bench.revision().await;
    let options = WatchOptions {
        allow_bookmarks: true,
        timeout: Some(Duration::from_secs(4)),
        ..from(start)
    };
    let mut watch = bench.watch(&options).await;
    // Not ours, so no event; but the revision goes on.
    let write = Write::Put { key: format!("{}/x", bench.prefix), value: Bytes::from("1") };
    bench.kv.txn(Vec::new(), vec![write]).await.unwrap();
    match watch.next().await {
        Some(WatchEvent::Bookmark { revision, initial_events_end: false }) => {
            assert!(revision > start);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut watch).await, "END");
}

#[tokio::test]
async fn undecodable_objects_end_the_watch_with_an_error() {
    let bench = Bench::new().await;
    let mut watch = bench.watch(&from(bench.revision().await)).await;
    let write = Write::Put { key: bench.path("a"), value: Bytes::from("{broken") };
    bench.kv.txn(Vec::new(), vec![write]).await.unwrap();
    let event = next(&mut watch).await;
    assert!(event.starts_with("ERROR 500 ") && event.contains("/things/ns/a"), "{event}");
    assert_eq!(next(&mut watch).await, "END");
}
