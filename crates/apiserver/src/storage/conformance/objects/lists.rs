//! Cases of lists.

use serde_json::json;

use super::{
    ListOptions, ObjectFixture, Scope, at, labelled, listing, names, not_older_than, version,
    with_fields,
};
use crate::status::Reason;

pub async fn list_of_nothing_has_a_version(f: &ObjectFixture) {
    let now = f.revision().await;
    let list = f.list(&listing()).await.unwrap();
    assert!(list.items.is_empty() && list.resource_version >= now);
    assert_eq!((list.continue_token.as_str(), list.remaining_item_count), ("", None));
}

pub async fn list_is_in_the_order_of_keys(f: &ObjectFixture) {
    for name in ["b", "a-1", "a", "a.b", "c"] {
        f.create(name).await;
    }
    assert_eq!(f.names(&listing()).await, ["a", "a-1", "a.b", "b", "c"]);
}

pub async fn list_keeps_to_its_namespace(f: &ObjectFixture) {
    for namespace in ["n", "ns", "ns-2", "nsx"] {
        f.create_with(namespace, "a", json!({})).await;
    }
    assert_eq!(f.names(&listing()).await, ["a"]);
    let all = f.objects.list(&Scope::All, &listing()).await.unwrap();
    let paths: Vec<String> = all.items.iter().map(|item| item.path().to_string()).collect();
    assert_eq!(paths, ["n/a", "ns-2/a", "ns/a", "nsx/a"]);
}

pub async fn list_sees_every_acknowledged_write(f: &ObjectFixture) {
    for n in 0..30 {
        let name = format!("{n:02}");
        let object = f.create(&name).await;
        let list = f.list(&listing()).await.unwrap();
        assert_eq!(names(&list).last(), Some(&name));
        assert!(list.resource_version >= version(&object));
    }
}

pub async fn list_sees_writes_although_others_write_too(f: &ObjectFixture) {
    for n in 0..10 {
        f.create(&format!("{n}")).await;
        let now = f.bump().await;
        let list = f.list(&listing()).await.unwrap();
        assert_eq!(list.items.len(), n + 1);
        assert!(list.resource_version >= now, "{} after {now}", list.resource_version);
    }
}

pub async fn list_not_older_than_is_not_older(f: &ObjectFixture) {
    let a = f.create("a").await;
    let list = f.list(&not_older_than(version(&a))).await.unwrap();
    assert_eq!(names(&list), ["a"]);
    assert!(list.resource_version >= version(&a));
    // Without a match it means the same, as long as there is no limit.
    let plain = ListOptions { resource_version_match: None, ..not_older_than(version(&a)) };
    assert_eq!(f.names(&plain).await, ["a"]);
}

pub async fn list_from_the_future_is_a_504(f: &ObjectFixture) {
    let future = f.revision().await + 1_000_000;
    let error = f.list(&not_older_than(future)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (504, &Reason::Timeout));
    let details = error.details().unwrap();
    assert_eq!(details.causes[0].reason, "ResourceVersionTooLarge");
    assert_eq!(details.retry_after_seconds, Some(1));
}

pub async fn list_exactly_at_a_revision_sees_the_past(f: &ObjectFixture) {
    let a = f.create("a").await;
    let painted = f.paint("a", "red").await;
    f.create("b").await;
    for (revision, expected) in [(version(&a), &a), (version(&painted), &painted)] {
        let list = f.list(&at(revision)).await.unwrap();
        assert_eq!((names(&list), list.resource_version), (vec!["a".to_owned()], revision));
        assert_eq!(*list.items[0].object().unwrap(), *expected);
    }
    assert!(f.names(&at(version(&a) - 1)).await.is_empty());
}

pub async fn list_exactly_sees_what_was_deleted_since(f: &ObjectFixture) {
    f.create("a").await;
    let b = f.create("b").await;
    for n in 0..100 {
        // More than a snapshot's distance.
        f.paint("a", &n.to_string()).await;
    }
    f.delete("b").await;
    f.delete("a").await;
    assert_eq!(f.names(&at(version(&b))).await, ["a", "b"]);
    assert!(f.names(&listing()).await.is_empty());
}

pub async fn list_exactly_in_the_future_is_a_504(f: &ObjectFixture) {
    let future = f.revision().await + 1_000_000;
    let error = f.list(&at(future)).await.unwrap_err();
    assert_eq!(error.code(), 504, "{error}");
}

/// Older clients page from a revision that they know.
pub async fn list_at_a_revision_with_a_limit_is_exact(f: &ObjectFixture) {
    f.create("a").await;
    let b = f.create("b").await;
    f.create("c").await;
    let options = ListOptions {
        limit: 1,
        resource_version: version(&b).to_string(),
        ..ListOptions::default()
    };
    let list = f.list(&options).await.unwrap();
    assert_eq!((names(&list), list.resource_version), (vec!["a".to_owned()], version(&b)));
    assert_eq!(list.remaining_item_count, Some(1));
}

pub async fn list_of_any_version_is_complete(f: &ObjectFixture) {
    for name in ["a", "b", "c"] {
        f.create(name).await;
    }
    f.names(&listing()).await;
    let any = ListOptions { resource_version: "0".into(), ..listing() };
    assert_eq!(f.names(&any).await, ["a", "b", "c"]);
    // A cache ignores the limit then.
    let list = f.list(&ListOptions { limit: 2, ..any }).await.unwrap();
    assert_eq!(list.items.len(), if f.cached { 3 } else { 2 });
    assert_eq!(list.continue_token.is_empty(), f.cached);
}

pub async fn list_by_label(f: &ObjectFixture) {
    f.create_with("ns", "a", json!({"labels": {"app": "x", "tier": "1"}})).await;
    f.create_with("ns", "b", json!({"labels": {"app": "y"}})).await;
    f.create("c").await;
    for (selector, expected) in [
        ("app=x", &["a"][..]),
        ("app!=x", &["b", "c"]),
        ("app in (x,y)", &["a", "b"]),
        ("app,tier", &["a"]),
        ("!app", &["c"]),
        ("app notin (y)", &["a", "c"]),
    ] {
        assert_eq!(f.names(&labelled(selector)).await, expected, "{selector}");
    }
}

pub async fn list_by_field(f: &ObjectFixture) {
    f.create_with("ns", "a", json!({"spec": {"color": "red", "pool": {"name": "p"}}})).await;
    f.create_with("ns", "b", json!({"spec": {"color": "blue", "pool": {"name": "p"}}})).await;
    f.create_with("other", "c", json!({"spec": {"color": "red"}})).await;
    f.create("d").await;
    for (selector, expected) in [
        ("spec.color=red", &["a"][..]),
        ("spec.color!=red", &["b", "d"]),
        ("spec.pool.name=p", &["a", "b"]),
        ("spec.pool.name=p,spec.color=blue", &["b"]),
        ("spec.color=", &["d"]),
        ("spec.color=green", &[]),
    ] {
        assert_eq!(f.names(&with_fields(selector)).await, expected, "{selector}");
    }
    let all = f.objects.list(&Scope::All, &with_fields("spec.color=red")).await.unwrap();
    assert_eq!(all.items.len(), 2);
}

pub async fn list_by_field_follows_changes(f: &ObjectFixture) {
    f.create("a").await;
    for color in ["red", "blue", "red"] {
        f.paint("a", color).await;
        assert_eq!(f.names(&with_fields(&format!("spec.color={color}"))).await, ["a"]);
        let other = if color == "red" { "blue" } else { "red" };
        assert!(f.names(&with_fields(&format!("spec.color={other}"))).await.is_empty());
    }
    f.delete("a").await;
    assert!(f.names(&with_fields("spec.color=red")).await.is_empty());
}

pub async fn list_by_name_in_one_namespace(f: &ObjectFixture) {
    f.create_with("ns", "a", json!({"labels": {"x": "1"}})).await;
    f.create_with("ns", "aa", json!({})).await;
    f.create_with("other", "a", json!({})).await;
    assert_eq!(f.names(&with_fields("metadata.name=a")).await, ["a"]);
    let both = ListOptions {
        field_selector: with_fields("metadata.name=a").field_selector,
        ..labelled("x=2")
    };
    assert!(f.names(&both).await.is_empty());
    assert!(f.names(&with_fields("metadata.name=..")).await.is_empty());
}

pub async fn list_by_name_in_all_namespaces(f: &ObjectFixture) {
    for (namespace, name) in [("ns", "a"), ("ns", "b"), ("other", "a")] {
        f.create_with(namespace, name, json!({})).await;
    }
    let options = with_fields("metadata.name=a");
    let all = f.objects.list(&Scope::All, &options).await.unwrap();
    let paths: Vec<String> = all.items.iter().map(|item| item.path().to_string()).collect();
    assert_eq!(paths, ["ns/a", "other/a"]);
}

pub async fn list_with_nonsense_is_a_422(f: &ObjectFixture) {
    let options = ListOptions { resource_version: "x".into(), ..listing() };
    assert_eq!(f.list(&options).await.unwrap_err().code(), 422);
}

pub async fn list_reports_what_cannot_be_decoded(f: &ObjectFixture) {
    f.create_with("ns", "a", json!({"labels": {"x": "1"}})).await;
    f.put_raw("b", "{broken").await;
    // Nobody knows whether a selector would have found it.
    for options in [listing(), labelled("x=1"), with_fields("spec.color=red")] {
        let error = f.list(&options).await.unwrap_err();
        assert_eq!((error.code(), error.reason()), (500, &Reason::StoreReadError), "{error}");
        let cause = &error.details().unwrap().causes[0];
        assert_eq!(
            (cause.field.as_str(), cause.reason.as_str()),
            (&*f.path("b"), "UnexpectedServerResponse")
        );
        assert!(
            error.message().starts_with("failed to read one or more things.g.io from the storage")
        );
    }
    assert_eq!(f.names(&with_fields("metadata.name=a")).await, ["a"]);
}

pub async fn list_of_another_namespace_is_served_beside_it(f: &ObjectFixture) {
    f.put_raw("b", "{broken").await;
    f.create_with("other", "a", json!({})).await;
    let list = f.objects.list(&Scope::Namespace("other".into()), &listing()).await.unwrap();
    assert_eq!(list.items.len(), 1);
}
