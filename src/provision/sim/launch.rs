//! What a life costs in writes.

use std::time::Duration;

use apiserver::meta::ObjectKey;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::world::World;
use super::{condition, key, spec};
use crate::cluster::counts::WriteVerb;
use crate::cluster::fake::Fault;
use crate::cluster::{Child, ChildKind, ChildMeta, RuntimeClassView};

fn cluster_writes(world: &World) -> Vec<(ChildKind, WriteVerb, u64)> {
    let all = world.cluster.writes().snapshot();
    all.into_iter().filter(|(.., count)| *count > 0).collect()
}

fn status_writes(world: &World, key: &ObjectKey) -> u64 {
    world.sandboxes.status_writes(world.sandboxes.read(key).unwrap().uid())
}

fn ready(world: &World, key: &ObjectKey) -> String {
    condition(&world.sandboxes.read(key).unwrap(), "Ready")
}

fn launched() -> (World, ObjectKey) {
    let mut world = World::new(1);
    let key = key("a");
    world.sandboxes.create(&key, spec(false, false));
    world.quiet();
    world.advance(Duration::from_millis(900));
    world.run_pod(&key);
    world.quiet();
    (world, key)
}

#[test]
fn a_launch_is_one_pod_create_and_one_status_write() {
    let (mut world, key) = launched();
    assert_eq!(ready(&world, &key), "True/DependenciesReady");
    assert_eq!(status_writes(&world, &key), 1);
    assert_eq!(cluster_writes(&world), [(ChildKind::Pod, WriteVerb::Create, 1)]);
    world.settle();
    assert_eq!(status_writes(&world, &key), 1, "nothing more is written at rest");
    assert_eq!(cluster_writes(&world), [(ChildKind::Pod, WriteVerb::Create, 1)]);
}

#[test]
fn suspend_and_resume_are_one_status_write_each() {
    let (mut world, key) = launched();
    world.sandboxes.edit(&key, "operatingMode", json!("Suspended"));
    world.quiet();
    assert_eq!(status_writes(&world, &key), 1, "Suspending is skipped if it is quick");
    world.run_pod(&key);
    world.quiet();
    assert_eq!(ready(&world, &key), "False/SandboxSuspended");
    assert_eq!(status_writes(&world, &key), 2);
    world.sandboxes.edit(&key, "operatingMode", json!("Running"));
    world.quiet();
    world.run_pod(&key);
    world.quiet();
    assert_eq!(ready(&world, &key), "True/DependenciesReady");
    assert_eq!(status_writes(&world, &key), 3);
    let expected = [(ChildKind::Pod, WriteVerb::Create, 2), (ChildKind::Pod, WriteVerb::Delete, 1)];
    assert_eq!(cluster_writes(&world), expected);
}

#[test]
fn a_slow_launch_tells_after_the_window() {
    let mut world = World::new(1);
    let key = key("a");
    world.sandboxes.create(&key, spec(false, false));
    world.quiet();
    assert_eq!(status_writes(&world, &key), 0);
    world.advance(Duration::from_secs(2));
    world.quiet();
    assert_eq!(ready(&world, &key), "False/DependenciesNotReady");
    assert_eq!(status_writes(&world, &key), 1);
}

#[test]
fn a_rejected_pod_is_told_at_once() {
    let mut world = World::new(1);
    let key = key("a");
    world.cluster.script(Fault::Rejected("pods \"a\" is forbidden: exceeded quota".into()));
    world.sandboxes.create(&key, spec(false, false));
    world.quiet();
    let object = world.sandboxes.read(&key).unwrap();
    assert_eq!(condition(&object, "Ready"), "False/ReconcilerError");
    let text = object.at("status").unwrap().to_string();
    assert!(text.contains("exceeded quota"), "{text}");
}

#[test]
fn in_a_namespace_that_ends_nothing_is_tried_over_and_over() {
    let mut world = World::new(1);
    let key = key("a");
    (0..2).for_each(|_| world.cluster.script(Fault::NamespaceEnds));
    world.sandboxes.create(&key, spec(false, false));
    let creations = |world: &World| world.cluster.writes().of(ChildKind::Pod, WriteVerb::Create);
    for (seconds, expected) in [(0, 1), (29, 1), (1, 2), (29, 2)] {
        world.advance(Duration::from_secs(seconds));
        world.quiet();
        assert_eq!(creations(&world), expected);
    }
    let object = world.sandboxes.read(&key).unwrap();
    assert_eq!(condition(&object, "Ready"), "False/ReconcilerError");
    assert!(object.at("status").unwrap().to_string().contains("terminated"));
}

#[test]
fn expiry_takes_pod_and_service_or_the_sandbox() {
    for (policy, remains) in [("Retain", true), ("Delete", false)] {
        let mut world = World::new(1);
        let key = key("a");
        let mut spec = spec(true, true);
        spec["shutdownTime"] = "2026-01-01T00:01:00Z".into();
        spec["shutdownPolicy"] = policy.into();
        world.sandboxes.create(&key, spec);
        world.quiet();
        world.run_pod(&key);
        world.quiet();
        assert_eq!(ready(&world, &key), "True/DependenciesReady");
        world.settle();
        assert_eq!(world.sandboxes.read(&key).is_some(), remains);
        assert!(!world.cluster.exists(ChildKind::Pod, &key));
        assert!(!world.cluster.exists(ChildKind::Service, &key));
        let claim = ObjectKey::namespaced("ns", "data-a");
        assert_eq!(world.cluster.exists(ChildKind::Claim, &claim), remains, "{policy}");
        if remains {
            assert_eq!(ready(&world, &key), "False/SandboxExpired");
        }
    }
}

#[test]
fn without_a_runtime_class_nothing_starts_until_there_is_one() {
    let mut world = World::new(1);
    let key = key("a");
    let mut spec = spec(false, false);
    spec["isolation"] = json!({ "level": "UserKernel" });
    world.sandboxes.create(&key, spec);
    world.quiet();
    assert_eq!(ready(&world, &key), "False/IsolationUnavailable");
    assert!(world.cluster.pods().is_empty());
    let class = RuntimeClassView { name: "gvisor".into(), handler: "runsc".into() };
    world.cluster.set_runtime_classes(vec![class]);
    world.settle();
    assert_eq!(ready(&world, &key), "True/DependenciesReady");
    let spec = world.cluster.pods().remove(0).spec.unwrap();
    assert_eq!(spec.runtime_class_name.as_deref(), Some("gvisor"));
}

#[test]
fn a_restart_replaces_the_pod_once() {
    let (mut world, key) = launched();
    let uid = |world: &World| world.cluster.pods()[0].metadata.uid.clone();
    let before = uid(&world);
    world.sandboxes.annotate(&key, sandbox_api::keys::RESTARTED_AT, "2026-01-01T00:00:01Z");
    world.settle();
    assert_ne!(uid(&world), before);
    assert_eq!(ready(&world, &key), "True/DependenciesReady");
    let (kind, verb) = (ChildKind::Pod, WriteVerb::Create);
    assert_eq!(world.cluster.writes().of(kind, verb), 2);
}

/// Nobody's, marked for adoption, and without the label that the watches look for.
fn adoptable() -> ObjectMeta {
    ObjectMeta {
        name: Some("a".into()),
        namespace: Some("ns".into()),
        labels: Some([(sandbox_api::keys::ADOPTABLE.to_owned(), "true".to_owned())].into()),
        ..ObjectMeta::default()
    }
}

#[test]
fn marked_objects_of_nobody_are_adopted() {
    let mut world = World::new(1);
    let key = key("a");
    world.cluster.put(Child::Pod(Box::new(Pod { metadata: adoptable(), ..Pod::default() })));
    let service = Service { metadata: adoptable(), ..Service::default() };
    world.cluster.put(Child::Service(Box::new(service)));
    let before = world.cluster.pods().remove(0).metadata.uid;
    world.sandboxes.create(&key, spec(true, false));
    world.settle();
    assert_eq!(ready(&world, &key), "True/DependenciesReady");
    let pods = world.cluster.pods();
    assert_eq!((pods.len(), &pods[0].metadata.uid), (1, &before));
    let sandbox = world.sandboxes.read(&key).unwrap();
    assert!(ChildMeta::of(&pods[0].metadata).owned_by(sandbox.uid()));
    let patches = |kind| world.cluster.writes().of(kind, WriteVerb::Patch);
    assert_eq!((patches(ChildKind::Pod), patches(ChildKind::Service)), (1, 1));
}
