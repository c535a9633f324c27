//! Update, patch, status and the internal read-modify-write.

use apiserver::meta::Object;
use apiserver::patch::PatchKind;
use apiserver::registry::Part;
use apiserver::request::WriteOptions;
use apiserver::status::{ApiError, Reason};
use serde_json::{Value, json};

use crate::support::{Bench, key, thing};

fn with_spec(object: &Object, spec: Value) -> Object {
    let mut object = object.clone();
    object.0.insert("spec".into(), spec);
    object
}

#[tokio::test]
async fn update_needs_the_current_version() {
    let bench = Bench::new().await;
    let error = bench
        .try_update(Part::Main, thing("a", json!({"metadata": {"resourceVersion": "1"}})))
        .await
        .unwrap_err();
    assert!(error.is_not_found());
    let first = bench.create(thing("a", json!({"spec": {"x": 1}}))).await;
    let second = bench.update(with_spec(&first, json!({"x": 2}))).await;
    assert_eq!(second.generation(), 2);

    let error = bench.try_update(Part::Main, with_spec(&first, json!({"x": 3}))).await.unwrap_err();
    assert_eq!(
        error.message(),
        "Operation cannot be fulfilled on things.test.x-k8s.io \"a\": the object has been \
         modified; please apply your changes to the latest version and try again"
    );
    let mut blind = second.clone();
    blind.remove_meta("resourceVersion");
    let error = bench.try_update(Part::Main, blind).await.unwrap_err();
    assert_eq!(
        error.message(),
        "Thing.test.x-k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must \
         be specified for an update"
    );
    let mut other = second.clone();
    other.set_meta("uid", "other");
    let error = bench.try_update(Part::Main, other).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("UID in precondition: other"));
    let mut older = second.clone();
    older.set_meta("creationTimestamp", "2000-01-01T00:00:00Z");
    let error = bench.try_update(Part::Main, older).await.unwrap_err();
    assert!(error.message().contains("metadata.creationTimestamp"), "{error}");
    assert!(error.message().contains("field is immutable"), "{error}");
}

#[tokio::test]
async fn body_and_key_must_agree() {
    let bench = Bench::new().await;
    let object = bench.create(thing("a", json!({}))).await;
    let update = async |object: Object| {
        bench
            .store
            .update(
                &bench.permit,
                &key("b"),
                Part::Main,
                object,
                &WriteOptions::default(),
                &bench.warnings,
            )
            .await
            .unwrap_err()
    };
    assert_eq!(
        update(object.clone()).await.message(),
        "the name of the object (a) does not match the name on the URL (b)"
    );
    let mut elsewhere = object.clone();
    elsewhere.set_meta("name", "b");
    elsewhere.set_meta("namespace", "other");
    assert_eq!(
        update(elsewhere).await.message(),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let bench = Bench::new().await;
    let object = bench.create(thing("a", json!({"spec": {"x": 1, "y": 2}}))).await;
    let mut same = with_spec(&object, json!({"y": 2, "x": 1}));
    same.remove_meta("uid");
    same.remove_meta("creationTimestamp");
    same.set_meta("managedFields", json!([{}]));
    assert_eq!(bench.update(same).await, object);
    let patched = bench.patch("a", PatchKind::Merge, &json!({"spec": {"x": 1}})).await.unwrap();
    assert_eq!(patched, object);
    let stored = bench.kv.get(&bench.path("a"), None).await.unwrap().kv.unwrap();
    assert_eq!(object.resource_version().unwrap(), stored.mod_revision.to_string());
}

#[tokio::test]
async fn status_and_the_rest_are_apart() {
    let bench = Bench::new().await;
    let object = bench.create(thing("a", json!({"spec": {"x": 1}}))).await;
    let mut both = with_spec(&object, json!({"x": 2}));
    both.0.insert("status".into(), json!({"phase": "Running"}));
    both.set_meta("labels", json!({"l": "1"}));

    let status = bench.try_update(Part::Status, both.clone()).await.unwrap();
    assert_eq!(status.at("status.phase"), Some(&json!("Running")));
    assert_eq!(status.at("spec.x"), Some(&json!(1)));
    assert_eq!(status.label("l"), None);
    assert_eq!(status.generation(), 1);
    assert!(bench.try_update(Part::Status, both.clone()).await.unwrap_err().is_conflict());

    let mut main = both;
    main.set_meta("resourceVersion", status.resource_version().unwrap());
    main.0.insert("status".into(), json!({"phase": "Lost"}));
    let main = bench.update(main).await;
    assert_eq!(main.at("status.phase"), Some(&json!("Running")));
    assert_eq!(main.at("spec.x"), Some(&json!(2)));
    assert_eq!(main.generation(), 2);

    let mut labels = main.clone();
    labels.set_meta("labels", json!({"l": "2"}));
    assert_eq!(bench.update(labels).await.generation(), 2);
}

#[tokio::test]
async fn patches() {
    let bench = Bench::new().await;
    let object = bench.create(thing("a", json!({"spec": {"x": 1, "l": [1]}}))).await;
    let patched =
        bench.patch("a", PatchKind::Merge, &json!({"spec": {"x": null, "y": 2}})).await.unwrap();
    assert_eq!(patched.at("spec"), Some(&json!({"l": [1], "y": 2})));
    assert_eq!(patched.generation(), 2);
    let operations = json!([
        {"op": "test", "path": "/spec/y", "value": 2},
        {"op": "add", "path": "/spec/l/-", "value": 2},
    ]);
    let patched = bench.patch("a", PatchKind::Json, &operations).await.unwrap();
    assert_eq!(patched.at("spec.l"), Some(&json!([1, 2])));

    let stale = object.resource_version().unwrap();
    for (kind, patch, code) in [
        (PatchKind::Json, json!([{"op": "test", "path": "/spec/y", "value": 3}]), 422),
        (PatchKind::Json, json!([{"op": "remove", "path": "/spec/none"}]), 422),
        (PatchKind::Json, json!({}), 400),
        (PatchKind::Json, json!([{"op": "replace", "path": "", "value": 1}]), 400),
        (PatchKind::Merge, json!([]), 400),
        (PatchKind::Merge, json!({"metadata": {"resourceVersion": stale}}), 409),
        (PatchKind::Merge, json!({"metadata": {"resourceVersion": 5}}), 422),
        (PatchKind::Merge, json!({"metadata": {"uid": "other"}}), 409),
        (PatchKind::Merge, json!({"metadata": {"name": "b"}}), 400),
        (PatchKind::Merge, json!({"metadata": {"namespace": "b"}}), 400),
        (PatchKind::Merge, json!({"kind": "Other"}), 400),
        (PatchKind::Merge, json!({"spec": {"bad": 1}}), 422),
        (PatchKind::Merge, json!({"metadata": {"labels": {"x": 1}}}), 422),
    ] {
        let error = bench.patch("a", kind, &patch).await.unwrap_err();
        assert_eq!(error.code(), code, "{patch}: {error}");
    }
    assert_eq!(*bench.get("a").await.unwrap(), patched);
    let many = Value::Array(vec![json!({"op": "test", "path": "/kind", "value": "Thing"}); 10_001]);
    let error = bench.patch("a", PatchKind::Json, &many).await.unwrap_err();
    assert_eq!(error.code(), 413);
    let error = bench.patch("none", PatchKind::Merge, &json!({})).await.unwrap_err();
    assert!(error.is_not_found());
}

#[tokio::test]
async fn concurrent_changes_all_count() {
    let bench = Bench::new().await;
    bench.create(thing("a", json!({"spec": {"n": 0}}))).await;
    let add = async || {
        bench
            .store
            .mutate(
                &bench.permit,
                &key("a"),
                Part::Main,
                &WriteOptions::default(),
                &bench.warnings,
                |object| {
                    let n = object.at("spec.n").and_then(Value::as_i64).unwrap_or_default();
                    object.0.insert("spec".into(), json!({"n": n + 1}));
                    Ok(())
                },
            )
            .await
            .unwrap();
    };
    futures::future::join_all((0..20).map(|_| add())).await;
    let object = bench.get("a").await.unwrap();
    assert_eq!(object.at("spec.n"), Some(&json!(20)));
    assert_eq!(object.generation(), 21);

    let error = bench
        .store
        .mutate(
            &bench.permit,
            &key("a"),
            Part::Main,
            &WriteOptions::default(),
            &bench.warnings,
            |_| Err(ApiError::new(Reason::Gone, "no")),
        )
        .await
        .unwrap_err();
    assert_eq!(error.message(), "no");
}
