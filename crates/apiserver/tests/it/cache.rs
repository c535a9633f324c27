//! What a watch cache does that a store alone can't show: while it fills, when its store goes away
//! or forgets, and when it is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::clock::new_uid;
use apiserver::meta::{GroupResource, Gvk, Object, ObjectKey, Scope};
use apiserver::request::{ListOptions, WatchOptions};
use apiserver::status::Reason;
use apiserver::storage::{
    CacheOptions, Cacher, EventKind, Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page,
    ResourceStore, Revision, WatchEvent, WatchStream, Write,
};
use apiserver::tasks::Tasks;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join_all, ready};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;

use crate::etcd::PrivateEtcd;
use crate::support::{connect, env, next};

/// A store that counts single reads and can swallow the next event.
#[derive(Debug)]
struct Odd {
    kv: Arc<dyn Kv>,
    gets: AtomicUsize,
    swallow: Arc<AtomicBool>,
}

impl Odd {
    fn new(kv: Arc<dyn Kv>) -> Arc<Self> {
        Arc::new(Self { kv, gets: AtomicUsize::new(0), swallow: Arc::default() })
    }
}

#[async_trait]
impl Kv for Odd {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.kv.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        self.kv.list(prefix, page).await
    }

    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError> {
        self.kv.count(prefix).await
    }

    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        self.kv.txn(guards, writes).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        let swallow = self.swallow.clone();
        let watch = self.kv.watch(prefix, from).await?;
        let thinned = watch.filter(move |batch| {
            let has_events = batch.as_ref().is_ok_and(|batch| !batch.events.is_empty());
            ready(!(has_events && swallow.swap(false, Ordering::SeqCst)))
        });
        Ok(thinned.boxed())
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.kv.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), KvError> {
        self.kv.compact(revision).await
    }

    async fn health(&self) -> Result<(), KvError> {
        self.kv.health().await
    }
}

struct Cached {
    kv: Arc<dyn Kv>,
    store: ResourceStore,
    cache: Cacher,
    _tasks: Tasks,
}

fn cached(kv: Arc<dyn Kv>, options: CacheOptions) -> Cached {
    let resource = GroupResource { group: "g.io".into(), resource: "things".into() };
    let prefix = format!("/cache/{}", new_uid());
    let gvk = Gvk::new("g.io", "v1", "Thing");
    let store = ResourceStore::new(kv.clone(), &prefix, gvk, resource, true, &[]);
    let tasks = Tasks::new();
    Cached { kv, cache: Cacher::start(store.clone(), options, &tasks), store, _tasks: tasks }
}

impl Cached {
    async fn create(&self, name: &str) -> Object {
        let object = Object::from_value(json!({
            "apiVersion": "g.io/v1", "kind": "Thing",
            "metadata": {"name": name, "namespace": "ns"},
        }));
        let object = object.unwrap();
        self.store.create(&ObjectKey::namespaced("ns", name), &object, false).await.unwrap()
    }

    async fn watch(&self, revision: Revision) -> WatchStream {
        let options =
            WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() };
        self.cache.watch(&ns(), &options).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let list = self.cache.list(&ns(), &ListOptions::default()).await.unwrap();
        list.items.iter().map(|item| item.name().to_owned()).collect()
    }
}

fn ns() -> Scope {
    Scope::Namespace("ns".into())
}

fn version(object: &Object) -> Revision {
    object.resource_version().unwrap().parse().unwrap()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 20 s");
}

#[tokio::test]
async fn nothing_is_served_before_it_is_filled() {
    let mut etcd = PrivateEtcd::start().await;
    etcd.stop();
    let cached = cached(etcd.kv().await, CacheOptions::default());
    let any = ListOptions { resource_version: "0".into(), ..ListOptions::default() };
    let refused = [
        cached.cache.list(&ns(), &ListOptions::default()).await.unwrap_err(),
        cached.cache.list(&ns(), &any).await.unwrap_err(),
        cached.cache.watch(&ns(), &WatchOptions::default()).await.err().unwrap(),
    ];
    for error in refused {
        assert_eq!((error.code(), error.reason()), (429, &Reason::TooManyRequests));
        assert_eq!(error.message(), "storage is (re)initializing");
        assert_eq!(error.details().unwrap().retry_after_seconds, Some(1));
    }
    assert!(!cached.cache.is_ready());
    etcd.restart().await;
    cached.cache.filled().await;
    assert!(cached.names().await.is_empty());
}

#[tokio::test]
async fn a_watch_outlives_its_store() {
    let mut etcd = PrivateEtcd::start().await;
    let cached = cached(etcd.kv().await, CacheOptions::default());
    cached.cache.filled().await;
    let a = cached.create("a").await;
    let mut watch = cached.watch(version(&a) - 1).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    etcd.stop();
    // What is at hand is served; what must be the newest can't be.
    let any = ListOptions { resource_version: "0".into(), ..ListOptions::default() };
    assert_eq!(cached.cache.list(&ns(), &any).await.unwrap().items.len(), 1);
    let error = cached.cache.list(&ns(), &ListOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), 503);
    etcd.restart().await;
    let kv = cached.kv.clone();
    for _ in 0..200 {
        if kv.health().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let b = cached.create("b").await;
    let heard = tokio::time::timeout(Duration::from_secs(30), next(&mut watch)).await;
    assert_eq!(heard.unwrap(), format!("ADDED b@{}", version(&b)));
    assert_eq!(cached.cache.stats().fills, 1, "it went on where it was");
}

#[tokio::test]
async fn a_cache_that_is_wrong_is_found_and_filled_again() {
    let odd = Odd::new(connect(&env("TEST_ETCD_ENDPOINT")).await);
    let options =
        CacheOptions { compare_interval: Duration::from_millis(300), ..CacheOptions::default() };
    let cached = cached(odd.clone(), options);
    cached.cache.filled().await;
    let a = cached.create("a").await;
    assert_eq!(cached.names().await, ["a"]);
    let mut watch = cached.watch(version(&a)).await;
    odd.swallow.store(true, Ordering::SeqCst);
    cached.create("lost").await;
    until("the swallowed event", || !odd.swallow.load(Ordering::SeqCst)).await;
    until("the comparison", || cached.cache.stats().inconsistencies > 0).await;
    // A watcher may have missed something: it is ended, not lied to.
    assert_eq!(next(&mut watch).await, "END");
    until("another filling", || cached.cache.stats().fills > 1).await;
    cached.cache.filled().await;
    assert_eq!(cached.names().await, ["a", "lost"]);
}

#[tokio::test]
async fn consistent_reads_share_their_questions() {
    let odd = Odd::new(connect(&env("TEST_ETCD_ENDPOINT")).await);
    let cached = cached(odd.clone(), CacheOptions::default());
    cached.cache.filled().await;
    cached.create("a").await;
    odd.gets.store(0, Ordering::SeqCst);
    let reads = join_all((0..200).map(|_| cached.names())).await;
    assert!(reads.iter().all(|names| names == &["a"]));
    let gets = odd.gets.load(Ordering::SeqCst);
    assert!((1..=20).contains(&gets), "{gets} questions for 200 reads at once");
}

#[tokio::test]
async fn an_event_is_encoded_once_for_all() {
    let cached = cached(connect(&env("TEST_ETCD_ENDPOINT")).await, CacheOptions::default());
    cached.cache.filled().await;
    let a = cached.create("a").await;
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(cached.watch(version(&a)).await);
    }
    // Every one of them has its place before the event comes.
    for watch in &mut watches {
        assert!(watch.next().now_or_never().is_none());
    }
    assert_eq!(cached.cache.stats().watchers, 100);
    cached.create("b").await;
    let encoded = AtomicUsize::new(0);
    let mut texts = Vec::new();
    for watch in &mut watches {
        let Some(WatchEvent::Change(EventKind::Added, shared)) = watch.next().await else {
            panic!("no event");
        };
        let form = shared.form(7, |object| {
            encoded.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from(object.name().to_owned()))
        });
        assert_eq!(form.unwrap(), "b");
        texts.push(shared.item().frame(EventKind::Added).unwrap());
    }
    assert_eq!(encoded.load(Ordering::SeqCst), 1);
    // The plain frames are one and the same memory.
    assert!(texts.iter().all(|text| text.as_ptr() == texts[0].as_ptr()));
    drop(watches);
    assert_eq!(cached.cache.stats().watchers, 0);
}

#[tokio::test]
async fn it_tells_what_it_takes() {
    let cached = cached(connect(&env("TEST_ETCD_ENDPOINT")).await, CacheOptions::default());
    cached.cache.filled().await;
    for n in 0..100 {
        cached.create(&format!("{n:03}")).await;
    }
    cached.names().await;
    let stats = cached.cache.stats();
    assert_eq!((stats.objects, stats.events, stats.history_events), (100, 100, 100));
    let each = stats.object_bytes / stats.objects;
    assert!((150..1000).contains(&each), "{each} bytes an object");
}
