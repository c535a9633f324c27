//! An etcd that runs out of space, and objects that are too large for any store.

use std::sync::Arc;
use std::time::Duration;

use apiserver::registry::Part;
use apiserver::request::ListOptions;
use apiserver::storage::usage::{self, UsageMetrics};
use apiserver::storage::{EmbeddedKv, EmbeddedOptions, Expect, Kv, KvError, Outcome, Write};
use apiserver::tasks::{OnExit, Tasks};
use bytes::Bytes;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::directory::Directory;
use crate::etcd::PrivateEtcd;
use crate::kv::put;
use crate::support::{Bench, connect, env, thing};

const QUOTA_BYTES: u64 = 4 * 1024 * 1024;

#[tokio::test]
async fn a_full_etcd_says_so_and_goes_on_reading() {
    let etcd = PrivateEtcd::start_with(&[&format!("--quota-backend-bytes={QUOTA_BYTES}")]).await;
    let kv = etcd.kv().await;
    let before = kv.usage().await.unwrap().unwrap();
    assert_eq!((before.quota_bytes, before.is_full), (Some(QUOTA_BYTES), false));
    assert!(before.bytes > 0);
    let bench = Bench::on(kv.clone());
    bench.create(thing("a", json!({}))).await;
    let first = put(kv.as_ref(), "filler", "small").await;
    let mut written = first;
    let error = loop {
        let value = Bytes::from(vec![b'x'; 256 * 1024]);
        let guards = vec![("filler".to_owned(), Expect::Revision(written))];
        match kv.txn(guards, vec![Write::Put { key: "filler".into(), value }]).await {
            Ok(Outcome::Done(revision)) => written = revision,
            Ok(Outcome::Conflict(current)) => panic!("nobody else writes: {current:?}"),
            Err(error) => break error,
        }
        assert!(written < first + 100, "no end of space");
    };
    assert!(matches!(&error, KvError::NoSpace { .. }), "{error}");
    // etcd may have made the write that crosses the quota, and refuses those after it.
    let got = kv.get("filler", None).await.unwrap();
    let now = got.kv.expect("it was written").mod_revision;
    assert!((written..=written + 1).contains(&now), "{now} after {written}");
    written = now;
    assert!(kv.usage().await.unwrap().unwrap().is_full);

    let error = bench.try_create(thing("b", json!({}))).await.unwrap_err();
    assert_eq!(error.code(), 500);
    assert_eq!(
        error.to_string(),
        "Internal error occurred: etcdserver: mvcc: database space exceeded"
    );
    assert_eq!(bench.get("a").await.unwrap().name(), "a");
    assert_eq!(bench.list(&ListOptions::default()).await.unwrap().items.len(), 1);
    kv.health().await.unwrap();
    // Room can be made: old values are compacted away, and what is not needed is deleted.
    kv.compact(written).await.unwrap();
    let delete = vec![Write::Delete { key: "filler".into() }];
    assert_eq!(kv.txn(Vec::new(), delete).await.unwrap(), Outcome::Done(written + 1));
}

#[tokio::test]
async fn the_stores_size_is_a_metric() {
    let etcd = PrivateEtcd::start_with(&[&format!("--quota-backend-bytes={QUOTA_BYTES}")]).await;
    let directory = Directory::new();
    let embedded = Arc::new(EmbeddedKv::open(EmbeddedOptions::new(&directory.path)).unwrap());
    let tasks = Tasks::new();
    for (kv, name) in [(etcd.kv().await, "etcd-0"), (embedded as Arc<dyn Kv>, "embedded-0")] {
        let metrics = UsageMetrics::new(name);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let stop = tasks.stopping().clone();
        let run = usage::run(kv.clone(), Duration::from_millis(50), metrics, stop);
        tasks.spawn("usage", OnExit::Ignore, run);
        let size = format!("apiserver_storage_size_bytes{{storage_cluster_id=\"{name}\"}} ");
        let mut found = None;
        for _ in 0..100 {
            let mut out = String::new();
            text::encode(&mut out, &registry).unwrap();
            found = out.lines().find_map(|line| line.strip_prefix(&size)?.parse::<u64>().ok());
            if found.is_some() {
                let quota = format!(
                    "apiserver_storage_quota_bytes{{storage_cluster_id=\"{name}\"}} {QUOTA_BYTES}"
                );
                assert_eq!(out.contains(&quota), name == "etcd-0", "{out}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(found.is_some_and(|bytes| bytes > 4096), "{name}: {found:?}");
    }
    tasks.shutdown().await;
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_with_413() {
    let directory = Directory::new();
    let embedded = Arc::new(EmbeddedKv::open(EmbeddedOptions::new(&directory.path)).unwrap());
    for kv in [connect(&env("TEST_ETCD_ENDPOINT")).await, embedded] {
        let bench = Bench::on(kv);
        let a = bench.create(thing("a", json!({}))).await;
        let version = a.resource_version().unwrap().to_string();
        let large = |name: &str, kib: usize, version: &str| {
            let text = "x".repeat(kib * 1024);
            let metadata = json!({"resourceVersion": version});
            thing(name, json!({"metadata": metadata, "spec": {"text": text}}))
        };
        bench.create(large("b", 1500, "")).await;
        let update = bench.try_update(Part::Main, large("a", 1600, &version)).await;
        for refused in [bench.try_create(large("c", 1600, "")).await, update] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), 413);
            assert_eq!(error.to_string(), "Request entity too large: limit is 1572864");
        }
        assert!(bench.get("a").await.unwrap().at("spec.text").is_none());
        assert_eq!(bench.get("c").await.unwrap_err().code(), 404);
    }
}
