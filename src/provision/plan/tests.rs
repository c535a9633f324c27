use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use super::*;
use crate::cluster::{Children, PodView, RuntimeClassView, name_hash};
use crate::provision::children::selector_of;

fn now() -> Timestamp {
    "2026-01-01T00:00:10Z".parse().unwrap()
}

fn sandbox(extra: &Value) -> Sandbox {
    let mut value = json!({
        "metadata": { "name": "s", "namespace": "ns", "uid": "u1", "generation": 2 },
        "spec": { "podTemplate": {
            "metadata": {
                "labels": { "app": "x", "sandbox.x-k8s.io/claim-uid": "forged" },
                "annotations": { "note": "y" },
            },
            "spec": { "containers": [{
                "name": "main", "image": "img",
                "ports": [{ "containerPort": 80 }, { "containerPort": 80, "protocol": "TCP" }],
            }] },
        } },
    });
    merge(&mut value, extra);
    serde_json::from_value(value).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The Pod that the loop itself would make, as the cluster gives it back.
fn pod(sandbox: &Sandbox, uid: &str, status: &Value) -> Pod {
    let mut pod = pod::build(sandbox, None, false);
    pod.metadata.uid = Some(uid.into());
    pod.status = serde_json::from_value(status.clone()).unwrap();
    pod
}

fn ready() -> Value {
    json!({
        "phase": "Running", "podIPs": [{ "ip": "10.0.0.1" }], "startTime": "2026-01-01T00:00:05Z",
        "conditions": [{ "type": "Ready", "status": "True" },
            { "type": "PodScheduled", "status": "True" }],
    })
}

fn observed(pods: &[Pod]) -> Observed {
    let pods = pods.iter().map(|pod| Arc::new(PodView::from(pod))).collect();
    Observed { children: Children { pods, ..Children::default() }, ..Observed::default() }
}

fn run(sandbox: &Sandbox, observed: &Observed) -> Plan {
    plan(sandbox, observed, now(), &Policy::default())
}

/// `status/reason` of a condition; empty if absent.
fn verdict(plan: &Plan, kind: &str) -> String {
    let found = plan.status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map(|condition| format!("{}/{}", condition.status, condition.reason)).unwrap_or_default()
}

fn message(plan: &Plan, kind: &str) -> String {
    let mut all = plan.status.conditions.iter();
    all.find(|condition| condition.type_ == kind).map(|c| c.message.clone()).unwrap_or_default()
}

/// The steps in short.
fn steps(plan: &Plan) -> Vec<String> {
    let text = |step: &Step| match step {
        Step::Create(child) => format!("create {} {}", child.kind(), child.key().name),
        Step::Delete { kind, key, uid, why } => format!("delete {kind} {} {uid} {why:?}", key.name),
        Step::Patch { kind, key, .. } => format!("patch {kind} {}", key.name),
        Step::DeleteSandbox { uid } => format!("delete Sandbox {uid}"),
    };
    plan.steps.iter().map(text).collect()
}

#[test]
fn a_launch_creates_claims_then_pod_then_service() {
    let sandbox = sandbox(&json!({ "spec": {
        "service": true,
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }],
    } }));
    let plan = run(&sandbox, &Observed::default());
    let expected = ["create PersistentVolumeClaim data-s", "create Pod s", "create Service s"];
    assert_eq!(steps(&plan), expected);
    assert_eq!(plan.status.phase, Some(sandbox_api::SandboxPhase::Pending));
    assert_eq!(plan.write, StatusWrite::After(Duration::from_secs(2)));
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(2)));
}

#[test]
fn the_pod_is_stable_labelled_and_tokenless() {
    let sandbox = sandbox(&json!({ "spec": {
        "service": true,
        "podTemplate": { "spec": { "volumes": [{ "name": "data" }, { "name": "tmp" }] } },
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }],
    } }));
    let pod = pod::build(&sandbox, Some("gvisor"), true);
    let labels = pod.metadata.labels.unwrap();
    assert_eq!(labels["app"], "x");
    assert_eq!(labels[crate::cluster::NAME_HASH_LABEL], name_hash("s"));
    assert!(!labels.contains_key("sandbox.x-k8s.io/claim-uid"), "reserved keys are dropped");
    let annotations = pod.metadata.annotations.unwrap();
    assert_eq!(annotations["sandbox.x-k8s.io/propagated-labels"], "app");
    let owner = &pod.metadata.owner_references.unwrap()[0];
    assert_eq!((owner.api_version.as_str(), owner.uid.as_str()), (sandbox_api::API_VERSION, "u1"));
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
    let spec = pod.spec.unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("s"));
    assert_eq!(spec.subdomain.as_deref(), Some("s"));
    assert_eq!(spec.automount_service_account_token, Some(false));
    assert_eq!(spec.runtime_class_name.as_deref(), Some("gvisor"));
    let volumes = spec.volumes.unwrap();
    assert_eq!(volumes.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["tmp", "data"]);
    assert_eq!(volumes[1].persistent_volume_claim.as_ref().unwrap().claim_name, "data-s");
}

#[test]
fn the_service_is_headless_with_each_port_once() {
    let sandbox = sandbox(&json!({}));
    let spec = service::build(&sandbox).spec.unwrap();
    assert_eq!(spec.cluster_ip.as_deref(), Some("None"));
    let ports = spec.ports.unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!((ports[0].name.as_deref(), ports[0].port), (Some("p-80-tcp"), 80));
    let selector = spec.selector.unwrap();
    assert_eq!(
        format!("{}={}", crate::cluster::NAME_HASH_LABEL, name_hash("s")),
        selector_of(&sandbox)
    );
    assert_eq!(selector.len(), 1);
}

#[test]
fn each_state_of_the_pod_has_its_reason() {
    let waiting = |reason: &str| {
        json!({ "phase": "Pending", "containerStatuses": [{
            "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": "why" } },
        }] })
    };
    let unscheduled = json!({ "phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes",
    }] });
    let cases = [
        (ready(), "Running", "True/DependenciesReady", "Pod is Ready", ""),
        (json!({}), "Pending", "False/DependenciesNotReady", "Pod is pending", ""),
        (
            waiting("ErrImagePull"),
            "Pending",
            "False/DependenciesNotReady",
            "Pod is not ready: ErrImagePull: why",
            "",
        ),
        (
            waiting("ContainerCreating"),
            "Pending",
            "False/DependenciesNotReady",
            "Pod is pending",
            "",
        ),
        (
            unscheduled,
            "Pending",
            "False/DependenciesNotReady",
            "Pod is not scheduled: Unschedulable: 0/3 nodes",
            "",
        ),
        (
            json!({ "phase": "Succeeded" }),
            "Succeeded",
            "False/PodSucceeded",
            "Pod has succeeded",
            "True/PodSucceeded",
        ),
        (
            json!({ "phase": "Failed", "reason": "Evicted", "message": "disk" }),
            "Failed",
            "False/PodFailed",
            "Pod has failed: Evicted: disk",
            "True/PodFailed",
        ),
    ];
    let sandbox = sandbox(&json!({}));
    for (status, phase, ready, text, finished) in cases {
        let plan = run(&sandbox, &observed(&[pod(&sandbox, "p1", &status)]));
        assert_eq!(steps(&plan), [""; 0], "{status}");
        assert_eq!(format!("{:?}", plan.status.phase.unwrap()), phase, "{status}");
        assert_eq!(verdict(&plan, "Ready"), ready, "{status}");
        assert_eq!(message(&plan, "Ready"), text, "{status}");
        assert_eq!(verdict(&plan, "Finished"), finished, "{status}");
        assert_eq!(verdict(&plan, "Suspended"), "False/NotSuspended", "{status}");
    }
}

#[test]
fn a_status_once_written_is_not_written_again() {
    let mut sandbox = sandbox(&json!({}));
    let world = observed(&[pod(&sandbox, "p1", &ready())]);
    let first = run(&sandbox, &world);
    assert_eq!(first.write, StatusWrite::Now);
    // Through JSON, as the registry keeps it.
    let stored = serde_json::to_value(&first.status).unwrap();
    sandbox.status = Some(serde_json::from_value(stored).unwrap());
    let later = now().saturating_add(Duration::from_millis(1500)).unwrap();
    let again = plan(&sandbox, &world, later, &Policy::default());
    assert_eq!(again.write, StatusWrite::None, "{:#?}", again.status);
}

#[test]
fn suspension_deletes_only_our_pod_and_keeps_the_rest() {
    let running = sandbox(&json!({}));
    let asked = sandbox(&json!({ "spec": { "operatingMode": "Suspended" } }));
    let mut own = pod(&running, "p1", &ready());
    let plan = run(&asked, &observed(std::slice::from_ref(&own)));
    assert_eq!(steps(&plan), ["delete Pod s p1 Suspend"]);
    assert_eq!(verdict(&plan, "Suspended"), "False/PodTerminating");
    own.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(steps(&run(&asked, &observed(&[own]))), [""; 0]);
    let plan = run(&asked, &Observed::default());
    assert_eq!(steps(&plan), [""; 0]);
    assert_eq!(verdict(&plan, "Suspended"), "True/PodTerminated");
    assert_eq!(verdict(&plan, "Ready"), "False/SandboxSuspended");
    assert!(plan.status.suspended_time.is_some());
    let foreign =
        pod(&sandbox(&json!({ "metadata": { "name": "t", "uid": "u2" } })), "p2", &ready());
    let mut foreign = foreign;
    foreign.metadata.name = Some("s".into());
    let plan = run(&asked, &observed(&[foreign]));
    assert_eq!(steps(&plan), [""; 0]);
    assert_eq!(verdict(&plan, "Suspended"), "False/PodNotOwned");
}

#[test]
fn a_taken_name_is_looked_at() {
    let sandbox = sandbox(&json!({}));
    let owner = |kind: &str, name: &str| {
        json!([{ "apiVersion": if kind == "Sandbox" { sandbox_api::API_VERSION } else { "apps/v1" },
            "kind": kind, "name": name, "uid": "other", "controller": true }])
    };
    let taken = "Pod \"s\" already exists and is not managed by Sandbox: \
                 it is controlled by ReplicaSet \"rs\"";
    let cases = [
        (owner("ReplicaSet", "rs"), json!({}), vec![], "False/ReconcilerError", taken),
        (
            json!([]),
            json!({ "app": "z" }),
            vec![],
            "False/ReconcilerError",
            "Pod \"s\" already exists and is not managed by Sandbox: \
             it has no controller and no label sandbox.x-k8s.io/adoptable=true",
        ),
        (
            json!([]),
            json!({ "sandbox.x-k8s.io/adoptable": "true" }),
            vec!["patch Pod s"],
            "False/DependenciesNotReady",
            "Pod does not exist",
        ),
        (
            owner("Sandbox", "s"),
            json!({}),
            vec![],
            "False/DependenciesNotReady",
            "Pod of the deleted Sandbox of the same name is being removed",
        ),
    ];
    for (owners, labels, expected, ready, text) in cases {
        let pod: Pod = serde_json::from_value(json!({ "metadata": {
            "name": "s", "namespace": "ns", "uid": "p", "labels": labels, "ownerReferences": owners,
        } }))
        .unwrap();
        let plan = run(&sandbox, &observed(&[pod]));
        assert_eq!(steps(&plan), expected, "{text}");
        assert_eq!(verdict(&plan, "Ready"), ready, "{text}");
        assert_eq!(message(&plan, "Ready"), text);
    }
}

#[test]
fn two_pods_fail_closed_and_deletion_stops_everything() {
    let sandbox_ = sandbox(&json!({}));
    let mut second = pod(&sandbox_, "p2", &ready());
    second.metadata.name = Some("s-2".into());
    let plan = run(&sandbox_, &observed(&[pod(&sandbox_, "p1", &ready()), second]));
    assert_eq!(steps(&plan), [""; 0]);
    assert_eq!(verdict(&plan, "Ready"), "False/MultiplePods");
    let deleting = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    let plan = run(&sandbox(&deleting), &Observed::default());
    assert_eq!((steps(&plan).len(), plan.write), (0, StatusWrite::None));
}

#[test]
fn metadata_follows_in_place_and_removed_keys_go() {
    let before = sandbox(&json!({}));
    let mut pod = pod(&before, "p1", &ready());
    pod.metadata.labels.get_or_insert_default().insert("theirs".into(), "stays".into());
    let mut after = before.clone();
    let own = after.spec.pod_template.metadata.get_or_insert_default();
    own.labels = [("team".to_owned(), "b".to_owned())].into();
    own.annotations.clear();
    let plan = run(&after, &observed(&[pod]));
    let [Step::Patch { patch, .. }] = plan.steps.as_slice() else { panic!("{:?}", plan.steps) };
    let labels = [("app".to_owned(), None), ("team".to_owned(), Some("b".to_owned()))];
    assert_eq!(patch.labels, labels.into());
    let annotations = [
        ("note".to_owned(), None),
        ("sandbox.x-k8s.io/propagated-annotations".to_owned(), None),
        ("sandbox.x-k8s.io/propagated-labels".to_owned(), Some("team".to_owned())),
    ];
    assert_eq!(patch.annotations, annotations.into());
}

#[test]
fn the_service_is_dropped_only_when_it_is_ours() {
    let asked = sandbox(&json!({ "spec": { "service": false } }));
    let mut service: Service = service::build(&asked);
    service.metadata.uid = Some("s1".into());
    for (owned, expected) in [(true, vec!["delete Service s s1 NotAsked"]), (false, vec![])] {
        if !owned {
            service.metadata.owner_references = None;
        }
        let mut world = observed(&[pod(&asked, "p1", &ready())]);
        world.children.service = Some(Arc::new((&service).into()));
        assert_eq!(steps(&run(&asked, &world)), expected);
    }
}

#[test]
fn isolation_is_never_weaker_than_asked() {
    let class =
        |name: &str, handler: &str| RuntimeClassView { name: name.into(), handler: handler.into() };
    let classes =
        [class("gvisor", "runsc"), class("kata-qemu", "kata-qemu"), class("plain", "runc")];
    let cases = [
        ("Standard", None, Ok(None)),
        ("UserKernel", None, Ok(Some("gvisor"))),
        ("VirtualMachine", None, Ok(Some("kata-qemu"))),
        ("VirtualMachine", Some("kata-qemu"), Ok(Some("kata-qemu"))),
        ("VirtualMachine", Some("plain"), Err(())),
        ("UserKernel", Some("kata-qemu"), Err(())),
    ];
    for (level, asked, expected) in cases {
        let sandbox = sandbox(&json!({ "spec": {
            "isolation": { "level": level },
            "podTemplate": { "spec": { "runtimeClassName": asked } },
        } }));
        let policy = Policy::default();
        let found = runtime_class(&sandbox, &classes, &policy).map_err(drop);
        assert_eq!(found, expected, "{level} {asked:?}");
        if level != "Standard" {
            assert!(runtime_class(&sandbox, &[], &policy).is_err(), "{level} {asked:?}");
        }
    }
}

#[test]
fn a_pod_that_ends_because_it_is_deleted_has_not_finished() {
    let sandbox = sandbox(&json!({ "spec": { "operatingMode": "Suspended" } }));
    let mut pod = pod(&sandbox, "p1", &json!({ "phase": "Succeeded" }));
    let by_itself = run(&sandbox, &observed(std::slice::from_ref(&pod)));
    assert_eq!(verdict(&by_itself, "Finished"), "True/PodSucceeded");
    pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:09Z")).ok();
    let deleted = run(&sandbox, &observed(&[pod]));
    assert_eq!(verdict(&deleted, "Finished"), "");
    assert_eq!(verdict(&deleted, "Suspended"), "False/PodTerminating");
}
