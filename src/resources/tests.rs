use std::collections::BTreeSet;

use apiserver::meta::Object;
use apiserver::registry::Validation;
use apiserver::resource::{ResourceDef, Subresource};
use serde_json::{Value, json};

use super::*;

/// The definition of a kind.
pub(super) fn def(plural: &str) -> ResourceDef {
    defs(Extensions::default()).into_iter().find(|def| def.plural == plural).unwrap()
}

pub(super) fn validate_create(plural: &str, object: &Object) -> Validation {
    def(plural).strategy.validate_create(object)
}

pub(super) fn validate_update(plural: &str, new: &Object, old: &Object) -> Validation {
    def(plural).strategy.validate_update(new, old)
}

pub(super) fn errors(validation: &Validation) -> Vec<String> {
    validation.errors.iter().map(ToString::to_string).collect()
}

/// `base` with the values at the dotted paths replaced; `null` removes.
pub(super) fn with(base: &Value, changes: &[(&str, Value)]) -> Object {
    let mut object = base.clone();
    for (path, value) in changes {
        let pointer = format!("/{}", path.replace('.', "/"));
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {path}"));
        match (parent, value) {
            (Value::Object(map), Value::Null) => _ = map.remove(last),
            (parent, value) => parent[last] = value.clone(),
        }
    }
    Object::from_value(object).unwrap()
}

#[test]
fn the_table() {
    let all = defs(Extensions::default());
    let names: Vec<_> =
        all.iter().map(|def| (def.gvk.kind.as_str(), def.plural, def.short_names)).collect();
    assert_eq!(
        names,
        [
            ("Sandbox", "sandboxes", &["sbx"][..]),
            ("SandboxTemplate", "sandboxtemplates", &["sbxt"]),
            ("SandboxClaim", "sandboxclaims", &["sbxc"]),
            ("SandboxWarmPool", "sandboxwarmpools", &["sbxwp"]),
        ]
    );
    for def in &all {
        assert!(def.namespaced && def.has_status(), "{}", def.plural);
        assert_eq!(def.categories, ["all", "sandboxing"]);
        assert_eq!(def.subresource("scale").is_some(), def.plural == "sandboxwarmpools");
        let columns: BTreeSet<_> = def.columns.iter().map(|column| column.name).collect();
        assert_eq!(columns.len(), def.columns.len(), "{}", def.plural);
    }
}

#[test]
fn columns_show_what_there_is() {
    let object = Object::from_value(json!({
        "metadata": {"annotations": {"sandbox.x-k8s.io/sandbox-template-ref": "python"}},
        "spec": {"operatingMode": "Running", "isolation": {"level": "Standard"}},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Finished", "status": "False"}, {"type": "Ready", "status": "True"}],
            "nodeName": "n1",
            "podName": "a",
            "podIPs": ["10.0.0.1", "fd00::1"],
            "lastActivityTime": "2026-01-01T00:00:00Z",
        },
    }))
    .unwrap();
    let def = def("sandboxes");
    let cells: Vec<_> = def.columns.iter().map(|column| (column.cell)(&object)).collect();
    assert_eq!(
        cells,
        [
            "Running",
            "True",
            "Running",
            "Standard",
            "n1",
            "a",
            "10.0.0.1",
            "2026-01-01T00:00:00Z",
            "python",
        ]
        .map(Value::from)
    );
    for def in defs(Extensions::default()) {
        for column in &def.columns {
            assert_eq!((column.cell)(&Object::default()), Value::Null, "{}", column.name);
        }
    }
}

/// Paths of `properties` that the documents name: `a.b` and `a[].b`.
fn field_paths(schema: &Value, at: &str, into: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}.{name}");
        field_paths(field, &path, into);
        into.insert(path);
    }
    if schema["items"].is_object() {
        field_paths(&schema["items"], &format!("{at}[]"), into);
    }
}

#[test]
fn crds_describe_the_kinds() {
    let document = crd::crd(&def("sandboxwarmpools"));
    assert_eq!(document["metadata"]["name"], "sandboxwarmpools.sandbox.x-k8s.io");
    let version = &document["spec"]["versions"][0];
    assert_eq!(
        version["subresources"],
        json!({
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        })
    );
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        columns,
        ["Desired", "Ready", "Claimed/min", "Updated", "Template", "Strategy", "Age"]
    );
    let replicas =
        &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"];
    assert_eq!((&replicas["default"], &replicas["minimum"]), (&json!(1), &json!(0)));
}

#[test]
fn crd_columns_point_at_fields_of_the_schema() {
    for def in defs(Extensions::default()) {
        let document = crd::crd(&def);
        let schema = &document["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut paths = BTreeSet::new();
        field_paths(schema, "", &mut paths);
        for column in columns::of(def.plural) {
            let path = column.json_path.replace("[?(@.type==\"Ready\")]", "[]");
            let path = path.trim_end_matches("[0]");
            assert!(
                path.starts_with(".metadata.") || paths.contains(path),
                "{}: no field {path}",
                def.plural
            );
        }
        for sub in &def.subresources {
            if let Subresource::Scale { replicas, status_replicas, selector } = sub {
                for path in [replicas, status_replicas, selector] {
                    assert!(paths.contains(&format!(".{path}")), "no field {path}");
                }
            }
        }
    }
}

/// apiextensions accepts structural schemas only.
#[test]
fn crd_schemas_are_structural() {
    fn walk(at: &str, schema: &Value) {
        for keyword in ["$ref", "$defs", "definitions", "anyOf", "oneOf", "allOf", "nullable"] {
            assert!(schema.get(keyword).is_none(), "{at} has {keyword}");
        }
        let untyped = schema.get("x-kubernetes-int-or-string").is_some()
            || schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        assert!(untyped || schema["type"].is_string(), "{at} has no type: {schema}");
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{at}.{name}"), field);
        }
        for keyword in ["items", "additionalProperties"] {
            if schema[keyword].is_object() {
                walk(&format!("{at}[]"), &schema[keyword]);
            }
        }
    }
    for def in defs(Extensions::default()) {
        let document = crd::crd(&def);
        walk(def.plural, &document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    }
}

/// The schema as the server uses it: what it prunes, fills in and refuses.
#[test]
fn schemas_prune_default_and_validate() {
    let sandbox = json!({
        "metadata": {"name": "a", "creationTimestamp": null},
        "spec": {
            "podTemplate": {"spec": {"containers": [
                {"name": "a", "image": "b", "resources": {"limits": {"cpu": 1}}},
            ]}},
            "shutdownTime": null,
            "nonsense": 1,
        },
    });
    let def = def("sandboxes");
    let mut object = with(&sandbox, &[]);
    assert_eq!(def.schema.prune(&mut object), ["spec.nonsense"]);
    def.schema.apply_defaults(&mut object);
    assert_eq!(def.schema.validate(&object), []);
    assert_eq!(object.at("spec.operatingMode"), Some(&json!("Running")));
    assert_eq!(object.at("spec.isolation.level"), Some(&json!("Standard")));
    for (path, value) in [
        ("spec.operatingMode", json!("Paused")),
        ("spec.isolation", json!({"level": "Strong"})),
        ("spec.shutdownTime", json!("tomorrow")),
        ("spec.podTemplate", json!(null)),
        ("spec.service", json!("yes")),
        ("status", json!({"phase": "Odd"})),
    ] {
        let object = with(&sandbox, &[(path, value)]);
        let got = def.schema.validate(&object);
        assert!(got.iter().any(|error| error.field.starts_with(path)), "{path}: {got:?}");
    }
}

/// A client without a server in reach must see the defaults that the server fills in.
#[test]
fn defaults_of_schemas_and_types_agree() {
    let pod = json!({"podTemplate": {"spec": {"containers": []}}});
    let pool =
        filled::<sandbox_api::SandboxWarmPool>(&json!({"sandboxTemplateRef": {"name": "t"}}));
    assert_eq!(pool.spec.replicas, Some(pool_default().replicas()));
    let strategy = pool.spec.update_strategy.and_then(|strategy| strategy.type_);
    assert_eq!(strategy, Some(pool_default().update_strategy()));

    let sandbox = filled::<sandbox_api::Sandbox>(&pod).spec;
    let unset = sandbox_api::SandboxSpec::default();
    assert_eq!(sandbox.operating_mode, Some(unset.operating_mode()));
    assert_eq!(sandbox.shutdown_policy, Some(unset.shutdown_policy()));
    assert_eq!(sandbox.isolation.and_then(|i| i.level), Some(unset.isolation_level()));

    let template = filled::<sandbox_api::SandboxTemplate>(&pod).spec;
    let unset = sandbox_api::SandboxTemplateSpec::default();
    assert_eq!(template.network_policy_management, Some(unset.network_policy_management()));
    assert_eq!(template.env_vars_injection_policy, Some(unset.env_vars_injection_policy()));
    assert_eq!(template.volume_claim_templates_policy, Some(unset.volume_claim_templates_policy()));
    assert_eq!(template.isolation.and_then(|i| i.level), Some(unset.isolation_level()));

    let claim = filled::<sandbox_api::SandboxClaim>(&json!({"lifecycle": {}})).spec;
    let unset = sandbox_api::SandboxClaimSpec::default();
    assert_eq!(claim.on_empty_pool, Some(unset.on_empty_pool()));
    let unset = sandbox_api::ClaimLifecycle::default();
    let policy = claim.lifecycle.and_then(|lifecycle| lifecycle.shutdown_policy);
    assert_eq!(policy, Some(unset.shutdown_policy()));
}

fn pool_default() -> sandbox_api::SandboxWarmPoolSpec {
    sandbox_api::SandboxWarmPoolSpec::default()
}

/// The typed form of an object after the schema's defaults.
fn filled<T: JsonSchema + serde::de::DeserializeOwned>(spec: &Value) -> T {
    let mut object = with(&json!({"metadata": {"name": "a"}, "spec": spec}), &[]);
    Schema::for_type::<T>().apply_defaults(&mut object);
    object.to_typed().unwrap()
}
