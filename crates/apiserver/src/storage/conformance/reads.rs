//! Cases of get, list, count and health.

use futures::future::join;

use super::super::{KeyValue, KvError, Page, Write};
use super::{Fixture, done};

pub async fn get_returns_value_and_revision(f: &Fixture) {
    let revision = f.put("a", "1").await;
    let got = f.kv.get(&f.key("a"), None).await.unwrap();
    let kv = got.kv.unwrap();
    assert_eq!((kv.key, kv.value.as_ref(), kv.mod_revision), (f.key("a"), &b"1"[..], revision));
    assert!(got.revision >= revision);
}

pub async fn get_of_a_missing_key_has_the_stores_revision(f: &Fixture) {
    let revision = f.put("a", "1").await;
    let got = f.kv.get(&f.key("b"), None).await.unwrap();
    assert_eq!(got.kv, None);
    assert!(got.revision >= revision);
}

/// Linearizable: a read that begins after a write was acknowledged sees it.
pub async fn get_reads_its_own_write(f: &Fixture) {
    for n in 0..50 {
        f.put("a", &n.to_string()).await;
        assert_eq!(f.value("a").await, Some(n.to_string()));
    }
}

pub async fn get_at_a_revision_sees_the_past(f: &Fixture) {
    let first = f.put("a", "1").await;
    let second = f.put("a", "2").await;
    f.put("a", "3").await;
    assert_eq!(f.value_at("a", Some(first)).await.as_deref(), Some("1"));
    assert_eq!(f.value_at("a", Some(second)).await.as_deref(), Some("2"));
    let got = f.kv.get(&f.key("a"), Some(first)).await.unwrap();
    assert_eq!(got.kv.unwrap().mod_revision, first);
    assert!(got.revision > second, "the answer's revision is the store's, not the read's");
}

pub async fn get_at_revision_zero_is_now(f: &Fixture) {
    f.put("a", "1").await;
    f.put("a", "2").await;
    assert_eq!(f.value_at("a", Some(0)).await.as_deref(), Some("2"));
}

pub async fn get_before_creation_and_after_deletion_finds_nothing(f: &Fixture) {
    let before = f.put("other", "1").await;
    let created = f.put("a", "1").await;
    let deleted = f.delete("a").await;
    assert_eq!(f.value_at("a", Some(before)).await, None);
    assert_eq!(f.value_at("a", Some(created)).await.as_deref(), Some("1"));
    assert_eq!(f.value_at("a", Some(deleted)).await, None);
}

pub async fn get_at_a_future_revision_is_refused(f: &Fixture) {
    let at = f.revision().await + 1_000_000;
    let error = f.kv.get(&f.key("a"), Some(at)).await.unwrap_err();
    assert!(
        matches!(error, KvError::Future { asked, current } if asked == at && current > 0),
        "{error}"
    );
}

pub async fn list_is_in_bytewise_order(f: &Fixture) {
    for name in ["b", "a/b", "a", "a-b", "é", "B"] {
        f.put(name, "1").await;
    }
    assert_eq!(names(f, Page::default()).await, ["B", "a", "a-b", "a/b", "b", "é"]);
}

pub async fn list_keeps_to_its_prefix(f: &Fixture) {
    for name in ["p", "p/a", "p/b", "p0", "o/a", "q/a"] {
        f.put(name, "1").await;
    }
    let listed = f.kv.list(&f.key("p/"), Page::default()).await.unwrap();
    let keys: Vec<_> = listed.items.into_iter().map(|kv| kv.key).collect();
    assert_eq!((keys, listed.count), (vec![f.key("p/a"), f.key("p/b")], 2));
}

pub async fn list_of_nothing_is_empty(f: &Fixture) {
    let revision = f.revision().await;
    let listed = f.kv.list(&f.key("none/"), Page::default()).await.unwrap();
    assert_eq!((listed.items.len(), listed.count), (0, 0));
    assert!(listed.revision >= revision && revision > 0);
}

pub async fn list_pages_with_limit_and_start(f: &Fixture) {
    for name in ["a", "b", "c", "d", "e"] {
        f.put(name, name).await;
    }
    let (mut seen, mut start, mut counts) = (Vec::new(), None, Vec::new());
    loop {
        let page = Page { start, limit: 2, ..Page::default() };
        let listed = f.kv.list(&f.all(), page).await.unwrap();
        assert!(listed.items.len() <= 2);
        counts.push(listed.count);
        let more = listed.count > listed.items.len() as u64;
        start = listed.items.last().map(|kv| format!("{}\0", kv.key));
        seen.extend(listed.items.into_iter().map(|kv| kv.key));
        if !more {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"].map(|name| f.key(name)));
    // Each counts from its own start.
    assert_eq!(counts, [5, 3, 1]);
}

pub async fn list_pages_at_one_revision_while_writes_go_on(f: &Fixture) {
    for name in ["a", "b", "c", "d"] {
        f.put(name, "old").await;
    }
    let first = f.kv.list(&f.all(), Page { limit: 2, ..Page::default() }).await.unwrap();
    f.put("bb", "new").await;
    f.put("c", "new").await;
    f.delete("d").await;
    let page = Page { start: Some(f.key("b\0")), at: Some(first.revision), ..Page::default() };
    let rest = f.kv.list(&f.all(), page).await.unwrap();
    let items: Vec<_> = rest.items.iter().map(|kv| (kv.key.as_str(), kv.value.as_ref())).collect();
    assert_eq!(items, [(f.key("c").as_str(), &b"old"[..]), (f.key("d").as_str(), &b"old"[..])]);
    assert_eq!((rest.revision, rest.count), (first.revision, 2));
}

pub async fn list_at_a_revision_sees_the_past(f: &Fixture) {
    f.put("a", "1").await;
    f.put("b", "1").await;
    let at = f.delete("a").await;
    f.put("a", "2").await;
    f.put("c", "1").await;
    assert_eq!(names(f, Page { at: Some(at), ..Page::default() }).await, ["b"]);
    assert_eq!(names(f, Page { at: Some(at - 1), ..Page::default() }).await, ["a", "b"]);
    assert_eq!(names(f, Page::default()).await, ["a", "b", "c"]);
}

pub async fn list_at_a_future_revision_is_refused(f: &Fixture) {
    let at = f.revision().await + 1_000_000;
    let error = f.kv.list(&f.all(), Page { at: Some(at), ..Page::default() }).await.unwrap_err();
    assert!(matches!(error, KvError::Future { asked, .. } if asked == at), "{error}");
}

pub async fn list_start_may_lie_between_keys(f: &Fixture) {
    for name in ["a", "c"] {
        f.put(name, "1").await;
    }
    let page = Page { start: Some(f.key("b")), ..Page::default() };
    assert_eq!(names(f, page).await, ["c"]);
    let page = Page { start: Some(f.key("c")), ..Page::default() };
    assert_eq!(names(f, page).await, ["c"], "the start belongs to the page");
}

pub async fn list_start_before_the_prefix_is_its_beginning(f: &Fixture) {
    f.put("a", "1").await;
    f.put("p/a", "1").await;
    for limit in [0, 5] {
        let page = Page { start: Some(f.key("a")), limit, ..Page::default() };
        let listed = f.kv.list(&f.key("p/"), page).await.unwrap();
        let keys: Vec<_> = listed.items.iter().map(|kv| kv.key.clone()).collect();
        assert_eq!(keys, [f.key("p/a")]);
    }
}

pub async fn list_start_at_the_end_is_empty(f: &Fixture) {
    f.put("a", "1").await;
    let page = Page { start: Some(f.key("b")), limit: 5, ..Page::default() };
    let listed = f.kv.list(&f.all(), page).await.unwrap();
    assert_eq!((listed.items.len(), listed.count), (0, 0));
}

pub async fn list_limit_larger_than_the_rest_returns_the_rest(f: &Fixture) {
    f.put("a", "1").await;
    f.put("b", "1").await;
    assert_eq!(names(f, Page { limit: 500, ..Page::default() }).await, ["a", "b"]);
}

pub async fn list_more_keys_than_one_call_gives(f: &Fixture) {
    for chunk in 0..12 {
        let writes: Vec<Write> =
            (0..100).map(|n| f.write(&format!("{:05}", chunk * 100 + n), "x")).collect();
        done(f.kv.txn(Vec::new(), writes).await.unwrap());
    }
    let listed = f.kv.list(&f.all(), Page::default()).await.unwrap();
    assert_eq!((listed.items.len(), listed.count), (1200, 1200));
    let listed = f.kv.list(&f.all(), Page { limit: 1100, ..Page::default() }).await.unwrap();
    assert_eq!((listed.items.len(), listed.count), (1100, 1200));
}

pub async fn count_follows_writes_and_deletes(f: &Fixture) {
    f.put("a", "1").await;
    f.put("b", "1").await;
    f.put("b", "2").await;
    assert_eq!(f.kv.count(&f.all()).await.unwrap().0, 2);
    let revision = f.delete("a").await;
    let (count, at) = f.kv.count(&f.all()).await.unwrap();
    assert_eq!(count, 1);
    assert!(at >= revision);
}

pub async fn is_healthy(f: &Fixture) {
    f.kv.health().await.unwrap();
}

async fn names(f: &Fixture, page: Page) -> Vec<String> {
    let listed = f.kv.list(&f.all(), page).await.unwrap();
    assert_eq!(listed.count, listed.items.len() as u64);
    let all = f.all();
    let name = |key: &String| key.strip_prefix(&all).expect("a key of the prefix").to_owned();
    listed.items.iter().map(|kv| name(&kv.key)).collect()
}

/// Keys, revisions and counts as with values.
pub async fn list_of_keys_only_has_no_values(f: &Fixture) {
    let first = f.put("a", "1").await;
    f.put("b", "1").await;
    f.put("a", "2").await;
    f.put("c", "").await;
    let pages = [
        Page::default(),
        Page { limit: 2, ..Page::default() },
        Page { start: Some(f.key("b")), ..Page::default() },
        Page { at: Some(first), ..Page::default() },
    ];
    for page in pages {
        let full = f.kv.list(&f.all(), page.clone()).await.unwrap();
        let keys = f.kv.list(&f.all(), Page { keys_only: true, ..page }).await.unwrap();
        assert!(keys.items.iter().all(|kv| kv.value.is_empty()), "{keys:?}");
        assert_eq!(keys.count, full.count);
        let of = |kv: &KeyValue| (kv.key.clone(), kv.mod_revision);
        let of_all = |items: &[KeyValue]| items.iter().map(of).collect::<Vec<_>>();
        assert_eq!(of_all(&keys.items), of_all(&full.items));
    }
    assert_eq!(f.value("a").await.as_deref(), Some("2"), "the values are still there");
}

/// Many large values come in more messages than one, and are of one revision all the same.
pub async fn list_of_large_values_is_of_one_revision(f: &Fixture) {
    let value = "x".repeat(400 * 1024);
    for n in 0..20 {
        f.put(&format!("{n:02}"), &value).await;
    }
    let write = async {
        for n in 0..20 {
            f.put(&format!("{n:02}"), "small").await;
        }
    };
    let all = f.all();
    let read = async {
        for _ in 0..5 {
            let listed = f.kv.list(&all, Page::default()).await.unwrap();
            assert_eq!((listed.items.len(), listed.count), (20, 20));
            // In the order of the writes: what is small was written before what is not.
            let small = listed.items.iter().filter(|kv| kv.value.len() == 5).count();
            assert!(listed.items[..small].iter().all(|kv| kv.value.len() == 5));
            let newest = listed.items.iter().map(|kv| kv.mod_revision).max().unwrap();
            assert!(newest <= listed.revision, "{newest} in a list of {}", listed.revision);
        }
    };
    join(write, read).await;
}
