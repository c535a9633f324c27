//! Lists: revisions, pages, selectors, errors.

use apiserver::request::{GetOptions, ListOptions, ResourceVersionMatch};
use apiserver::selector::{FieldSelector, LabelSelector};
use apiserver::storage::{ContinueToken, Write};
use bytes::Bytes;
use serde_json::json;

use crate::etcd::PrivateEtcd;
use crate::support::{Bench, key, names, thing};

fn limit(limit: usize) -> ListOptions {
    ListOptions { limit, ..ListOptions::default() }
}

#[tokio::test]
async fn pages_show_one_revision() {
    let bench = Bench::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        bench.create(thing(name, json!({}))).await;
    }
    let first = bench.list(&limit(2)).await.unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.remaining_item_count, Some(3));
    bench.create(thing("bb", json!({}))).await;
    let mut next = ListOptions { continue_token: first.continue_token.clone(), ..limit(2) };
    let second = bench.list(&next).await.unwrap();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second.remaining_item_count, Some(1));
    assert_eq!(second.resource_version, first.resource_version);
    next.continue_token = second.continue_token;
    let third = bench.list(&next).await.unwrap();
    assert_eq!(names(&third), ["e"]);
    assert_eq!((third.continue_token.as_str(), third.remaining_item_count), ("", None));

    next.resource_version = "5".into();
    let error = bench.list(&next).await.unwrap_err();
    assert_eq!(error.message(), "specifying resource version is not allowed when using continue");
    next.resource_version = String::new();
    next.continue_token = "nonsense".into();
    assert_eq!(bench.list(&next).await.unwrap_err().code(), 400);
}

#[tokio::test]
async fn selectors_fill_pages_with_rare_objects() {
    let bench = Bench::new().await;
    for n in 0..40 {
        let color = if n % 15 == 14 { "red" } else { "blue" };
        let fields = json!({"metadata": {"labels": {"color": color}}, "spec": {"color": color}});
        bench.create(thing(&format!("t{n:02}"), fields)).await;
    }
    for options in [
        ListOptions { label_selector: LabelSelector::parse("color=red").unwrap(), ..limit(1) },
        ListOptions { field_selector: FieldSelector::parse("spec.color=red").unwrap(), ..limit(1) },
    ] {
        let first = bench.list(&options).await.unwrap();
        assert_eq!(names(&first), ["t14"]);
        assert_eq!(first.remaining_item_count, None);
        let next = ListOptions { continue_token: first.continue_token, ..options };
        let second = bench.list(&next).await.unwrap();
        assert_eq!(names(&second), ["t29"]);
        let next = ListOptions { continue_token: second.continue_token, ..next };
        let third = bench.list(&next).await.unwrap();
        assert_eq!((names(&third).len(), third.continue_token.as_str()), (0, ""));
    }
    let by_name = ListOptions {
        field_selector: FieldSelector::parse("metadata.name=t03").unwrap(),
        ..ListOptions::default()
    };
    assert_eq!(names(&bench.list(&by_name).await.unwrap()), ["t03"]);
    let impossible = ListOptions {
        field_selector: FieldSelector::parse("metadata.name=a/b").unwrap(),
        ..ListOptions::default()
    };
    assert_eq!(names(&bench.list(&impossible).await.unwrap()).len(), 0);
    let unknown = ListOptions {
        field_selector: FieldSelector::parse("spec.x=1").unwrap(),
        ..ListOptions::default()
    };
    let error = bench.list(&unknown).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (400, "field label not supported: spec.x"));
}

#[tokio::test]
async fn revisions_are_honoured() {
    let bench = Bench::new().await;
    let a = bench.create(thing("a", json!({}))).await;
    let at: i64 = a.resource_version().unwrap().parse().unwrap();
    bench.create(thing("b", json!({}))).await;
    let options = |version: &str, matching, limit| ListOptions {
        resource_version: version.into(),
        resource_version_match: matching,
        limit,
        ..ListOptions::default()
    };
    let n = at.to_string();
    for (options, expected) in [
        (options("", None, 0), 2),
        (options("0", None, 0), 2),
        (options(&n, None, 0), 2),
        (options(&n, Some(ResourceVersionMatch::NotOlderThan), 0), 2),
        (options(&n, Some(ResourceVersionMatch::NotOlderThan), 5), 2),
        (options(&n, Some(ResourceVersionMatch::Exact), 0), 1),
        (options(&n, None, 5), 1),
    ] {
        let listed = bench.list(&options).await.unwrap();
        assert_eq!(listed.items.len(), expected, "{options:?}");
        assert_eq!(listed.resource_version == at, expected == 1, "{options:?}");
    }
    let future = (bench.revision().await + 1_000_000).to_string();
    for options in [
        options(&future, None, 0),
        options(&future, Some(ResourceVersionMatch::Exact), 0),
        options(&future, None, 5),
    ] {
        let error = bench.list(&options).await.unwrap_err();
        assert_eq!(error.code(), 504, "{error}");
        let text = format!("Timeout: Too large resource version: {future}, current: ");
        assert!(error.message().starts_with(&text), "{error}");
        assert_eq!(error.details().unwrap().causes[0].reason, "ResourceVersionTooLarge");
        assert_eq!(error.details().unwrap().retry_after_seconds, Some(1));
    }
    let get = GetOptions { resource_version: future };
    let error = bench.store.get(&bench.permit, &key("a"), &get).await.unwrap_err();
    assert_eq!(error.code(), 504);
    let error = bench.list(&options("x", None, 0)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (
            422,
            "things.test.x-k8s.io \"\" is invalid: resourceVersion: Invalid value: \"x\": \
             strconv.ParseUint: parsing \"x\": invalid syntax"
        )
    );
}

#[tokio::test]
async fn compaction_ends_pages_with_a_way_on() {
    let etcd = PrivateEtcd::start().await;
    let bench = Bench::on(etcd.kv().await);
    for name in ["a", "b", "c"] {
        bench.create(thing(name, json!({}))).await;
    }
    let first = bench.list(&limit(1)).await.unwrap();
    bench.create(thing("bb", json!({}))).await;
    bench.kv.compact(bench.revision().await).await.unwrap();

    let next = ListOptions { continue_token: first.continue_token, ..limit(2) };
    let error = bench.list(&next).await.unwrap_err();
    assert_eq!(error.code(), 410);
    assert!(error.message().starts_with("The provided continue parameter is too old"), "{error}");
    let status = error.to_status();
    assert_eq!(status["reason"], "Expired");
    let token = status["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(ContinueToken::decode(&token).unwrap().revision, -1);
    let rest = bench.list(&ListOptions { continue_token: token, ..limit(2) }).await.unwrap();
    assert_eq!(names(&rest), ["b", "bb"]);
    assert!(rest.resource_version > first.resource_version);
    let last = ListOptions { continue_token: rest.continue_token, ..limit(2) };
    assert_eq!(names(&bench.list(&last).await.unwrap()), ["c"]);

    let exact = ListOptions {
        resource_version: first.resource_version.to_string(),
        resource_version_match: Some(ResourceVersionMatch::Exact),
        ..ListOptions::default()
    };
    let error = bench.list(&exact).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (410, "The resourceVersion for the provided list is too old.")
    );
}

#[tokio::test]
async fn undecodable_objects_are_reported() {
    let bench = Bench::new().await;
    bench.create(thing("a", json!({}))).await;
    let write = Write::Put { key: bench.path("b"), value: Bytes::from("{broken") };
    bench.kv.txn(Vec::new(), vec![write]).await.unwrap();
    for error in [
        bench.get("b").await.unwrap_err(),
        bench.list(&ListOptions::default()).await.unwrap_err(),
        bench.delete("b", &apiserver::request::DeleteOptions::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), 500);
        assert!(error.message().contains("/things/ns/b, "), "{error}");
        assert!(error.message().contains("object not decodable revision="), "{error}");
    }
}
