use kube::Resource;
use serde_json::{Value, json};

use crate::*;

#[test]
fn decodes_what_go_clients_write() {
    let sandbox: Sandbox = serde_json::from_value(json!({
        "apiVersion": API_VERSION,
        "kind": "Sandbox",
        "metadata": {"name": "a", "creationTimestamp": null},
        "spec": {
            "podTemplate": {
                "metadata": {"labels": null, "creationTimestamp": null},
                "spec": {"containers": [{"name": "main", "image": "busybox", "resources": {}}]},
            },
            "volumeClaimTemplates": null,
            "shutdownTime": null,
        },
        "status": {"conditions": null},
    }))
    .unwrap();
    assert_eq!(sandbox.metadata.name.as_deref(), Some("a"));
    assert_eq!(sandbox.spec.operating_mode(), OperatingMode::Running);
    assert_eq!(sandbox.spec.isolation_level(), IsolationLevel::Standard);
}

#[test]
fn writes_type_meta_and_nothing_unset() {
    let spec = SandboxWarmPoolSpec {
        sandbox_template_ref: ObjectReference { name: "t".into() },
        ..Default::default()
    };
    let pool = SandboxWarmPool::new("p", spec);
    let expected = json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxWarmPool",
        "metadata": {"name": "p"},
        "spec": {"sandboxTemplateRef": {"name": "t"}},
    });
    assert_eq!(serde_json::to_value(&pool).unwrap(), expected);
    assert_eq!(serde_json::from_value::<SandboxWarmPool>(expected).unwrap(), pool);
}

#[test]
fn acronyms_keep_kubernetes_case() {
    let status = json!({"podIPs": ["10.0.0.1"], "serviceFQDN": "a.b.svc"});
    let decoded: SandboxStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(serde_json::to_value(decoded).unwrap(), status);
}

#[test]
fn kube_knows_the_paths() {
    assert_eq!(
        Sandbox::url_path(&(), Some("ns")),
        "/apis/sandbox.x-k8s.io/v1beta1/namespaces/ns/sandboxes"
    );
    assert_eq!(SandboxTemplate::plural(&()), "sandboxtemplates");
    assert_eq!(SandboxClaim::plural(&()), "sandboxclaims");
    assert_eq!(SandboxWarmPool::plural(&()), "sandboxwarmpools");
}

#[test]
fn reserved_keys() {
    assert!(keys::is_reserved(keys::CLAIM_UID));
    assert!(keys::is_reserved(keys::TRACE_CONTEXT));
    assert!(!keys::is_reserved("example.com/team"));
}

fn schema<T: schemars::JsonSchema>() -> Value {
    let settings =
        schemars::generate::SchemaSettings::openapi3().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

#[test]
fn schema_carries_defaults_enums_and_list_types() {
    let sandbox = schema::<Sandbox>();
    let spec = &sandbox["properties"]["spec"]["properties"];
    assert_eq!(spec["operatingMode"]["default"], "Running");
    assert_eq!(spec["shutdownPolicy"]["default"], "Retain");
    assert_eq!(spec["isolation"]["default"], json!({"level": "Standard"}));
    assert_eq!(spec["isolation"]["properties"]["level"]["default"], "Standard");
    assert_eq!(spec["volumeClaimTemplates"]["x-kubernetes-list-type"], "atomic");
    let conditions = &sandbox["properties"]["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    assert_eq!(sandbox["required"], json!(["spec"]));
    assert_eq!(sandbox["properties"]["apiVersion"]["type"], "string");
    assert_eq!(sandbox["properties"]["metadata"].get("default"), None);

    let pool = schema::<SandboxWarmPool>();
    let replicas = &pool["properties"]["spec"]["properties"]["replicas"];
    assert_eq!((&replicas["minimum"], &replicas["default"]), (&json!(0), &json!(1)));
}

/// Every field of our own types has a text for `kubectl explain`.
#[test]
fn every_field_is_described() {
    fn walk(path: &str, schema: &Value) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{path}.{name}");
            assert!(field["description"].is_string(), "{at} has no description");
            // Kubernetes' own types are theirs to describe.
            let theirs =
                [".metadata", ".podTemplate.spec", "Templates.spec", ".ingress", ".egress"];
            if !theirs.iter().any(|end| at.ends_with(end)) {
                walk(&at, field);
            }
        }
        if schema["items"].is_object() {
            walk(path, &schema["items"]);
        }
    }
    walk("Sandbox", &schema::<Sandbox>());
    walk("SandboxTemplate", &schema::<SandboxTemplate>());
    walk("SandboxClaim", &schema::<SandboxClaim>());
    walk("SandboxWarmPool", &schema::<SandboxWarmPool>());
}
