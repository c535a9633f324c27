//! [`EtcdKv`](apiserver::storage::EtcdKv) itself.

use std::time::Duration;

use apiserver::storage::compact::{self, COMPACT_KEY};
use apiserver::storage::{EtcdKv, EtcdOptions, EtcdTls, Expect, Kv, KvError, Outcome, Page, Write};
use apiserver::tasks::{OnExit, Tasks};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::etcd::{PrivateEtcd, Proxy, free_port};
use crate::support::Bench;

pub(crate) async fn put(kv: &dyn Kv, key: &str, value: &str) -> i64 {
    let write = Write::Put { key: key.into(), value: Bytes::from(value.to_owned()) };
    match kv.txn(Vec::new(), vec![write]).await.unwrap() {
        Outcome::Done(revision) => revision,
        Outcome::Conflict(_) => panic!("nothing was guarded"),
    }
}

#[tokio::test]
async fn guards_writes() {
    let bench = Bench::new().await;
    let (a, b) = (format!("{}/a", bench.prefix), format!("{}/b", bench.prefix));
    let first = put(bench.kv.as_ref(), &a, "1").await;
    let write = Write::Put { key: b.clone(), value: Bytes::from("2") };
    let guards = vec![(a.clone(), Expect::Revision(first)), (b.clone(), Expect::Absent)];
    let done = bench.kv.txn(guards.clone(), vec![write.clone()]).await.unwrap();
    assert!(matches!(done, Outcome::Done(revision) if revision > first));
    match bench.kv.txn(guards, vec![write]).await.unwrap() {
        Outcome::Conflict(current) => {
            assert_eq!(current[0].as_ref().unwrap().mod_revision, first);
            assert_eq!(current[1].as_ref().unwrap().value, Bytes::from("2"));
        }
        Outcome::Done(_) => panic!("b exists"),
    }
}

#[tokio::test]
async fn lists_pages_in_order_at_one_revision() {
    let bench = Bench::new().await;
    let prefix = format!("{}/p/", bench.prefix);
    put(bench.kv.as_ref(), &format!("{}/p", bench.prefix), "outside").await;
    for name in ["b", "a", "c"] {
        put(bench.kv.as_ref(), &format!("{prefix}{name}"), name).await;
    }
    let page = Page { limit: 2, ..Page::default() };
    let first = bench.kv.list(&prefix, page).await.unwrap();
    assert_eq!(first.count, 3);
    put(bench.kv.as_ref(), &format!("{prefix}d"), "later").await;
    let start = Some(format!("{}\0", first.items[1].key));
    let page = Page { start, at: Some(first.revision), ..Page::default() };
    let rest = bench.kv.list(&prefix, page).await.unwrap();
    let keys: Vec<_> = first.items.iter().chain(&rest.items).map(|kv| kv.key.clone()).collect();
    assert_eq!(keys, ["a", "b", "c"].map(|name| format!("{prefix}{name}")));
    assert_eq!(rest.revision, first.revision);
    assert_eq!(bench.kv.count(&prefix).await.unwrap().0, 4);
}

#[tokio::test]
async fn lists_more_keys_than_one_call_gives() {
    let bench = Bench::new().await;
    let prefix = format!("{}/p/", bench.prefix);
    for chunk in 0..12 {
        let writes = (0..100)
            .map(|n| Write::Put {
                key: format!("{prefix}{:05}", chunk * 100 + n),
                value: Bytes::from("x"),
            })
            .collect();
        bench.kv.txn(Vec::new(), writes).await.unwrap();
    }
    let listed = bench.kv.list(&prefix, Page::default()).await.unwrap();
    assert_eq!((listed.items.len(), listed.count), (1200, 1200));
    let page = Page { limit: 1100, ..Page::default() };
    let listed = bench.kv.list(&prefix, page).await.unwrap();
    assert_eq!((listed.items.len(), listed.count), (1100, 1200));
}

#[tokio::test]
async fn names_a_future_revision() {
    let bench = Bench::new().await;
    let at = bench.revision().await + 1_000_000;
    let error = bench.kv.get("x", Some(at)).await.unwrap_err();
    assert!(
        matches!(error, KvError::Future { asked, current } if asked == at && current > 0),
        "{error}"
    );
}

#[tokio::test]
async fn refuses_a_huge_value() {
    let bench = Bench::new().await;
    let write = Write::Put {
        key: format!("{}/a", bench.prefix),
        value: Bytes::from(vec![b'x'; 3 * 1024 * 1024]),
    };
    let error = bench.kv.txn(Vec::new(), vec![write]).await.unwrap_err();
    assert!(matches!(error, KvError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn watch_keeps_a_revision_together_and_reports_progress() {
    let bench = Bench::new().await;
    let prefix = format!("{}/w/", bench.prefix);
    let from = bench.revision().await + 1;
    let mut watch = bench.kv.watch(&prefix, from).await.unwrap();
    let writes = ["a", "b", "c"]
        .map(|name| Write::Put { key: format!("{prefix}{name}"), value: Bytes::from("1") });
    let outcome = bench.kv.txn(Vec::new(), writes.to_vec()).await.unwrap();
    let Outcome::Done(revision) = outcome else { panic!("nothing was guarded") };
    loop {
        let batch = watch.next().await.unwrap().unwrap();
        if !batch.events.is_empty() {
            assert_eq!(batch.events.len(), 3);
            assert!(batch.events.iter().all(|event| event.revision == revision));
            break;
        }
    }
    let outside = put(bench.kv.as_ref(), &format!("{}/elsewhere", bench.prefix), "1").await;
    loop {
        let batch = watch.next().await.unwrap().unwrap();
        assert!(batch.events.is_empty());
        if batch.revision >= outside {
            break;
        }
    }
}

#[tokio::test]
async fn tells_that_history_is_gone() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let first = put(kv.as_ref(), "a", "1").await;
    put(kv.as_ref(), "a", "2").await;
    let last = put(kv.as_ref(), "a", "3").await;
    kv.compact(last).await.unwrap();
    assert!(matches!(kv.get("a", Some(first)).await, Err(KvError::Compacted { .. })));
    match kv.watch("a", first).await {
        Err(KvError::Compacted { compacted, .. }) => assert_eq!(compacted, last),
        Err(other) => panic!("{other}"),
        Ok(mut watch) => {
            let item = watch.next().await.unwrap();
            assert!(matches!(item, Err(KvError::Compacted { .. })), "{item:?}");
        }
    }
    assert!(matches!(kv.compact(first).await, Err(KvError::Compacted { .. })));
}

#[tokio::test]
async fn replicas_compact_together() {
    let etcd = PrivateEtcd::start().await;
    let kv = etcd.kv().await;
    let first = put(kv.as_ref(), "a", "1").await;
    put(kv.as_ref(), "a", "2").await;
    let tasks = Tasks::new();
    let interval = Duration::from_millis(200);
    for _ in 0..2 {
        let run = compact::run(etcd.kv().await, interval, tasks.stopping().clone());
        tasks.spawn("compact", OnExit::Ignore, run);
    }
    let mut compacted = false;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if matches!(kv.get("a", Some(first)).await, Err(KvError::Compacted { .. })) {
            compacted = true;
            break;
        }
    }
    assert!(compacted, "no compaction after 5 s");
    tasks.shutdown().await;
    assert!(kv.get(COMPACT_KEY, None).await.unwrap().kv.is_some());
}

#[tokio::test]
async fn speaks_tls_with_client_certificates() {
    let etcd = PrivateEtcd::start_with_tls().await;
    let kv = etcd.kv().await;
    let revision = put(kv.as_ref(), "a", "1").await;
    assert_eq!(kv.get("a", None).await.unwrap().kv.unwrap().mod_revision, revision);
    let mut strange = EtcdOptions::new(vec![etcd.endpoint()]);
    strange.deadline = Duration::from_secs(2);
    strange.tls = Some(EtcdTls::default());
    // Not our CA: no connection.
    match EtcdKv::connect(&strange).await {
        Ok(kv) => assert!(kv.health().await.is_err()),
        Err(error) => assert!(matches!(error, KvError::Other { .. }), "{error}"),
    }
}

#[tokio::test]
async fn a_dead_member_does_not_matter() {
    let etcd = PrivateEtcd::start().await;
    let mut dead = PrivateEtcd::start().await;
    dead.stop();
    let options = EtcdOptions::new(vec![dead.endpoint(), etcd.endpoint()]);
    let kv = EtcdKv::connect(&options).await.unwrap();
    for n in 0..20 {
        let revision = put(&kv, "a", &n.to_string()).await;
        assert_eq!(kv.get("a", None).await.unwrap().kv.unwrap().mod_revision, revision);
        drop(kv.watch("a", revision).await.unwrap());
    }
}

/// Every call finds the member that is there, over TLS too.
#[tokio::test]
async fn a_dead_member_does_not_matter_with_tls() {
    let etcd = PrivateEtcd::start_with_tls().await;
    let mut options = etcd.options();
    options.endpoints.insert(0, format!("https://127.0.0.1:{}", free_port()));
    let kv = EtcdKv::connect(&options).await.unwrap();
    for n in 0..20 {
        let revision = put(&kv, "a", &n.to_string()).await;
        assert_eq!(kv.list("a", Page::default()).await.unwrap().items.len(), 1);
        let mut watch = kv.watch("a", revision).await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    }
    assert!(kv.usage().await.unwrap().is_some());
}

/// Of the right CA, but without a certificate of our own.
#[tokio::test]
async fn etcd_refuses_who_shows_no_certificate() {
    let etcd = PrivateEtcd::start_with_tls().await;
    let mut options = etcd.options();
    let tls = options.tls.as_mut().unwrap();
    assert!(tls.identity.take().is_some() && tls.ca.is_some());
    let kv = EtcdKv::connect(&options).await.unwrap();
    assert!(matches!(kv.health().await, Err(KvError::Unavailable { .. })));
}

/// As with etcd before 3.7: long lists come in pages, of one revision all the same.
#[tokio::test]
async fn lists_where_ranges_are_not_streamed() {
    let etcd = PrivateEtcd::start().await;
    let proxy = Proxy::start(&etcd).await;
    let kv = EtcdKv::connect(&EtcdOptions::new(vec![proxy.endpoint()])).await.unwrap();
    for chunk in 0..12 {
        let writes = (0..100)
            .map(|n| Write::Put {
                key: format!("p/{:05}", chunk * 100 + n),
                value: Bytes::from("x"),
            })
            .collect();
        kv.txn(Vec::new(), writes).await.unwrap();
    }
    for _ in 0..2 {
        let listed = kv.list("p/", Page::default()).await.unwrap();
        assert_eq!((listed.items.len(), listed.count), (1200, 1200));
        assert!(listed.items.is_sorted_by_key(|kv| &kv.key));
    }
    let calls = "grpc_server_started_total{grpc_method=\"RangeStream\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"server_stream\"}";
    assert_eq!(etcd.metric(calls).await.to_string(), "0", "etcd itself was asked");
}
