//! Cases of lists in pages.

use serde_json::json;

use super::super::super::{ContinueToken, Write};
use super::counting::Reads;
use super::{ListOptions, ObjectFixture, Scope, labelled, listing, names, page, thing, version};
use crate::status::Reason;

async fn five(f: &ObjectFixture) -> i64 {
    let mut last = 0;
    for name in ["a", "b", "c", "d", "e"] {
        last = version(&f.create(name).await);
    }
    last
}

pub async fn pages_are_one_list(f: &ObjectFixture) {
    five(f).await;
    for limit in 1..6 {
        let (mut all, mut token, mut revision) = (Vec::new(), String::new(), None);
        loop {
            let list = f.list(&page(limit, &token)).await.unwrap();
            assert!(list.items.len() <= limit);
            assert_eq!(*revision.get_or_insert(list.resource_version), list.resource_version);
            all.extend(names(&list));
            token = list.continue_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(all, ["a", "b", "c", "d", "e"], "by {limit}");
    }
}

pub async fn pages_do_not_see_later_writes(f: &ObjectFixture) {
    five(f).await;
    let first = f.list(&page(2, "")).await.unwrap();
    f.delete("c").await;
    f.create("cc").await;
    let d = f.paint("d", "later").await;
    let rest = f.list(&page(0, &first.continue_token)).await.unwrap();
    assert_eq!(names(&rest), ["c", "d", "e"]);
    assert!(rest.items[1].revision() < version(&d));
    assert_eq!(rest.resource_version, first.resource_version);
}

pub async fn pages_count_what_remains(f: &ObjectFixture) {
    five(f).await;
    f.create_with("nt", "a", json!({})).await;
    let first = f.list(&page(2, "")).await.unwrap();
    assert_eq!(first.remaining_item_count, Some(3));
    let second = f.list(&page(2, &first.continue_token)).await.unwrap();
    assert_eq!(second.remaining_item_count, Some(1));
    let third = f.list(&page(2, &second.continue_token)).await.unwrap();
    assert_eq!((third.remaining_item_count, third.continue_token.as_str()), (None, ""));
}

pub async fn pages_with_a_selector_do_not_count(f: &ObjectFixture) {
    for name in ["a", "b", "c"] {
        f.create_with("ns", name, json!({"labels": {"x": "1"}})).await;
    }
    let first = f.list(&ListOptions { limit: 2, ..labelled("x=1") }).await.unwrap();
    assert_eq!((names(&first).len(), first.remaining_item_count), (2, None));
    let next = ListOptions { continue_token: first.continue_token, ..labelled("x=1") };
    assert_eq!(f.names(&next).await, ["c"]);
}

pub async fn pages_with_rare_objects_are_full(f: &ObjectFixture) {
    for n in 0..60 {
        let labels = if n % 29 == 0 { json!({"rare": "1"}) } else { json!({}) };
        f.create_with("ns", &format!("{n:02}"), json!({ "labels": labels })).await;
    }
    let first = f.list(&ListOptions { limit: 2, ..labelled("rare") }).await.unwrap();
    assert_eq!(names(&first), ["00", "29"]);
    let next = ListOptions { limit: 2, continue_token: first.continue_token, ..labelled("rare") };
    let second = f.list(&next).await.unwrap();
    assert_eq!((names(&second), second.continue_token.as_str()), (vec!["58".to_owned()], ""));
}

/// Objects `000` and up, of which only each `every`th has the label `rare`, counted from the end.
async fn crowd(f: &ObjectFixture, count: usize, every: usize) {
    for first in (0..count).step_by(WRITES_MAX) {
        let writes = (first..count.min(first + WRITES_MAX)).map(|number| {
            let is_rare = (count - number) % every == 1;
            let labels = if is_rare { json!({"rare": "1"}) } else { json!({}) };
            let name = format!("{number:03}");
            let value = thing("ns", &name, json!({ "labels": labels })).into_value().to_string();
            Write::Put { key: f.path(&name), value: value.into() }
        });
        f.kv.txn(Vec::new(), writes.collect()).await.unwrap();
    }
}

/// Reads until `keys` have been looked at, when the first fetches `limit` and each one more than
/// the one before.
fn doublings(limit: usize, keys: usize) -> usize {
    (1..).find(|reads| limit * ((1 << reads) - 1) >= keys).unwrap()
}

/// What a page may cost that had to look at so many keys.
fn check_cost(f: &ObjectFixture, reads: &Reads, limit: usize, keys: usize) {
    if f.cached {
        assert_eq!((reads.lists, reads.keys), (0, 0), "{reads:?}");
        // The store's revision, if it must be the newest.
        assert!(reads.gets <= 1, "{reads:?}");
    } else {
        assert_eq!((reads.lists, reads.gets), (doublings(limit, keys), 0), "{reads:?}");
        assert!(reads.keys <= 2 * keys + limit, "{reads:?}");
    }
}

/// `[apiserver] pkg/storage/testing` RunTestListPaginationRareObject.
pub async fn a_rare_object_is_found_in_few_reads(f: &ObjectFixture) {
    let (f, kv) = f.counted().await;
    crowd(&f, 600, 600).await;
    kv.take();
    let list = f.list(&ListOptions { limit: 1, ..labelled("rare") }).await.unwrap();
    assert_eq!((names(&list), list.continue_token.as_str()), (vec!["599".to_owned()], ""));
    check_cost(&f, &kv.take(), 1, 600);
}

/// `[apiserver] pkg/storage/testing` RunTestListContinuationWithFilter.
pub async fn pages_of_rare_objects_are_few_reads_each(f: &ObjectFixture) {
    let (f, kv) = f.counted().await;
    crowd(&f, 400, 50).await;
    kv.take();
    let (mut found, mut token) = (Vec::new(), String::new());
    for page in 1..=4 {
        let options = ListOptions { limit: 2, continue_token: token, ..labelled("rare") };
        let list = f.list(&options).await.unwrap();
        found.extend(names(&list));
        check_cost(&f, &kv.take(), 2, 100);
        token = list.continue_token;
        assert_eq!(token.is_empty(), page == 4);
    }
    assert_eq!(found, ["049", "099", "149", "199", "249", "299", "349", "399"]);
}

pub async fn the_last_page_has_no_token(f: &ObjectFixture) {
    five(f).await;
    assert!(f.list(&page(6, "")).await.unwrap().continue_token.is_empty());
}

pub async fn a_page_as_large_as_the_rest_is_the_last(f: &ObjectFixture) {
    five(f).await;
    // Of the next namespace, which is not the rest.
    f.create_with("nt", "a", json!({})).await;
    assert!(f.list(&page(5, "")).await.unwrap().continue_token.is_empty());
}

pub async fn a_forged_token_is_a_400(f: &ObjectFixture) {
    five(f).await;
    let outside = ["../other/a", "a/../../b", "/../x", "//x", "."];
    let forged = outside.map(|start| ContinueToken { start: start.into(), revision: 5 }.encode());
    for token in ["%", "e30", "x", ""].map(str::to_owned).iter().chain(&forged) {
        if token.is_empty() {
            continue;
        }
        let error = f.list(&page(1, token)).await.unwrap_err();
        assert_eq!((error.code(), error.reason()), (400, &Reason::BadRequest), "{token}");
    }
}

/// A token that was given for another namespace, or for all of them.
pub async fn a_token_of_another_place_stays_inside(f: &ObjectFixture) {
    five(f).await;
    for name in ["a", "b", "z"] {
        f.create_with("other", name, json!({})).await;
    }
    let other = Scope::Namespace("other".into());
    let theirs = f.objects.list(&other, &page(1, "")).await.unwrap().continue_token;
    let everything = f.objects.list(&Scope::All, &page(6, "")).await.unwrap().continue_token;
    for token in [theirs, everything] {
        let list = f.list(&page(0, &token)).await.unwrap();
        assert!(list.items.iter().all(|item| item.path().starts_with("ns/")), "{list:?}");
    }
}

pub async fn a_token_with_a_version_is_a_400(f: &ObjectFixture) {
    five(f).await;
    let token = f.list(&page(1, "")).await.unwrap().continue_token;
    let options = ListOptions { resource_version: "5".into(), ..page(1, &token) };
    let error = f.list(&options).await.unwrap_err();
    assert_eq!(error.code(), 400);
    assert_eq!(error.message(), "specifying resource version is not allowed when using continue");
}

/// The inconsistent continuation that a compacted page offers.
pub async fn a_token_for_now_goes_on_with_what_is_there(f: &ObjectFixture) {
    five(f).await;
    f.delete("d").await;
    let token = ContinueToken { start: "b\0".into(), revision: -1 }.encode();
    let list = f.list(&page(0, &token)).await.unwrap();
    assert_eq!(names(&list), ["c", "e"]);
    assert!(list.resource_version > 0);
}

async fn compact(f: &ObjectFixture) {
    f.paint("a", "later").await;
    f.names(&listing()).await;
    f.kv.compact(f.revision().await).await.unwrap();
}

pub async fn a_compacted_list_is_a_410(f: &ObjectFixture) {
    let revision = five(f).await;
    compact(f).await;
    let listed = f.list(&super::at(revision)).await;
    if f.cached {
        // It remembers longer than the store.
        assert_eq!(names(&listed.unwrap()).len(), 5);
    }
    let error = f.objects.store().list(&super::ns(), &super::at(revision)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (410, &Reason::Expired));
    assert_eq!(error.message(), "The resourceVersion for the provided list is too old.");
    // What neither remembers.
    assert_eq!(f.list(&super::at(1)).await.unwrap_err().code(), 410);
}

pub async fn a_compacted_page_offers_to_go_on(f: &ObjectFixture) {
    five(f).await;
    let first = ContinueToken { start: "b\0".into(), revision: 1 }.encode();
    compact(f).await;
    let error = f.list(&page(2, &first)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (410, &Reason::Expired));
    assert!(error.message().starts_with("The provided continue parameter is too old"), "{error}");
    let status = error.to_status();
    let token = status["metadata"]["continue"].as_str().unwrap();
    assert_eq!(ContinueToken::decode(token).unwrap().revision, -1);
    assert_eq!(f.names(&page(0, token)).await, ["c", "d", "e"]);
}

/// In one transaction; every store takes so many.
const WRITES_MAX: usize = 100;
