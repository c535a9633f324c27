//! Cases of writes.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Change, ObjectFixture, Updated, key, listing, stored, thing, version};
use crate::meta::Object;
use crate::status::{ApiError, Reason};

pub async fn create_stamps_the_version(f: &ObjectFixture) {
    let before = f.revision().await;
    let a = f.create("a").await;
    let raw = f.kv.get(&f.path("a"), None).await.unwrap().kv.unwrap();
    assert_eq!((version(&a), a.kind(), a.api_version()), (raw.mod_revision, "Thing", "g.io/v1"));
    assert!(version(&a) > before);
    assert!(!String::from_utf8_lossy(&raw.value).contains("resourceVersion"));
}

pub async fn create_of_what_exists_is_a_409(f: &ObjectFixture) {
    let a = f.create("a").await;
    let error = f.objects.create(&key("a"), &a, false).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (409, &Reason::AlreadyExists));
    assert_eq!(error.message(), "things.g.io \"a\" already exists");
}

pub async fn create_in_a_dry_run_stores_nothing(f: &ObjectFixture) {
    let a = thing("ns", "a", json!({}));
    assert_eq!(f.objects.create(&key("a"), &a, true).await.unwrap().resource_version(), None);
    assert!(f.names(&listing()).await.is_empty());
    f.create("a").await;
    assert_eq!(f.objects.create(&key("a"), &a, true).await.unwrap_err().code(), 409);
}

pub async fn create_after_delete_is_a_new_object(f: &ObjectFixture) {
    let first = f.create("a").await;
    let gone = f.delete("a").await;
    let second = f.create("a").await;
    assert!(version(&first) < version(&gone) && version(&gone) < version(&second));
}

pub async fn create_keeps_to_its_namespace(f: &ObjectFixture) {
    f.create_with("ns", "a", json!({})).await;
    f.create_with("other", "a", json!({})).await;
    assert_eq!(f.names(&listing()).await, ["a"]);
}

pub async fn update_makes_a_newer_version(f: &ObjectFixture) {
    let a = f.create("a").await;
    let b = f.paint("a", "red").await;
    assert!(version(&b) > version(&a));
    assert_eq!(b.at("spec.color"), Some(&Value::from("red")));
}

pub async fn update_of_what_is_not_there_is_a_404(f: &ObjectFixture) {
    let change = |_: &Object| -> Result<Change, ApiError> { panic!("there is nothing to change") };
    let error = f.objects.guaranteed_update(&key("a"), false, change).await.unwrap_err();
    assert!(error.is_not_found());
    // Nor what a cache may still have.
    f.create("b").await;
    f.names(&listing()).await;
    f.kv.txn(Vec::new(), vec![super::Write::Delete { key: f.path("b") }]).await.unwrap();
    let change = |old: &Object| Ok(Change::Put(old.clone()));
    let error = f.objects.guaranteed_update(&key("b"), false, change).await.unwrap_err();
    assert!(error.is_not_found());
}

pub async fn update_that_changes_nothing_writes_nothing(f: &ObjectFixture) {
    let a = f.paint(f.create("a").await.name(), "red").await;
    assert_eq!(f.paint("a", "red").await, a);
    let keep = |_: &Object| Ok(Change::Keep);
    assert_eq!(stored(f.objects.guaranteed_update(&key("a"), false, keep).await.unwrap()), a);
    assert_eq!(f.objects.get(&key("a"), "").await.unwrap().revision(), version(&a));
}

/// Somebody else has written since the cache heard of it, if there is one; else two at once.
pub async fn update_begins_again_after_a_lost_race(f: &ObjectFixture) {
    f.create("a").await;
    f.names(&listing()).await;
    let attempts = AtomicU32::new(0);
    let change = |old: &Object| {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        Ok(Change::Put(painted(old, &attempt.to_string())))
    };
    let a = key("a");
    let racers = (0..8).map(|_| f.objects.guaranteed_update(&a, false, change));
    let mut versions: Vec<i64> =
        join_all(racers).await.into_iter().map(|done| version(&stored(done.unwrap()))).collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 8, "each has a revision of its own");
    assert!(attempts.load(Ordering::Relaxed) >= 8);
}

pub async fn update_with_a_stale_suggestion_reads_again(f: &ObjectFixture) {
    f.create("a").await;
    f.names(&listing()).await;
    for n in 0..20 {
        let other = thing("ns", "a", json!({"spec": {"color": format!("{n}")}}));
        f.put_raw("a", &serde_json::to_string(&other).unwrap()).await;
        let seen = std::sync::Mutex::new(String::new());
        let change = |old: &Object| {
            let color = old.at("spec.color").and_then(Value::as_str).unwrap_or_default();
            *seen.lock().unwrap() = color.to_owned();
            Ok(Change::Put(painted(old, "after")))
        };
        stored(f.objects.guaranteed_update(&key("a"), false, change).await.unwrap());
        assert_eq!(*seen.lock().unwrap(), format!("{n}"), "the last attempt saw what was stored");
    }
}

pub async fn update_passes_on_what_the_change_says(f: &ObjectFixture) {
    let a = f.create("a").await;
    let change = |_: &Object| Err(ApiError::bad_request("no"));
    let error = f.objects.guaranteed_update(&key("a"), false, change).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (400, "no"));
    assert_eq!(f.objects.get(&key("a"), "").await.unwrap().revision(), version(&a));
}

/// An error that only an old copy deserves must not be told.
pub async fn update_is_judged_on_the_newest_object(f: &ObjectFixture) {
    f.create("a").await;
    f.names(&listing()).await;
    let newest = thing("ns", "a", json!({"spec": {"color": "ready"}}));
    f.put_raw("a", &serde_json::to_string(&newest).unwrap()).await;
    let change = |old: &Object| match old.at("spec.color").and_then(Value::as_str) {
        Some("ready") => Ok(Change::Put(painted(old, "done"))),
        _ => Err(ApiError::bad_request("it is not ready")),
    };
    stored(f.objects.guaranteed_update(&key("a"), false, change).await.unwrap());
}

pub async fn update_in_a_dry_run_stores_nothing(f: &ObjectFixture) {
    let a = f.create("a").await;
    let change = |old: &Object| Ok(Change::Put(painted(old, "red")));
    let tried = stored(f.objects.guaranteed_update(&key("a"), true, change).await.unwrap());
    assert_eq!(tried.at("spec.color"), Some(&Value::from("red")));
    assert_eq!(*f.objects.get(&key("a"), "").await.unwrap().object().unwrap(), a);
}

pub async fn updates_at_once_lose_nothing(f: &ObjectFixture) {
    f.create("a").await;
    let change = |old: &Object| {
        let mut new = old.clone();
        let count = old.at("spec.count").and_then(Value::as_i64).unwrap_or_default();
        new.0.insert("spec".into(), json!({ "count": count + 1 }));
        Ok(Change::Put(new))
    };
    let writers = (0..10).map(|_| async {
        for _ in 0..5 {
            f.objects.guaranteed_update(&key("a"), false, change).await.unwrap();
        }
    });
    join_all(writers).await;
    let read = f.objects.get(&key("a"), "").await.unwrap().object().unwrap();
    assert_eq!(read.at("spec.count"), Some(&Value::from(50)));
}

pub async fn delete_answers_with_the_last_content(f: &ObjectFixture) {
    f.create("a").await;
    let last = f.paint("a", "red").await;
    let gone = f.delete("a").await;
    assert_eq!(gone.at("spec.color"), last.at("spec.color"));
    assert!(version(&gone) > version(&last));
    assert!(f.names(&listing()).await.is_empty());
}

pub async fn delete_of_what_is_not_there_is_a_404(f: &ObjectFixture) {
    let change = |old: &Object| Ok(Change::Delete(old.clone()));
    let error = f.objects.guaranteed_update(&key("a"), false, change).await.unwrap_err();
    assert!(error.is_not_found());
}

pub async fn delete_begins_again_after_a_lost_race(f: &ObjectFixture) {
    f.create("a").await;
    f.names(&listing()).await;
    let newest = thing("ns", "a", json!({"spec": {"color": "newest"}}));
    f.put_raw("a", &serde_json::to_string(&newest).unwrap()).await;
    let change = |old: &Object| Ok(Change::Delete(old.clone()));
    match f.objects.guaranteed_update(&key("a"), false, change).await.unwrap() {
        Updated::Deleted(gone) => assert_eq!(gone.at("spec.color"), Some(&Value::from("newest"))),
        Updated::Stored(object) => panic!("{object:?}"),
    }
}

pub async fn delete_of_the_unreadable_needs_to_be_asked_for(f: &ObjectFixture) {
    f.create("sound").await;
    f.put_raw("broken", "nonsense").await;
    let change = |old: &Object| Ok(Change::Delete(old.clone()));
    let error = f.objects.guaranteed_update(&key("broken"), false, change).await.unwrap_err();
    assert_eq!(error.code(), 500);
    let store = f.objects.store();
    assert_eq!(store.delete_unreadable(&key("sound"), false).await.unwrap_err().code(), 409);
    assert_eq!(store.delete_unreadable(&key("nobody"), false).await.unwrap_err().code(), 404);
    store.delete_unreadable(&key("broken"), true).await.unwrap();
    assert_eq!(f.list(&listing()).await.unwrap_err().code(), 500);
    store.delete_unreadable(&key("broken"), false).await.unwrap();
    assert_eq!(f.names(&listing()).await, ["sound"]);
}

fn painted(old: &Object, color: &str) -> Object {
    let mut new = old.clone();
    new.0.insert("spec".into(), json!({ "color": color }));
    new
}
