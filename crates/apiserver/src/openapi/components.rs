//! The schemas of a document: kinds, their lists, the types they use, and `meta/v1`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::{Map, Value, json};

use super::names;
use crate::meta::Gvk;
use crate::resource::{ResourceDef, Subresource};
use crate::schema::{INT_OR_STRING, QUANTITY, collect, reference};

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Schemas by name.
#[derive(Debug, Default)]
pub(super) struct Components {
    schemas: BTreeMap<String, Value>,
}

impl Components {
    pub(super) fn collect(defs: &[&ResourceDef]) -> Self {
        let mut components = Self::default();
        components.add_meta(defs);
        let mut local = Local::default();
        for def in defs {
            local.known.insert(def.gvk.kind.clone(), def.schema.root().clone());
        }
        for def in defs {
            local.add(def, &mut components.schemas);
            components.add_kind(def);
        }
        for action in defs.iter().flat_map(|def| &def.subresources) {
            if let Subresource::Action(action) = action {
                components.add_action_kind(&action.input);
                components.add_action_kind(&action.output);
            }
        }
        components
    }

    pub(super) fn into_schemas(self) -> Map<String, Value> {
        self.schemas.into_iter().collect()
    }

    /// The reference to a kind's schema.
    pub(super) fn kind(&self, gvk: &Gvk) -> Value {
        reference(&kind_name(gvk))
    }

    fn add_meta(&mut self, defs: &[&ResourceDef]) {
        let mut schemas = Map::new();
        collect::<meta::ObjectMeta>(&mut schemas);
        collect::<meta::ListMeta>(&mut schemas);
        collect::<meta::Status>(&mut schemas);
        collect::<meta::DeleteOptions>(&mut schemas);
        collect::<meta::Patch>(&mut schemas);
        collect::<meta::WatchEvent<Value>>(&mut schemas);
        collect::<meta::Time>(&mut schemas);
        collect::<meta::APIResourceList>(&mut schemas);
        let scaled = |sub: &Subresource| matches!(sub, Subresource::Scale { .. });
        if defs.iter().any(|def| def.subresources.iter().any(scaled)) {
            collect::<Scale>(&mut schemas);
        }
        for (name, schema) in schemas {
            self.insert(name, schema);
        }
        let core = Gvk::new("", "v1", "");
        let own = defs.first().map(|def| def.gvk.clone()).unwrap_or_else(|| core.clone());
        self.mark(&format!("{META}.Status"), &[Gvk::new("", "v1", "Status")]);
        for kind in ["DeleteOptions", "WatchEvent"] {
            let kinds = [&core, &own].map(|gvk| Gvk::new(&gvk.group, &gvk.version, kind));
            self.mark(&format!("{META}.{kind}"), &kinds);
        }
        self.mark(&format!("{META}.APIResourceList"), &[Gvk::new("", "v1", "APIResourceList")]);
        self.mark(SCALE, &[Gvk::new("autoscaling", "v1", "Scale")]);
    }

    fn add_kind(&mut self, def: &ResourceDef) {
        let gvk = &def.gvk;
        let name = kind_name(gvk);
        if let Some(Value::Object(schema)) = self.schemas.get_mut(&name) {
            schema.insert("description".into(), def.description.into());
        }
        self.mark(&name, std::slice::from_ref(gvk));
        let list = Gvk::new(&gvk.group, &gvk.version, &def.list_kind());
        let schema = json!({
            "description": format!("{} is a list of {} objects.", list.kind, gvk.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"description": API_VERSION, "type": "string"},
                "items": {
                    "description": "The objects.", "type": "array", "items": reference(&name),
                },
                "kind": {"description": KIND, "type": "string"},
                "metadata": {
                    "description": "Standard list metadata.",
                    "allOf": [reference(&format!("{META}.ListMeta"))],
                    "default": {},
                },
            },
        });
        self.schemas.insert(kind_name(&list), schema);
        self.mark(&kind_name(&list), &[list]);
    }

    /// The kind of an action's body or answer, free-form unless some schema describes it.
    fn add_action_kind(&mut self, gvk: &Gvk) {
        let name = kind_name(gvk);
        self.schemas.entry(name.clone()).or_insert_with(|| {
            json!({
                "description": format!("{} is the message of an action.", gvk.kind),
                "type": "object",
                "properties": {
                    "apiVersion": {"description": API_VERSION, "type": "string"},
                    "kind": {"description": KIND, "type": "string"},
                    "metadata": {
                        "description": "Standard object metadata.",
                        "allOf": [reference(&format!("{META}.ObjectMeta"))],
                        "default": {},
                    },
                },
                "x-kubernetes-preserve-unknown-fields": true,
            })
        });
        if self.schemas[&name]["x-kubernetes-group-version-kind"].is_null() {
            self.mark(&name, std::slice::from_ref(gvk));
        }
    }

    fn insert(&mut self, name: String, schema: Value) {
        self.schemas.insert(name.clone(), published(&name, schema));
    }

    fn mark(&mut self, name: &str, kinds: &[Gvk]) {
        if let Some(Value::Object(schema)) = self.schemas.get_mut(name) {
            let kinds: Value = kinds.iter().map(gvk_value).collect();
            schema.insert("x-kubernetes-group-version-kind".into(), kinds);
        }
    }
}

/// `{"group": …, "kind": …, "version": …}`.
pub(super) fn gvk_value(gvk: &Gvk) -> Value {
    json!({"group": gvk.group, "kind": gvk.kind, "version": gvk.version})
}

/// The name of a kind's schema; kinds of Kubernetes itself keep the names they have there.
fn kind_name(gvk: &Gvk) -> String {
    match (gvk.group.as_str(), gvk.kind.as_str()) {
        ("autoscaling", "Scale") => SCALE.into(),
        ("", "Status" | "DeleteOptions") => format!("{META}.{}", gvk.kind),
        ("meta.k8s.io", kind) => format!("{META}.{kind}"),
        (group, kind) => names::schema_name(group, &gvk.version, kind),
    }
}

/// The types of one group-version that have a name of their own, shared by its kinds.
#[derive(Default)]
struct Local {
    known: BTreeMap<String, Value>,
}

impl Local {
    /// Adds a kind with its types, under full names. Two kinds may use one name for two types:
    /// the later one then carries its kind in front.
    fn add(&mut self, def: &ResourceDef, schemas: &mut BTreeMap<String, Value>) {
        let own = def.schema.definitions();
        let mut renamed: BTreeSet<&str> = BTreeSet::new();
        let differs =
            |name: &str, schema: &Value| self.known.get(name).is_some_and(|known| known != schema);
        loop {
            let more: Vec<&str> = own
                .iter()
                .filter(|(name, schema)| {
                    !name.contains('.')
                        && !renamed.contains(name.as_str())
                        && (differs(name, schema)
                            || (self.known.contains_key(*name) && refers_to(schema, &renamed)))
                })
                .map(|(name, _)| name.as_str())
                .collect();
            if more.is_empty() {
                break;
            }
            renamed.extend(more);
        }
        let Gvk { group, version, kind } = &def.gvk;
        let full = |name: &str| {
            if name.contains('.') {
                name.to_owned()
            } else if renamed.contains(name) {
                names::schema_name(group, version, &format!("{kind}{name}"))
            } else {
                names::schema_name(group, version, name)
            }
        };
        let mut root = def.schema.root().clone();
        requalify(&mut root, &full);
        schemas.insert(kind_name(&def.gvk), root);
        for (name, schema) in own {
            let full_name = full(name);
            // The kind itself, when it contains itself, is there already.
            if schemas.contains_key(&full_name) {
                continue;
            }
            let mut schema = schema.clone();
            requalify(&mut schema, &full);
            schemas.insert(full_name, published(name, schema));
        }
        for (name, schema) in own.iter().filter(|(name, _)| !renamed.contains(name.as_str())) {
            self.known.entry(name.clone()).or_insert_with(|| schema.clone());
        }
    }
}

/// Types whose published form differs from the structural one.
fn published(name: &str, mut schema: Value) -> Value {
    let form = match name {
        INT_OR_STRING => json!({"format": "int-or-string",
                                "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        QUANTITY => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        _ => return schema,
    };
    if let (Some(schema), Value::Object(form)) = (schema.as_object_mut(), form) {
        schema.shift_remove("x-kubernetes-int-or-string");
        schema.extend(form);
    }
    schema
}

fn refers_to(schema: &Value, names: &BTreeSet<&str>) -> bool {
    match schema {
        Value::Object(map) => map.iter().any(|(member, value)| match value.as_str() {
            Some(target) if member == "$ref" => {
                target.rsplit('/').next().is_some_and(|name| names.contains(name))
            }
            _ => refers_to(value, names),
        }),
        Value::Array(items) => items.iter().any(|item| refers_to(item, names)),
        _ => false,
    }
}

fn requalify(schema: &mut Value, full: &impl Fn(&str) -> String) {
    match schema {
        Value::Object(map) => {
            for (member, value) in map {
                match value.as_str().and_then(|target| target.strip_prefix(PREFIX)) {
                    Some(name) if member == "$ref" => {
                        *value = format!("{PREFIX}{}", full(name)).into();
                    }
                    _ => requalify(value, full),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| requalify(item, full)),
        _ => {}
    }
}

const PREFIX: &str = "#/components/schemas/";
const API_VERSION: &str = "The group and version of this representation, as group/version.";
const KIND: &str = "The kind of this object, in CamelCase. Cannot be changed.";
