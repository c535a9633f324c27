//! The kinds over a real etcd: defaults, validation, life cycle and actions.

use apiserver::meta::ObjectKey;
use sandbox_apiserver::cluster::ChildKind;
use serde_json::{Value, json};

use crate::product::{Product, phase};

fn sandbox(name: &str) -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "Sandbox",
        "metadata": {"name": name},
        "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    object.pointer_mut(parent).expect("the parent exists")[field] = value;
    object
}

#[tokio::test]
async fn defaults_are_filled_and_stored() {
    let product = Product::new().await;
    let created = product.create("sandboxes", sandbox("a")).await.unwrap();
    assert_eq!(created.at("spec.operatingMode"), Some(&json!("Running")));
    assert_eq!(created.at("spec.shutdownPolicy"), Some(&json!("Retain")));
    assert_eq!(created.at("spec.isolation.level"), Some(&json!("Standard")));
    assert_eq!(created.generation(), 1);
    assert_eq!(*product.sandbox("a").await.unwrap(), created);
}

#[tokio::test]
async fn bad_objects_change_nothing() {
    let product = Product::new().await;
    let good = sandbox("a");
    // plural, object, a part of the message
    let table = [
        ("sandboxes", with(good.clone(), "/spec/podTemplate", json!(null)), "spec.podTemplate"),
        (
            "sandboxes",
            with(good.clone(), "/spec/podTemplate/spec/containers", json!([])),
            "spec.podTemplate.spec.containers",
        ),
        (
            "sandboxes",
            with(good.clone(), "/spec/operatingMode", json!("Sleeping")),
            "spec.operatingMode: Unsupported value: \"Sleeping\"",
        ),
        ("sandboxes", with(good.clone(), "/spec/shutdownTime", json!("soon")), "spec.shutdownTime"),
        ("sandboxes", with(good, "/metadata/name", json!("A_B")), "metadata.name"),
        (
            "sandboxwarmpools",
            json!({"metadata": {"name": "p"}, "spec": {"replicas": -1, "sandboxTemplateRef": {"name": "t"}}}),
            "spec.replicas",
        ),
        ("sandboxclaims", json!({"metadata": {"name": "c"}, "spec": {}}), "warmPoolRef"),
        (
            "sandboxclaims",
            json!({"metadata": {"name": "c"}, "spec": {
                "warmPoolRef": {"name": "p"}, "sandboxTemplateRef": {"name": "t"}}}),
            "exactly one",
        ),
    ];
    for (plural, object, part) in table {
        let error = product.create(plural, object.clone()).await.unwrap_err();
        assert_eq!(error.code(), 422, "{object}: {error}");
        assert!(error.message().contains(part), "{object}: {error}");
    }
    for (namespace, code) in [("missing", 404), ("ending", 403)] {
        let error = product.create_in(namespace, "sandboxes", sandbox("a")).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    assert!(product.sandbox("a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn volume_claim_templates_are_immutable() {
    let product = Product::new().await;
    let claim = json!([{"metadata": {"name": "w"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    let object = with(sandbox("a"), "/spec/volumeClaimTemplates", claim);
    let mut stored = product.create("sandboxes", object).await.unwrap();
    stored.0["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] =
        json!("2Gi");
    let error = product.put(stored).await.unwrap_err();
    assert_eq!(error.code(), 422);
    assert!(error.message().contains("volumeClaimTemplates is immutable"), "{error}");
}

#[tokio::test]
async fn suspend_and_resume_wait_for_what_they_ask() {
    let product = Product::running().await;
    product.create("sandboxes", sandbox("a")).await.unwrap();
    product.until("a", |object| phase(object) == "Running").await;
    let pod = ObjectKey::namespaced("ns", "a");
    assert!(product.cluster.exists(ChildKind::Pod, &pod));

    let suspended = product.act("a", "suspend", &[("wait", "true")]).await.unwrap();
    assert_eq!((suspended.code, phase(&suspended.object)), (200, "Suspended"));
    assert!(!product.cluster.exists(ChildKind::Pod, &pod));
    let again = product.act("a", "suspend", &[]).await.unwrap();
    assert_eq!(
        again.object.resource_version(),
        suspended.object.resource_version(),
        "a repeated suspend writes nothing"
    );

    let resumed = product.act("a", "resume", &[("wait", "true")]).await.unwrap();
    assert_eq!((resumed.code, phase(&resumed.object)), (200, "Running"));
    assert!(product.cluster.exists(ChildKind::Pod, &pod));
}

#[tokio::test]
async fn actions_refuse_with_typed_errors() {
    let product = Product::new().await;
    assert_eq!(product.act("nobody", "suspend", &[]).await.unwrap_err().code(), 404);
    product.create("sandboxes", sandbox("a")).await.unwrap();
    for bad in ["5", "-1s", "56s", "x"] {
        let error = product.act("a", "suspend", &[("wait", "true"), ("timeout", bad)]).await;
        assert_eq!(error.unwrap_err().code(), 400, "{bad}");
    }
    assert_eq!(product.sandbox("a").await.unwrap().generation(), 1, "nothing was changed");
    // No loop runs here: the wait ends typed, and the wish stays.
    let query = [("wait", "true"), ("timeout", "100ms")];
    let error = product.act("a", "suspend", &query).await.unwrap_err();
    assert_eq!(error.code(), 504, "{error}");
    let kept = product.sandbox("a").await.unwrap();
    assert_eq!(kept.at("spec.operatingMode"), Some(&json!("Suspended")));
}

#[tokio::test]
async fn an_edit_does_what_the_action_does() {
    let product = Product::running().await;
    product.create("sandboxes", sandbox("a")).await.unwrap();
    let ready = product.until("a", |object| phase(object) == "Running").await;
    let mut edited = (*ready).clone();
    edited.0["spec"]["operatingMode"] = json!("Suspended");
    product.put(edited).await.unwrap();
    product.until("a", |object| phase(object) == "Suspended").await;
}
