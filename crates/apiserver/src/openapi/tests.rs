use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::*;
use crate::meta::Gvk;
use crate::registry::Strategy;
use crate::resource::{
    Action, ActionDef, ActionRequest, ActionResponse, Connect, ConnectDef, ConnectRequest,
    Subresource,
};
use crate::schema::Schema;
use crate::status::ApiError;

mod streams;

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct Sandbox {
    metadata: ObjectMeta,
    /// What is wanted.
    spec: Spec,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
struct Spec {
    /// The Pod to make.
    pod_template: PodTemplate,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct PodTemplate {
    /// The Pod's own spec.
    spec: PodSpec,
}

mod other {
    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    pub(super) struct Flunder {
        pub(super) spec: Spec,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    pub(super) struct Spec {
        pub(super) reference: Option<String>,
    }
}

struct Plain;

impl Strategy for Plain {}

#[async_trait]
impl Connect for Plain {
    async fn connect(
        &self,
        _: ConnectRequest<'_>,
    ) -> Result<http::Response<crate::server::Body>, ApiError> {
        Err(ApiError::generic_not_found())
    }
}

#[async_trait]
impl Action for Plain {
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError> {
        Ok(ActionResponse { code: 200, object: request.body.unwrap_or_default() })
    }
}

fn def(gvk: Gvk, plural: &'static str, namespaced: bool, schema: Schema) -> ResourceDef {
    ResourceDef {
        gvk,
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced,
        strategy: Arc::new(Plain),
        columns: Vec::new(),
        schema: Arc::new(schema),
        selectable_fields: &[],
        indexed_labels: &[],
        subresources: Vec::new(),
        creation: None,
        decorator: None,
        description: "A thing to try.",
    }
}

fn sandboxes() -> ResourceDef {
    let group = "sandbox.x-k8s.io";
    let mut def = def(
        Gvk::new(group, "v1beta1", "Sandbox"),
        "sandboxes",
        true,
        Schema::for_type::<Sandbox>(),
    );
    let scale = Subresource::Scale {
        replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: "status.selector",
    };
    let action = Subresource::Action(ActionDef {
        name: "suspend",
        input: Gvk::new(group, "v1beta1", "SuspendOptions"),
        output: Gvk::new(group, "v1beta1", "Sandbox"),
        parameters: &[("grace", "How long."), ("dryRun", "As everywhere.")],
        dry_run: false,
        handler: Arc::new(Plain),
    });
    let stream = |name, methods, takes_path| {
        Subresource::Connect(ConnectDef {
            name,
            methods,
            options: Gvk::new(group, "v1beta1", "StreamOptions"),
            parameters: &[("container", "Which.")],
            takes_path,
            needs_create: true,
            handler: Arc::new(Plain),
        })
    };
    let exec = stream("exec", &["GET", "POST"], false);
    let proxy = stream("proxy", &["GET", "DELETE"], true);
    def.subresources = vec![Subresource::Status, scale, action, exec, proxy];
    def
}

fn pools() -> ResourceDef {
    let gvk = Gvk::new("sandbox.x-k8s.io", "v1beta1", "Pool");
    def(gvk, "pools", false, Schema::for_type::<other::Flunder>())
}

pub(super) fn built() -> OpenApi {
    OpenApi::build(&[&sandboxes(), &pools()], "sandbox-apiserver", "v0.1.0")
}

fn v3() -> Value {
    serde_json::from_slice(built().v3_group("apis/sandbox.x-k8s.io/v1beta1").unwrap().0).unwrap()
}

fn v2() -> Value {
    serde_json::from_slice(built().v2().0).unwrap()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (member, value) in map {
                match value.as_str() {
                    Some(target) if member == "$ref" => {
                        found.insert(target.to_owned());
                    }
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "parameters" {
                all.push((path.clone(), method.clone(), operation.clone()));
            }
        }
    }
    all
}

#[test]
fn every_reference_resolves() {
    let documents = built();
    let all = documents.groups.values().map(|document| (&document.bytes, "#/components/schemas/"));
    for (bytes, prefix) in all.chain([(documents.v2().0, "#/definitions/")]) {
        let document: Value = serde_json::from_slice(bytes).unwrap();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            assert!(target.starts_with(prefix), "{target}");
            assert!(document.pointer(&target[1..]).is_some(), "{target}");
        }
    }
}

#[test]
fn operations_have_the_names_of_kubernetes() {
    let all = operations(&v3());
    let ids: BTreeSet<&str> =
        all.iter().map(|(_, _, it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "operation ids are unique");
    let expected = [
        "getSandboxXK8sIoV1beta1APIResources",
        "listSandboxXK8sIoV1beta1SandboxForAllNamespaces",
        "listSandboxXK8sIoV1beta1NamespacedSandbox",
        "createSandboxXK8sIoV1beta1NamespacedSandbox",
        "deleteSandboxXK8sIoV1beta1CollectionNamespacedSandbox",
        "readSandboxXK8sIoV1beta1NamespacedSandbox",
        "replaceSandboxXK8sIoV1beta1NamespacedSandboxStatus",
        "patchSandboxXK8sIoV1beta1NamespacedSandboxScale",
        "createSandboxXK8sIoV1beta1NamespacedSandboxSuspend",
        "listSandboxXK8sIoV1beta1Pool",
        "deleteSandboxXK8sIoV1beta1CollectionPool",
    ];
    for id in expected {
        assert!(ids.contains(id), "{id} in {ids:?}");
    }
    assert!(all.iter().all(|(_, _, it)| it["tags"] == json!(["sandboxXK8sIo_v1beta1"])));
}

#[test]
fn patches_say_what_is_served() {
    for document in [v3(), v2()] {
        let all = operations(&document);
        let patches: Vec<_> = all.iter().filter(|(_, method, _)| method == "patch").collect();
        assert_eq!(patches.len(), 4);
        for (path, _, patch) in patches {
            let types: Vec<String> = match patch["requestBody"]["content"].as_object() {
                Some(content) => content.keys().cloned().collect(),
                None => serde_json::from_value(patch["consumes"].clone()).unwrap(),
            };
            assert_eq!(types, ["application/json-patch+json", "application/merge-patch+json"]);
            let names: Vec<&str> = patch["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|it| it["name"].as_str())
                .collect();
            for name in ["dryRun", "fieldManager", "fieldValidation"] {
                assert!(names.contains(&name), "{path}");
            }
            assert!(!names.contains(&"force"));
        }
    }
}

#[test]
fn parameters_do_not_repeat() {
    let document = v3();
    for (path, method, operation) in operations(&document) {
        let own = operation["parameters"].as_array().cloned().unwrap_or_default();
        let of_path =
            document["paths"][&path]["parameters"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> =
            own.iter().chain(&of_path).map(|it| it["name"].as_str().unwrap()).collect();
        let unique: BTreeSet<&&str> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{method} {path}");
    }
}

#[test]
fn kinds_are_found_as_kubectl_explain_does() {
    let document = v3();
    let path = "/apis/sandbox.x-k8s.io/v1beta1/sandboxes";
    let gvk = &document["paths"][path]["get"]["x-kubernetes-group-version-kind"];
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let with_gvk = |schema: &Value| {
        schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|all| all.contains(gvk))
    };
    let found: Vec<_> = schemas.iter().filter(|(_, schema)| with_gvk(schema)).collect();
    let [(name, schema)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(*name, "io.x-k8s.sandbox.v1beta1.Sandbox");
    assert_eq!(schema["description"], "A thing to try.");
    // spec.podTemplate.spec.containers, by way of allOf and $ref.
    let mut at = (*schema).clone();
    for field in ["spec", "podTemplate", "spec", "containers"] {
        at = at["properties"][field].clone();
        let target = at["$ref"].as_str().or_else(|| at["allOf"][0]["$ref"].as_str());
        if let Some(target) = target {
            at = document.pointer(&target[1..]).unwrap().clone();
        }
    }
    assert_eq!(at["type"], "array");
    assert!(at["description"].is_string());
    let container = "#/components/schemas/io.k8s.api.core.v1.Container";
    assert_eq!(at["items"]["$ref"], container);
    assert_eq!(schemas["io.k8s.api.core.v1.Container"]["required"], json!(["name"]));
}

#[test]
fn lists_actions_and_scale_have_schemas() {
    let document = v3();
    let schemas = &document["components"]["schemas"];
    let list = &schemas["io.x-k8s.sandbox.v1beta1.SandboxList"];
    assert_eq!(list["x-kubernetes-group-version-kind"][0]["kind"], "SandboxList");
    assert_eq!(
        list["properties"]["items"]["items"]["$ref"],
        "#/components/schemas/io.x-k8s.sandbox.v1beta1.Sandbox"
    );
    let base = "/apis/sandbox.x-k8s.io/v1beta1/namespaces/{namespace}/sandboxes/{name}";
    let suspend = &document["paths"][format!("{base}/suspend")]["post"];
    assert_eq!(suspend["x-kubernetes-group-version-kind"]["kind"], "SuspendOptions");
    assert_eq!(
        suspend["requestBody"]["content"]["*/*"]["schema"]["$ref"],
        "#/components/schemas/io.x-k8s.sandbox.v1beta1.SuspendOptions"
    );
    let scale = &document["paths"][format!("{base}/scale")]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["group"], "autoscaling");
    for name in ["ObjectMeta", "ListMeta", "Status", "DeleteOptions", "Patch", "WatchEvent", "Time"]
    {
        assert!(schemas[format!("{}.{name}", components::META)].is_object(), "{name}");
    }
    let quantity = &schemas[crate::schema::QUANTITY];
    assert_eq!(quantity["oneOf"], json!([{"type": "string"}, {"type": "number"}]));
}

#[test]
fn two_types_of_one_name_stay_two() {
    let document = v3();
    let schemas = &document["components"]["schemas"];
    assert!(schemas["io.x-k8s.sandbox.v1beta1.Spec"]["properties"]["podTemplate"].is_object());
    let second = &schemas["io.x-k8s.sandbox.v1beta1.PoolSpec"];
    assert!(second["properties"]["reference"].is_object());
    assert_eq!(
        schemas["io.x-k8s.sandbox.v1beta1.Pool"]["properties"]["spec"]["$ref"],
        "#/components/schemas/io.x-k8s.sandbox.v1beta1.PoolSpec"
    );
}

#[test]
fn names_derive_from_any_group() {
    let gvk = Gvk::new("wardle.example.com", "v1alpha1", "Flunder");
    let def = def(gvk, "flunders", true, Schema::permissive());
    let documents = OpenApi::build(&[&def], "t", "v");
    let (bytes, _) = documents.v3_group("apis/wardle.example.com/v1alpha1").unwrap();
    let document: Value = serde_json::from_slice(bytes).unwrap();
    let name = "com.example.wardle.v1alpha1.Flunder";
    assert!(document["components"]["schemas"][name].is_object());
    let id = "listWardleExampleComV1alpha1NamespacedFlunder";
    assert!(operations(&document).iter().any(|(_, _, it)| it["operationId"] == id));
    assert_eq!(names::group_tag("metrics.k8s.io"), "metrics");
}

#[test]
fn v2_uses_words_of_swagger_only() {
    fn check(schema: &Value, at: &str) {
        for (member, value) in schema.as_object().unwrap() {
            let known = [
                "$ref",
                "properties",
                "items",
                "additionalProperties",
                "description",
                "type",
                "format",
                "required",
                "enum",
                "minimum",
                "maximum",
                "maxItems",
                "minItems",
                "uniqueItems",
                "minLength",
                "maxLength",
                "pattern",
            ];
            assert!(known.contains(&member.as_str()) || member.starts_with("x-"), "{at}.{member}");
            match member.as_str() {
                "properties" => {
                    let fields = value.as_object().unwrap();
                    fields.iter().for_each(|(name, field)| check(field, &format!("{at}.{name}")));
                }
                "items" | "additionalProperties" => check(value, at),
                _ => {}
            }
        }
    }
    let document = v2();
    assert_eq!(document["swagger"], "2.0");
    for (name, schema) in document["definitions"].as_object().unwrap() {
        check(schema, name);
    }
    let post = &document["paths"]["/apis/sandbox.x-k8s.io/v1beta1/namespaces/{namespace}/sandboxes"]
        ["post"];
    assert_eq!(post["parameters"][0]["in"], "body");
    assert_eq!(post["parameters"][1]["type"], "string");
}

#[test]
fn documents_are_the_same_every_time() {
    assert_eq!(built().v3_index(), built().v3_index());
    assert_eq!(built().v2().1, built().v2().1);
}
