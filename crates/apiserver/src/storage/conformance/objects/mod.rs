//! What the objects of a kind must do over every store, with and without a watch cache, as named
//! cases. [`object_conformance!`](crate::object_conformance) makes a test of each, for one subject.
//!
//! The meaning is that of `[apiserver] pkg/storage/testing`. Where a cache may answer otherwise
//! than a store (it remembers what the store has compacted, and serves "any" in full), the case
//! knows both.

mod counting;
pub mod lists;
pub mod pages;
pub mod reads;
pub mod watches;
pub mod writes;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};

use self::counting::CountingKv;
use super::super::{
    CacheOptions, Cacher, Change, Kv, ObjectList, Objects, ResourceStore, Updated, WatchEvent,
    WatchStream, Write,
};
use crate::meta::{GroupResource, Gvk, Object, ObjectKey, Scope};
use crate::request::{ListOptions, ResourceVersionMatch, WatchOptions};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::ApiError;
use crate::tasks::Tasks;

/// A kind with an empty key space of its own.
#[derive(Debug)]
pub struct ObjectFixture {
    pub kv: Arc<dyn Kv>,
    pub objects: Objects,
    prefix: String,
    /// Whether lists and watches come from a cache.
    cached: bool,
    tasks: Tasks,
}

impl Drop for ObjectFixture {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

impl ObjectFixture {
    pub fn direct(kv: Arc<dyn Kv>) -> Self {
        let prefix = format!("/conformance/{}", crate::clock::new_uid());
        let objects = Objects::direct(store(kv.clone(), &prefix));
        Self { kv, objects, prefix, cached: false, tasks: Tasks::new() }
    }

    pub async fn cached(kv: Arc<dyn Kv>) -> Self {
        Self::cached_with(kv, CacheOptions::default()).await
    }

    pub async fn cached_with(kv: Arc<dyn Kv>, options: CacheOptions) -> Self {
        let prefix = format!("/conformance/{}", crate::clock::new_uid());
        let tasks = Tasks::new();
        // What is before the cache's time is known to the store alone.
        for value in ["1", "2"] {
            let write = Write::Put { key: format!("{prefix}/else"), value: value.into() };
            kv.txn(Vec::new(), vec![write]).await.unwrap();
        }
        let store = store(kv.clone(), &prefix);
        let cache = Cacher::start(store.clone(), options, &tasks);
        cache.filled().await;
        let objects = Objects::cached(store, cache);
        Self { kv, objects, prefix, cached: true, tasks }
    }

    /// Where an object is kept.
    fn path(&self, name: &str) -> String {
        format!("{}/g.io/things/ns/{name}", self.prefix)
    }

    /// A write past everything.
    async fn put_raw(&self, name: &str, value: &str) {
        let write = Write::Put { key: self.path(name), value: value.to_owned().into() };
        self.kv.txn(Vec::new(), vec![write]).await.unwrap();
    }

    /// The same, empty, with every read of the store counted.
    async fn counted(&self) -> (Self, Arc<CountingKv>) {
        let kv = Arc::new(CountingKv::new(self.kv.clone()));
        let counted =
            if self.cached { Self::cached(kv.clone()).await } else { Self::direct(kv.clone()) };
        kv.take();
        (counted, kv)
    }

    async fn create(&self, name: &str) -> Object {
        self.create_with("ns", name, json!({})).await
    }

    async fn create_with(&self, namespace: &str, name: &str, fields: Value) -> Object {
        let object = thing(namespace, name, fields);
        self.objects.create(&object.key(), &object, false).await.unwrap()
    }

    /// Sets `spec.color`.
    async fn paint(&self, name: &str, color: &str) -> Object {
        let change = |old: &Object| {
            let mut new = old.clone();
            new.0.insert("spec".into(), json!({ "color": color }));
            Ok(Change::Put(new))
        };
        stored(self.objects.guaranteed_update(&key(name), false, change).await.unwrap())
    }

    async fn label(&self, name: &str, labels: Value) -> Object {
        let change = |old: &Object| {
            let mut new = old.clone();
            new.set_meta("labels", labels.clone());
            Ok(Change::Put(new))
        };
        stored(self.objects.guaranteed_update(&key(name), false, change).await.unwrap())
    }

    async fn delete(&self, name: &str) -> Object {
        let change = |old: &Object| Ok(Change::Delete(old.clone()));
        match self.objects.guaranteed_update(&key(name), false, change).await.unwrap() {
            Updated::Deleted(object) => object,
            Updated::Stored(_) => panic!("{name} is still there"),
        }
    }

    async fn list(&self, options: &ListOptions) -> Result<ObjectList, ApiError> {
        self.objects.list(&ns(), options).await
    }

    async fn names(&self, options: &ListOptions) -> Vec<String> {
        names(&self.list(options).await.unwrap())
    }

    async fn watch(&self, options: &WatchOptions) -> WatchStream {
        self.objects.watch(&ns(), options).await.unwrap()
    }

    /// The store's revision right now.
    async fn revision(&self) -> i64 {
        self.kv.count(&self.prefix).await.unwrap().1
    }

    /// Changes the store's revision, but nothing of the kind.
    async fn bump(&self) -> i64 {
        let write = Write::Put { key: format!("{}/else", self.prefix), value: "x".into() };
        self.kv.txn(Vec::new(), vec![write]).await.unwrap();
        self.revision().await
    }
}

fn store(kv: Arc<dyn Kv>, prefix: &str) -> ResourceStore {
    let resource = GroupResource { group: "g.io".into(), resource: "things".into() };
    let fields = &["spec.color", "spec.pool.name"];
    ResourceStore::new(kv, prefix, Gvk::new("g.io", "v1", "Thing"), resource, true, fields)
        .with_indexed_labels(&["x"])
}

fn thing(namespace: &str, name: &str, fields: Value) -> Object {
    let mut value = json!({"metadata": {"name": name, "namespace": namespace}});
    if let Some(labels) = fields.get("labels") {
        value["metadata"]["labels"] = labels.clone();
    }
    value["spec"] = fields.get("spec").cloned().unwrap_or_else(|| json!({}));
    let mut object = Object::from_value(value).unwrap();
    object.set_gvk(&Gvk::new("g.io", "v1", "Thing"));
    object
}

fn stored(updated: Updated) -> Object {
    match updated {
        Updated::Stored(object) => object,
        Updated::Deleted(_) => panic!("it is gone"),
    }
}

fn ns() -> Scope {
    Scope::Namespace("ns".into())
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("ns", name)
}

fn version(object: &Object) -> i64 {
    object.resource_version().unwrap().parse().unwrap()
}

fn names(list: &ObjectList) -> Vec<String> {
    list.items.iter().map(|item| item.path().to_string().replace("ns/", "")).collect()
}

fn listing() -> ListOptions {
    ListOptions::default()
}

fn labelled(selector: &str) -> ListOptions {
    ListOptions { label_selector: LabelSelector::parse(selector).unwrap(), ..listing() }
}

fn with_fields(selector: &str) -> ListOptions {
    ListOptions { field_selector: FieldSelector::parse(selector).unwrap(), ..listing() }
}

fn at(revision: i64) -> ListOptions {
    ListOptions {
        resource_version: revision.to_string(),
        resource_version_match: Some(ResourceVersionMatch::Exact),
        ..listing()
    }
}

fn not_older_than(revision: i64) -> ListOptions {
    ListOptions {
        resource_version: revision.to_string(),
        resource_version_match: Some(ResourceVersionMatch::NotOlderThan),
        ..listing()
    }
}

fn page(limit: usize, token: &str) -> ListOptions {
    ListOptions { limit, continue_token: token.to_owned(), ..listing() }
}

/// After `revision`, with bookmarks.
fn from(revision: i64) -> WatchOptions {
    WatchOptions {
        resource_version: revision.to_string(),
        allow_bookmarks: true,
        ..WatchOptions::default()
    }
}

/// The initial events, and the bookmark that ends them.
fn streaming(resource_version: &str) -> WatchOptions {
    WatchOptions {
        resource_version: resource_version.to_owned(),
        resource_version_match: Some(ResourceVersionMatch::NotOlderThan),
        send_initial_events: Some(true),
        allow_bookmarks: true,
        ..WatchOptions::default()
    }
}

/// The next event in short: `ADDED a@7`, `BOOKMARK @9 end`, `ERROR 410`, `END`.
async fn next(stream: &mut WatchStream) -> String {
    let event = tokio::time::timeout(super::PATIENCE, stream.next()).await.expect("in time");
    match event {
        None => "END".into(),
        Some(WatchEvent::Change(kind, shared)) => {
            let object = shared.item().object().unwrap();
            format!("{} {}@{}", kind.as_str(), object.name(), version(&object))
        }
        Some(WatchEvent::Bookmark { revision, initial_events_end: true }) => {
            format!("BOOKMARK @{revision} end")
        }
        Some(WatchEvent::Bookmark { revision, .. }) => format!("BOOKMARK @{revision}"),
        Some(WatchEvent::Error(error)) => format!("ERROR {}", error.code()),
    }
}

/// Nothing comes for a moment. Shows no more than that, as every proof of absence does.
async fn nothing(stream: &mut WatchStream) {
    let early = tokio::time::timeout(Duration::from_millis(150), stream.next()).await;
    assert!(early.is_err(), "{early:?}");
}

/// Makes a `#[tokio::test]` of every case, in modules named like the cases' own.
///
/// `shared` and `own` are paths of `async fn() -> (ObjectFixture, impl Sized)`; the second value is
/// kept until the case is over. `own` makes a store that the case may compact.
#[macro_export]
macro_rules! object_conformance {
    (shared = $shared:path, own = $own:path $(,)?) => {
        $crate::object_conformance!(@module reads, $shared,
            get_of_what_is_not_there_is_a_404, get_reads_its_own_write,
            get_of_any_version_finds_it_in_the_end, get_not_older_than_waits_or_finds,
            get_from_the_future_is_a_504, get_with_nonsense_is_a_422,
            get_reports_what_cannot_be_decoded, get_sees_the_version_of_the_write,
        );
        $crate::object_conformance!(@module writes, $shared,
            create_stamps_the_version, create_of_what_exists_is_a_409,
            create_in_a_dry_run_stores_nothing, create_after_delete_is_a_new_object,
            create_keeps_to_its_namespace, update_makes_a_newer_version,
            update_of_what_is_not_there_is_a_404, update_that_changes_nothing_writes_nothing,
            update_begins_again_after_a_lost_race, update_with_a_stale_suggestion_reads_again,
            update_passes_on_what_the_change_says, update_is_judged_on_the_newest_object,
            update_in_a_dry_run_stores_nothing, updates_at_once_lose_nothing,
            delete_answers_with_the_last_content, delete_of_what_is_not_there_is_a_404,
            delete_begins_again_after_a_lost_race, delete_of_the_unreadable_needs_to_be_asked_for,
        );
        $crate::object_conformance!(@module lists, $shared,
            list_of_nothing_has_a_version, list_is_in_the_order_of_keys,
            list_keeps_to_its_namespace, list_sees_every_acknowledged_write,
            list_sees_writes_although_others_write_too, list_not_older_than_is_not_older,
            list_from_the_future_is_a_504, list_exactly_at_a_revision_sees_the_past,
            list_exactly_sees_what_was_deleted_since, list_exactly_in_the_future_is_a_504,
            list_at_a_revision_with_a_limit_is_exact, list_of_any_version_is_complete,
            list_by_label, list_by_field, list_by_field_follows_changes,
            list_by_name_in_one_namespace, list_by_name_in_all_namespaces,
            list_with_nonsense_is_a_422, list_reports_what_cannot_be_decoded,
            list_of_another_namespace_is_served_beside_it,
        );
        $crate::object_conformance!(@module pages, $shared,
            pages_are_one_list, pages_do_not_see_later_writes, pages_count_what_remains,
            pages_with_a_selector_do_not_count, pages_with_rare_objects_are_full,
            a_rare_object_is_found_in_few_reads, pages_of_rare_objects_are_few_reads_each,
            the_last_page_has_no_token, a_page_as_large_as_the_rest_is_the_last,
            a_forged_token_is_a_400, a_token_of_another_place_stays_inside,
            a_token_with_a_version_is_a_400, a_token_for_now_goes_on_with_what_is_there,
        );
        $crate::object_conformance!(@module watches, $shared,
            watch_hears_of_life_and_death, watch_resumes_after_a_revision,
            watch_without_a_version_begins_with_the_state, watch_from_zero_begins_with_the_state,
            watch_without_initial_events_begins_now, watch_streams_the_state_and_says_so,
            watch_streams_an_empty_state, watch_streams_what_is_acknowledged,
            watch_streams_from_the_future_fail_as_an_event, watch_from_the_future_waits,
            watch_with_nonsense_is_a_422, watch_keeps_to_its_namespace, watch_by_name,
            watch_by_label_sees_arrivals_and_departures, watch_by_field_sees_arrivals,
            a_deletion_has_its_own_revision, a_departure_has_the_old_content,
            watch_ends_at_its_time_with_a_bookmark, watch_without_bookmarks_gets_none,
            watches_hear_the_same, watch_reports_what_cannot_be_decoded,
            watch_hears_all_of_a_transaction,
            watch_from_a_shared_revision_tells_all_of_it_again, watch_under_many_writers_misses_nothing,
        );
        $crate::object_conformance!(@module pages, $own,
            a_compacted_list_is_a_410, a_compacted_page_offers_to_go_on,
        );
        $crate::object_conformance!(@module watches, $own, watch_of_a_compacted_revision_expires,);
    };
    (@module $module:ident, $make:path, $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (fixture, _kept) = $make().await;
                $crate::storage::conformance::objects::$module::$case(&fixture).await;
            }
        )+
    };
}
