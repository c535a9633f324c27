//! A Kubernetes object as JSON. Dynamic between endpoint and storage, typed inside a strategy.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Gvk, ObjectKey};

/// A JSON object with Kubernetes' metadata conventions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

impl Object {
    /// `None` unless `value` is a JSON object.
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    pub fn from_typed<T: Serialize>(typed: &T) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(typed)?)
    }

    pub fn to_typed<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0)
    }

    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    pub fn api_version(&self) -> &str {
        self.0.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    pub fn set_gvk(&mut self, gvk: &Gvk) {
        self.0.insert("apiVersion".into(), gvk.api_version().into());
        self.0.insert("kind".into(), gvk.kind.clone().into());
    }

    pub fn metadata(&self) -> Option<&Map<String, Value>> {
        self.0.get("metadata").and_then(Value::as_object)
    }

    /// The metadata, made when absent or of another type.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        let entry = self.0.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        entry.as_object_mut().expect("made an object just above")
    }

    /// A string field of the metadata; empty strings count as absent, as in Go.
    pub fn meta_str(&self, field: &str) -> Option<&str> {
        self.metadata()?.get(field)?.as_str().filter(|text| !text.is_empty())
    }

    pub fn set_meta(&mut self, field: &str, value: impl Into<Value>) {
        self.metadata_mut().insert(field.into(), value.into());
    }

    pub fn remove_meta(&mut self, field: &str) {
        if let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove(field);
        }
    }

    pub fn name(&self) -> &str {
        self.meta_str("name").unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.meta_str("namespace")
    }

    pub fn uid(&self) -> &str {
        self.meta_str("uid").unwrap_or_default()
    }

    pub fn resource_version(&self) -> Option<&str> {
        self.meta_str("resourceVersion")
    }

    pub fn set_resource_version(&mut self, revision: i64) {
        self.set_meta("resourceVersion", revision.to_string());
    }

    pub fn generation(&self) -> i64 {
        self.metadata().and_then(|m| m.get("generation")?.as_i64()).unwrap_or_default()
    }

    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.meta_str("deletionTimestamp")
    }

    pub fn finalizers(&self) -> Vec<String> {
        self.metadata()
            .and_then(|m| m.get("finalizers")?.as_array())
            .map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default()
    }

    pub fn set_finalizers(&mut self, finalizers: &[String]) {
        if finalizers.is_empty() {
            self.remove_meta("finalizers");
        } else {
            self.set_meta("finalizers", finalizers.to_vec());
        }
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("labels")?.get(key)?.as_str()
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata()?.get("annotations")?.get(key)?.as_str()
    }

    /// The owner reference of its controller, if it has one: `[apimachinery]
    /// pkg/apis/meta/v1/controller_ref.go` GetControllerOf.
    pub fn controller(&self) -> Option<&Value> {
        let owners = self.metadata()?.get("ownerReferences")?.as_array()?;
        owners.iter().find(|owner| owner["controller"] == true)
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey { namespace: self.namespace().map(str::to_owned), name: self.name().to_owned() }
    }

    /// The value at a dotted path of plain member names, for example `status.phase`.
    pub fn at(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let mut value = self.0.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        Some(value)
    }
}
