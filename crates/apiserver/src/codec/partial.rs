//! `meta.k8s.io` PartialObjectMetadata: an object without anything but its metadata.

use serde_json::{Value, json};

use crate::meta::Object;

/// The object's metadata in the PartialObjectMetadata form of `version`.
pub fn partial(object: &Object, version: &str) -> Value {
    let metadata = object.0.get("metadata").cloned().unwrap_or_else(|| json!({}));
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
    })
}
