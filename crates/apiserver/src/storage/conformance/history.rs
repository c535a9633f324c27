//! Cases of compaction. The store is the case's alone.

use futures::StreamExt as _;

use super::super::{KvError, Page, Revision};
use super::{Fixture, events};

/// Each transaction that changes something adds one; nothing else does.
pub async fn revisions_have_no_holes(f: &Fixture) {
    let first = f.put("a", "1").await;
    assert_eq!(f.delete("none").await, first);
    assert_eq!(f.put("a", "2").await, first + 1);
    assert_eq!(f.delete("a").await, first + 2);
    assert_eq!(f.revision().await, first + 2);
}

/// Writes `a` three times; the revisions.
async fn three(f: &Fixture) -> [Revision; 3] {
    [f.put("a", "1").await, f.put("a", "2").await, f.put("a", "3").await]
}

pub async fn compaction_refuses_older_gets(f: &Fixture) {
    let [first, second, _] = three(f).await;
    f.kv.compact(second).await.unwrap();
    let error = f.kv.get(&f.key("a"), Some(first)).await.unwrap_err();
    assert!(matches!(error, KvError::Compacted { asked, .. } if asked == first), "{error}");
}

pub async fn compaction_refuses_older_lists(f: &Fixture) {
    let [first, second, _] = three(f).await;
    f.kv.compact(second).await.unwrap();
    let page = Page { at: Some(first), ..Page::default() };
    let error = f.kv.list(&f.all(), page).await.unwrap_err();
    assert!(matches!(error, KvError::Compacted { asked, .. } if asked == first), "{error}");
}

/// At once or as the watch's first answer, and with the oldest revision that is left.
pub async fn compaction_refuses_older_watches(f: &Fixture) {
    let [first, second, _] = three(f).await;
    f.kv.compact(second).await.unwrap();
    let error = match f.kv.watch(&f.all(), first).await {
        Err(error) => error,
        Ok(mut watch) => watch.next().await.unwrap().unwrap_err(),
    };
    assert!(
        matches!(error, KvError::Compacted { compacted, .. } if compacted == second),
        "{error}"
    );
}

pub async fn compaction_keeps_its_own_revision_readable(f: &Fixture) {
    f.put("b", "1").await;
    let [_, second, _] = three(f).await;
    f.delete("b").await;
    f.kv.compact(second).await.unwrap();
    assert_eq!(f.value_at("a", Some(second)).await.as_deref(), Some("2"));
    assert_eq!(f.value_at("b", Some(second)).await.as_deref(), Some("1"));
    let page = Page { at: Some(second), ..Page::default() };
    assert_eq!(f.kv.list(&f.all(), page).await.unwrap().count, 2);
}

pub async fn compaction_keeps_the_current_state(f: &Fixture) {
    let b = f.put("b", "old").await;
    let [_, _, third] = three(f).await;
    f.kv.compact(third).await.unwrap();
    assert_eq!(f.value("a").await.as_deref(), Some("3"));
    let kv = f.kv.get(&f.key("b"), None).await.unwrap().kv.unwrap();
    assert_eq!((kv.value.as_ref(), kv.mod_revision), (&b"old"[..], b));
    assert_eq!(f.revision().await, third);
}

pub async fn compaction_keeps_later_history(f: &Fixture) {
    let [_, second, third] = three(f).await;
    let fourth = f.put("a", "4").await;
    f.kv.compact(second).await.unwrap();
    assert_eq!(f.value_at("a", Some(third)).await.as_deref(), Some("3"));
    assert_eq!(f.value_at("a", Some(fourth)).await.as_deref(), Some("4"));
}

pub async fn compaction_twice_is_refused(f: &Fixture) {
    let [first, second, third] = three(f).await;
    f.kv.compact(second).await.unwrap();
    for revision in [first, second] {
        let error = f.kv.compact(revision).await.unwrap_err();
        assert!(matches!(error, KvError::Compacted { asked, .. } if asked == revision), "{error}");
    }
    f.kv.compact(third).await.unwrap();
}

pub async fn compaction_of_the_future_is_refused(f: &Fixture) {
    let [_, _, third] = three(f).await;
    let error = f.kv.compact(third + 1).await.unwrap_err();
    let expected = third + 1;
    assert!(matches!(error, KvError::Future { asked, .. } if asked == expected), "{error}");
    assert_eq!(f.value_at("a", Some(third)).await.as_deref(), Some("3"));
}

pub async fn compaction_forgets_deleted_keys(f: &Fixture) {
    f.put("gone", "1").await;
    f.delete("gone").await;
    let last = f.put("a", "1").await;
    f.kv.compact(last).await.unwrap();
    assert_eq!(f.value_at("gone", Some(last)).await, None);
    let listed = f.kv.list(&f.all(), Page { at: Some(last), ..Page::default() }).await.unwrap();
    assert_eq!(listed.count, 1);
    f.put("gone", "2").await;
    assert_eq!(f.value("gone").await.as_deref(), Some("2"));
}

pub async fn compaction_leaves_open_watches_alone(f: &Fixture) {
    let from = f.revision().await + 1;
    let mut watch = f.watch(from).await;
    let [_, _, third] = three(f).await;
    assert_eq!(events(&mut watch, 3).await.len(), 3);
    f.kv.compact(third).await.unwrap();
    f.put("a", "4").await;
    assert_eq!(f.short(&events(&mut watch, 1).await), ["a=4<3"]);
}

/// The value at the compacted revision is still there to be told as the previous one.
pub async fn watch_after_compaction_has_previous_values(f: &Fixture) {
    f.put("b", "1").await;
    let [_, second, third] = three(f).await;
    f.delete("b").await;
    f.kv.compact(second).await.unwrap();
    let mut watch = f.watch(third).await;
    assert_eq!(f.short(&events(&mut watch, 2).await), ["a=3<2", "-b<1"]);
}
