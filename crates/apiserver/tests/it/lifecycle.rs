//! Create and delete.

use apiserver::meta::{Object, Scope};
use apiserver::patch::{Patch, PatchKind};
use apiserver::registry::{DeleteOutcome, Part};
use apiserver::request::{
    DeleteOptions, GetOptions, ListOptions, Preconditions, Propagation, WatchOptions, WriteOptions,
};
use apiserver::selector::LabelSelector;
use apiserver::tasks::Tasks;
use apiserver::warnings::Warnings;
use serde_json::json;

use crate::support::{Bench, names, ns, thing};

#[tokio::test]
async fn create_fills_in_and_get_returns_it() {
    let bench = Bench::new().await;
    let object = thing(
        "a",
        json!({
            "metadata": {
                "uid": "mine", "generation": 7, "creationTimestamp": "2000-01-01T00:00:00Z",
                "deletionTimestamp": "2000-01-01T00:00:00Z", "managedFields": [{}],
            },
            "spec": {"x": 1, "warn": true},
            "status": {"x": 1},
        }),
    );
    let created = bench.create(object).await;
    assert_eq!(created.namespace(), Some("ns"));
    assert_eq!(created.uid().len(), 36);
    assert_eq!(created.generation(), 1);
    assert_eq!(created.meta_str("creationTimestamp"), Some("2026-01-02T03:04:05Z"));
    assert_eq!(created.deletion_timestamp(), None);
    assert_eq!(created.at("metadata.managedFields"), None);
    assert_eq!(created.at("status"), None);
    assert_eq!(bench.warnings.take(), ["spec.warn is discouraged"]);
    assert_eq!(*bench.get("a").await.unwrap(), created);
    let stored = bench.kv.get(&bench.path("a"), None).await.unwrap().kv.unwrap();
    assert_eq!(created.resource_version().unwrap(), stored.mod_revision.to_string());
    let stored: Object = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!(stored.resource_version(), None);

    let error = bench.try_create(thing("a", json!({}))).await.unwrap_err();
    assert_eq!(error.message(), "things.test.x-k8s.io \"a\" already exists");
    let error = bench.get("b").await.unwrap_err();
    assert_eq!(error.message(), "things.test.x-k8s.io \"b\" not found");
}

#[tokio::test]
async fn create_refuses() {
    let bench = Bench::new().await;
    for (fields, code, text) in [
        (
            json!({"metadata": {"resourceVersion": "1"}}),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            json!({"metadata": {"namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({"metadata": {"name": null}}),
            422,
            "Thing.test.x-k8s.io \"\" is invalid: metadata.name: Required value: name or \
             generateName is required",
        ),
        (
            json!({"spec": {"bad": 1}}),
            422,
            "Thing.test.x-k8s.io \"a\" is invalid: spec.bad: Invalid value: 1: is bad",
        ),
    ] {
        let error = bench.try_create(thing("a", fields)).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (code, text));
    }
}

#[tokio::test]
async fn namespaces_must_be_there_and_stay() {
    let bench = Bench::new().await;
    let create = async |namespace: &str| {
        bench
            .store
            .create(
                &bench.permit,
                &Scope::Namespace(namespace.into()),
                // Invalid as well: the namespace comes first.
                thing("a", json!({"spec": {"bad": 1}})),
                &WriteOptions::default(),
                &bench.warnings,
            )
            .await
            .unwrap_err()
    };
    let error = create("missing").await;
    assert_eq!((error.code(), error.message()), (404, "namespaces \"missing\" not found"));
    let error = create("terminating").await;
    assert_eq!(error.code(), 403);
    assert_eq!(
        error.message(),
        "things.test.x-k8s.io \"a\" is forbidden: unable to create new content in namespace \
         terminating because it is being terminated"
    );
    let cause = &error.details().unwrap().causes[0];
    assert_eq!((&*cause.reason, &*cause.field), ("NamespaceTerminating", "metadata.namespace"));
}

#[tokio::test]
async fn generates_names() {
    let bench = Bench::new().await;
    let object = || thing("", json!({"metadata": {"name": null, "generateName": "web-"}}));
    let first = bench.create(object()).await;
    let second = bench.create(object()).await;
    for name in [first.name(), second.name()] {
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    }
    assert_ne!(first.name(), second.name());
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let bench = Bench::new().await;
    let fields = json!({"metadata": {"finalizers": ["x.io/a", "x.io/b"]}});
    let created = bench.create(thing("a", fields)).await;
    let outcome = bench.delete("a", &DeleteOptions::default()).await.unwrap();
    let DeleteOutcome::Pending(pending) = outcome else { panic!("{outcome:?}") };
    assert_eq!(pending.deletion_timestamp(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(pending.at("metadata.deletionGracePeriodSeconds"), Some(&json!(0)));
    assert_eq!(pending.generation(), 2);
    assert_ne!(pending.resource_version(), created.resource_version());

    let error = bench.try_create(thing("a", json!({}))).await.unwrap_err();
    assert_eq!(
        error.message(),
        "object is being deleted: things.test.x-k8s.io \"a\" already exists"
    );

    // A second delete changes nothing.
    let outcome = bench.delete("a", &DeleteOptions::default()).await.unwrap();
    let DeleteOutcome::Pending(again) = outcome else { panic!("{outcome:?}") };
    assert_eq!(again, pending);

    let mut more = pending.clone();
    more.set_finalizers(&["x.io/a".into(), "x.io/c".into()]);
    let error = bench.try_update(Part::Main, more).await.unwrap_err();
    assert_eq!(error.code(), 422);
    assert!(error.message().contains("found new finalizers []string{\"x.io/c\"}"), "{error}");

    let mut fewer = pending.clone();
    fewer.set_finalizers(&["x.io/b".into()]);
    // The mark itself can't be taken back.
    fewer.remove_meta("deletionTimestamp");
    let mut last = bench.update(fewer).await;
    assert_eq!(last.deletion_timestamp(), pending.deletion_timestamp());
    last.set_finalizers(&[]);
    let gone = bench.update(last).await;
    assert_eq!(gone.name(), "a");
    assert!(bench.get("a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn propagation_decides_the_finalizers() {
    let bench = Bench::new().await;
    for (had, policy, left) in [
        (&[][..], None, None),
        (&[], Some(Propagation::Background), None),
        (&[], Some(Propagation::Foreground), Some(vec!["foregroundDeletion"])),
        (&[], Some(Propagation::Orphan), Some(vec!["orphan"])),
        (&["orphan"], None, Some(vec!["orphan"])),
        (&["orphan"], Some(Propagation::Background), None),
        (
            &["orphan", "x.io/a"],
            Some(Propagation::Foreground),
            Some(vec!["x.io/a", "foregroundDeletion"]),
        ),
    ] {
        let created = bench
            .create(thing(
                "",
                json!({"metadata": {"name": null, "generateName": "p-", "finalizers": had}}),
            ))
            .await;
        let options = DeleteOptions { propagation: policy, ..DeleteOptions::default() };
        match (bench.delete(created.name(), &options).await.unwrap(), left) {
            (DeleteOutcome::Removed(_), None) => {}
            (DeleteOutcome::Pending(object), Some(left)) => assert_eq!(object.finalizers(), left),
            (outcome, left) => panic!("{had:?} {policy:?}: {outcome:?}, expected {left:?}"),
        }
    }
}

#[tokio::test]
async fn delete_honours_preconditions() {
    let bench = Bench::new().await;
    let created = bench.create(thing("a", json!({}))).await;
    let with = |uid: Option<&str>, version: Option<&str>| DeleteOptions {
        preconditions: Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        },
        ..DeleteOptions::default()
    };
    let error = bench.delete("a", &with(Some("other"), None)).await.unwrap_err();
    assert_eq!(
        error.message(),
        format!(
            "Operation cannot be fulfilled on things.test.x-k8s.io \"a\": Precondition failed: UID \
             in precondition: other, UID in object meta: {}",
            created.uid()
        )
    );
    let error = bench.delete("a", &with(None, Some("1"))).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("ResourceVersion in precondition: 1"));
    let good = with(Some(created.uid()), created.resource_version());
    let DeleteOutcome::Removed(removed) = bench.delete("a", &good).await.unwrap() else {
        panic!("no finalizers")
    };
    let (before, after) = (created.resource_version(), removed.resource_version());
    assert!(before.unwrap().parse::<i64>().unwrap() < after.unwrap().parse::<i64>().unwrap());
    assert!(bench.delete("a", &good).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn deletes_what_a_collection_request_selects() {
    let bench = Bench::new().await;
    for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
        bench.create(thing(name, json!({"metadata": {"labels": {"app": app}}}))).await;
    }
    let list = ListOptions {
        label_selector: LabelSelector::parse("app=web").unwrap(),
        ..ListOptions::default()
    };
    let deleted = bench
        .store
        .delete_collection(&bench.permit, &ns(), &list, &DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(names(&deleted), ["a", "c"]);
    assert_eq!(names(&bench.list(&ListOptions::default()).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn dry_run_writes_nothing() {
    let bench = Bench::new().await;
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let create = async |object| {
        bench.store.create(&bench.permit, &ns(), object, &dry, &bench.warnings).await
    };
    let created = create(thing("a", json!({}))).await.unwrap();
    assert_eq!(created.uid().len(), 36);
    assert!(bench.get("a").await.unwrap_err().is_not_found());
    assert_eq!(create(thing("a", json!({"spec": {"bad": 1}}))).await.unwrap_err().code(), 422);

    let stored = bench.create(thing("a", json!({}))).await;
    assert_eq!(create(thing("a", json!({}))).await.unwrap_err().code(), 409);
    let mut changed = stored.clone();
    changed.0.insert("spec".into(), json!({"x": 1}));
    let updated = bench
        .store
        .update(&bench.permit, &stored.key(), Part::Main, changed, &dry, &bench.warnings)
        .await
        .unwrap();
    assert_eq!(updated.at("spec.x"), Some(&json!(1)));
    assert_eq!(updated.generation(), 2);
    let options = DeleteOptions { dry_run: true, ..DeleteOptions::default() };
    assert!(matches!(bench.delete("a", &options).await.unwrap(), DeleteOutcome::Removed(_)));
    assert_eq!(*bench.get("a").await.unwrap(), stored);
}

/// The endpoint runs mutations on the task group, so that a client that hangs up doesn't stop them
/// half-way; that needs futures that can move between threads.
#[tokio::test]
async fn every_operation_can_run_on_the_task_group() {
    let bench = Bench::new().await;
    let (store, permit, warnings) = (bench.store.clone(), bench.permit.clone(), Warnings::new());
    let tasks = Tasks::new();
    let done = tasks
        .run_to_end(async move {
            let write = WriteOptions::default();
            let object = thing("a", json!({}));
            let created = store.create(&permit, &ns(), object, &write, &warnings).await?;
            let key = created.key();
            store.update(&permit, &key, Part::Main, created, &write, &warnings).await?;
            let patch = Patch { kind: PatchKind::Merge, body: "{}".into() };
            store.patch(&permit, &key, Part::Status, &patch, &write, &warnings).await?;
            store.mutate(&permit, &key, Part::Main, &write, &warnings, |_| Ok(())).await?;
            store.get(&permit, &key, &GetOptions::default()).await?;
            drop(store.watch(&permit, &ns(), &WatchOptions::default()).await?);
            let (list, delete) = (ListOptions::default(), DeleteOptions::default());
            store.delete_collection(&permit, &ns(), &list, &delete).await?;
            store.delete(&permit, &key, &delete).await
        })
        .await;
    assert!(done.unwrap().unwrap_err().is_not_found());
}
