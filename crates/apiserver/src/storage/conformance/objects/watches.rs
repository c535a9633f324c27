//! Cases of watches.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join, join_all};
use serde_json::json;

use super::{
    FieldSelector, LabelSelector, ObjectFixture, WatchEvent, WatchOptions, Write, from, key,
    listing, next, nothing, streaming, thing, version,
};
use crate::status::Reason;

fn by_label(revision: i64, selector: &str) -> WatchOptions {
    WatchOptions { label_selector: LabelSelector::parse(selector).unwrap(), ..from(revision) }
}

fn by_field(revision: i64, selector: &str) -> WatchOptions {
    WatchOptions { field_selector: FieldSelector::parse(selector).unwrap(), ..from(revision) }
}

pub async fn watch_hears_of_life_and_death(f: &ObjectFixture) {
    let mut watch = f.watch(&from(f.revision().await)).await;
    let a = f.create("a").await;
    let painted = f.paint("a", "red").await;
    let gone = f.delete("a").await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    assert_eq!(next(&mut watch).await, format!("MODIFIED a@{}", version(&painted)));
    assert_eq!(next(&mut watch).await, format!("DELETED a@{}", version(&gone)));
}

pub async fn watch_resumes_after_a_revision(f: &ObjectFixture) {
    let a = f.create("a").await;
    let b = f.create("b").await;
    let c = f.create("c").await;
    let mut watch = f.watch(&from(version(&a))).await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
    assert_eq!(next(&mut watch).await, format!("ADDED c@{}", version(&c)));
    let mut watch = f.watch(&from(version(&c))).await;
    nothing(&mut watch).await;
    let d = f.create("d").await;
    assert_eq!(next(&mut watch).await, format!("ADDED d@{}", version(&d)));
}

pub async fn watch_without_a_version_begins_with_the_state(f: &ObjectFixture) {
    let b = f.create("b").await;
    let a = f.create("a").await;
    let mut watch = f.watch(&WatchOptions::default()).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
    let c = f.create("c").await;
    assert_eq!(next(&mut watch).await, format!("ADDED c@{}", version(&c)));
}

pub async fn watch_from_zero_begins_with_the_state(f: &ObjectFixture) {
    let a = f.create("a").await;
    f.names(&listing()).await;
    let mut watch = f.watch(&from(0)).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    let gone = f.delete("a").await;
    assert_eq!(next(&mut watch).await, format!("DELETED a@{}", version(&gone)));
}

pub async fn watch_without_initial_events_begins_now(f: &ObjectFixture) {
    f.create("a").await;
    let options = WatchOptions { send_initial_events: Some(false), ..streaming("") };
    let mut watch = f.watch(&options).await;
    nothing(&mut watch).await;
    let b = f.create("b").await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
}

pub async fn watch_streams_the_state_and_says_so(f: &ObjectFixture) {
    let mut expected = Vec::new();
    for n in 0..300 {
        let name = format!("{n:03}");
        expected.push(format!("ADDED {name}@{}", version(&f.create(&name).await)));
    }
    let now = f.revision().await;
    let mut watch = f.watch(&streaming("")).await;
    for expected in expected {
        assert_eq!(next(&mut watch).await, expected);
    }
    assert_end(&next(&mut watch).await, now);
    let b = f.create("b").await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
}

fn assert_end(event: &str, least: i64) {
    let revision = event.strip_prefix("BOOKMARK @").and_then(|rest| rest.strip_suffix(" end"));
    let revision: i64 = revision.unwrap_or_else(|| panic!("{event}")).parse().unwrap();
    assert!(revision >= least, "{revision} before {least}");
}

pub async fn watch_streams_an_empty_state(f: &ObjectFixture) {
    let now = f.bump().await;
    let mut watch = f.watch(&streaming("")).await;
    assert_end(&next(&mut watch).await, now);
}

pub async fn watch_streams_what_is_acknowledged(f: &ObjectFixture) {
    for n in 0..10 {
        let a = f.create(&format!("{n}")).await;
        let now = f.bump().await;
        let options = if n % 2 == 0 { streaming("") } else { streaming(&now.to_string()) };
        let mut watch = f.watch(&options).await;
        for _ in 0..n {
            assert!(next(&mut watch).await.starts_with("ADDED "));
        }
        assert_eq!(next(&mut watch).await, format!("ADDED {n}@{}", version(&a)));
        assert_end(&next(&mut watch).await, now);
    }
}

pub async fn watch_streams_from_the_future_fail_as_an_event(f: &ObjectFixture) {
    let future = f.revision().await + 1_000_000;
    let mut watch = f.watch(&streaming(&future.to_string())).await;
    match watch.next().await {
        Some(WatchEvent::Error(error)) => {
            assert_eq!((error.code(), error.reason()), (504, &Reason::Timeout));
            assert_eq!(error.details().unwrap().causes[0].reason, "ResourceVersionTooLarge");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut watch).await, "END");
}

pub async fn watch_from_the_future_waits(f: &ObjectFixture) {
    let now = f.revision().await;
    let mut watch = f.watch(&from(now + 2)).await;
    f.create("a").await;
    f.create("b").await;
    nothing(&mut watch).await;
    // Others may write in between.
    let mut last = f.create("c").await;
    while version(&last) <= now + 2 {
        last = f.paint("c", &version(&last).to_string()).await;
    }
    assert!(next(&mut watch).await.contains(" c@"));
}

pub async fn watch_with_nonsense_is_a_422(f: &ObjectFixture) {
    let options = WatchOptions { resource_version: "x".into(), ..WatchOptions::default() };
    let refused = f.objects.watch(&super::ns(), &options).await;
    assert_eq!(refused.err().map(|error| error.code()), Some(422));
}

pub async fn watch_keeps_to_its_namespace(f: &ObjectFixture) {
    let mut watch = f.watch(&from(f.revision().await)).await;
    let mut all = f.objects.watch(&super::Scope::All, &from(f.revision().await)).await.unwrap();
    f.create_with("nsx", "a", json!({})).await;
    f.create_with("n", "a", json!({})).await;
    let b = f.create("b").await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
    for _ in 0..2 {
        assert!(next(&mut all).await.starts_with("ADDED a@"));
    }
    assert_eq!(next(&mut all).await, format!("ADDED b@{}", version(&b)));
}

pub async fn watch_by_name(f: &ObjectFixture) {
    let mut watch = f.watch(&by_field(f.revision().await, "metadata.name=b")).await;
    for name in ["a", "bb"] {
        f.create(name).await;
    }
    f.create_with("other", "b", json!({})).await;
    let b = f.create("b").await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
    let gone = f.delete("b").await;
    assert_eq!(next(&mut watch).await, format!("DELETED b@{}", version(&gone)));
}

pub async fn watch_by_label_sees_arrivals_and_departures(f: &ObjectFixture) {
    let mut watch = f.watch(&by_label(f.revision().await, "x=1")).await;
    f.create("a").await;
    let a = f.label("a", json!({"x": "1"})).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    let a = f.label("a", json!({"x": "1", "y": "1"})).await;
    assert_eq!(next(&mut watch).await, format!("MODIFIED a@{}", version(&a)));
    let a = f.label("a", json!({"x": "2"})).await;
    assert_eq!(next(&mut watch).await, format!("DELETED a@{}", version(&a)));
    f.delete("a").await;
    let b = f.create_with("ns", "b", json!({"labels": {"x": "1"}})).await;
    assert_eq!(next(&mut watch).await, format!("ADDED b@{}", version(&b)));
}

pub async fn watch_by_field_sees_arrivals(f: &ObjectFixture) {
    let now = f.revision().await;
    let mut red = f.watch(&by_field(now, "spec.color=red")).await;
    let mut not_red = f.watch(&by_field(now, "spec.color!=red")).await;
    let a = f.create("a").await;
    assert_eq!(next(&mut not_red).await, format!("ADDED a@{}", version(&a)));
    let a = f.paint("a", "red").await;
    assert_eq!(next(&mut red).await, format!("ADDED a@{}", version(&a)));
    assert_eq!(next(&mut not_red).await, format!("DELETED a@{}", version(&a)));
    let a = f.paint("a", "blue").await;
    assert_eq!(next(&mut red).await, format!("DELETED a@{}", version(&a)));
    assert_eq!(next(&mut not_red).await, format!("ADDED a@{}", version(&a)));
    f.paint("a", "red").await;
    let gone = f.delete("a").await;
    assert!(next(&mut red).await.starts_with("ADDED a@"));
    assert_eq!(next(&mut red).await, format!("DELETED a@{}", version(&gone)));
}

pub async fn a_deletion_has_its_own_revision(f: &ObjectFixture) {
    let a = f.create("a").await;
    let mut watch = f.watch(&from(version(&a))).await;
    let gone = f.delete("a").await;
    assert!(version(&gone) > version(&a));
    assert_eq!(next(&mut watch).await, format!("DELETED a@{}", version(&gone)));
}

pub async fn a_departure_has_the_old_content(f: &ObjectFixture) {
    f.create("a").await;
    let a = f.label("a", json!({"x": "1", "mark": "old"})).await;
    let mut watch = f.watch(&by_label(version(&a), "x=1")).await;
    let a = f.label("a", json!({"x": "2"})).await;
    match watch.next().await {
        Some(WatchEvent::Change(super::super::super::EventKind::Deleted, shared)) => {
            let object = shared.item().object().unwrap();
            assert_eq!(object.label("mark"), Some("old"));
            assert_eq!(version(&object), version(&a));
        }
        other => panic!("{other:?}"),
    }
}

pub async fn watch_ends_at_its_time_with_a_bookmark(f: &ObjectFixture) {
    let a = f.create("a").await;
    let timeout = Some(Duration::from_millis(2400));
    let mut watch = f.watch(&WatchOptions { timeout, ..from(version(&a) - 1) }).await;
    assert_eq!(next(&mut watch).await, format!("ADDED a@{}", version(&a)));
    let bookmark = next(&mut watch).await;
    let revision: i64 = bookmark.strip_prefix("BOOKMARK @").unwrap().parse().unwrap();
    assert!(revision >= version(&a));
    assert_eq!(next(&mut watch).await, "END");
}

pub async fn watch_without_bookmarks_gets_none(f: &ObjectFixture) {
    let options = WatchOptions {
        allow_bookmarks: false,
        timeout: Some(Duration::from_millis(2300)),
        ..from(f.revision().await)
    };
    let mut watch = f.watch(&options).await;
    assert_eq!(next(&mut watch).await, "END");
}

pub async fn watches_hear_the_same(f: &ObjectFixture) {
    let now = f.revision().await;
    let mut watches = Vec::new();
    for _ in 0..20 {
        watches.push(f.watch(&from(now)).await);
    }
    for n in 0..20 {
        f.create(&format!("{n}")).await;
    }
    let heard = join_all(watches.iter_mut().map(|watch| async {
        let mut heard = Vec::new();
        for _ in 0..20 {
            heard.push(next(watch).await);
        }
        heard
    }))
    .await;
    assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "{heard:?}");
}

pub async fn watch_reports_what_cannot_be_decoded(f: &ObjectFixture) {
    let now = f.revision().await;
    let mut plain = f.watch(&from(now)).await;
    let mut red = f.watch(&by_field(now, "spec.color=red")).await;
    let mut named = f.watch(&by_field(now, "metadata.name=sound")).await;
    f.put_raw("broken", "nonsense").await;
    for watch in [&mut plain, &mut red] {
        assert_eq!(next(watch).await, "ERROR 500");
        assert_eq!(next(watch).await, "END");
    }
    // The same for who begins now.
    let mut late = f.watch(&WatchOptions::default()).await;
    assert_eq!(next(&mut late).await, "ERROR 500");
    // It is not this one's business, if that can be known.
    let sound = f.create("sound").await;
    if f.cached {
        assert_eq!(next(&mut named).await, format!("ADDED sound@{}", version(&sound)));
    }
}

pub async fn watch_hears_all_of_a_transaction(f: &ObjectFixture) {
    let mut watch = f.watch(&from(f.revision().await)).await;
    let writes = ["a", "b", "c"].map(|name| Write::Put {
        key: f.path(name),
        value: serde_json::to_vec(&thing("ns", name, json!({}))).unwrap().into(),
    });
    f.kv.txn(Vec::new(), writes.into()).await.unwrap();
    let revision = f.objects.get(&key("a"), "").await.unwrap().revision();
    for name in ["a", "b", "c"] {
        assert_eq!(next(&mut watch).await, format!("ADDED {name}@{revision}"));
    }
}

pub async fn watch_from_a_shared_revision_tells_all_of_it_again(f: &ObjectFixture) {
    f.create("before").await;
    f.names(&listing()).await;
    let writes = ["a", "b"].map(|name| Write::Put {
        key: f.path(name),
        value: serde_json::to_vec(&thing("ns", name, json!({}))).unwrap().into(),
    });
    f.kv.txn(Vec::new(), writes.into()).await.unwrap();
    let revision = f.objects.get(&key("a"), "").await.unwrap().revision();
    let after = f.create("after").await;
    f.names(&listing()).await;
    // Whoever has heard of `a` and lost the connection has that revision and has not heard of `b`.
    let mut watch = f.watch(&from(revision)).await;
    if f.cached {
        assert_eq!(next(&mut watch).await, format!("ADDED a@{revision}"));
        assert_eq!(next(&mut watch).await, format!("ADDED b@{revision}"));
    }
    assert_eq!(next(&mut watch).await, format!("ADDED after@{}", version(&after)));
}

pub async fn watch_under_many_writers_misses_nothing(f: &ObjectFixture) {
    let mut watch = f.watch(&from(f.revision().await)).await;
    let write = join_all((0..5).map(|writer| async move {
        for n in 0..20 {
            f.create(&format!("{writer}-{n}")).await;
        }
    }));
    let hear = async {
        let (mut names, mut last) = (Vec::new(), 0);
        for _ in 0..100 {
            let event = next(&mut watch).await;
            let (name, revision) = event.split_once('@').unwrap();
            let revision: i64 = revision.parse().unwrap();
            assert!(revision > last, "{event} after {last}");
            last = revision;
            names.push(name.to_owned());
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 100);
    };
    join(hear, write).await;
}

pub async fn watch_of_a_compacted_revision_expires(f: &ObjectFixture) {
    f.create("a").await;
    f.paint("a", "red").await;
    f.names(&listing()).await;
    f.kv.compact(f.revision().await).await.unwrap();
    let mut watch = f.watch(&from(1)).await;
    match watch.next().await {
        Some(WatchEvent::Error(error)) => {
            assert_eq!((error.code(), error.reason()), (410, &Reason::Expired));
            let text = match f.cached {
                true => "too old resource version: 1 (",
                false => "The resourceVersion for the provided watch is too old.",
            };
            assert!(error.message().starts_with(text), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(next(&mut watch).await, "END");
}
