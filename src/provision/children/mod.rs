//! What a Sandbox's children look like. Pure builders; one file per kind.

pub mod claim;
pub mod pod;
pub mod service;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sandbox_api::{API_VERSION, Sandbox, keys};

use crate::cluster::{ChildMeta, NAME_HASH_LABEL, name_hash};

/// The Sandbox's name; the registry admits none without.
pub fn name_of(sandbox: &Sandbox) -> &str {
    sandbox.metadata.name.as_deref().unwrap_or_default()
}

/// The Sandbox's uid.
pub fn uid_of(sandbox: &Sandbox) -> &str {
    sandbox.metadata.uid.as_deref().unwrap_or_default()
}

/// The label selector of the Sandbox's Pod, as status shows it.
pub fn selector_of(sandbox: &Sandbox) -> String {
    format!("{NAME_HASH_LABEL}={}", name_hash(name_of(sandbox)))
}

/// Makes the Sandbox an object's controller; deletion of the Sandbox waits for the object.
pub fn owner_reference(sandbox: &Sandbox) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.into(),
        kind: "Sandbox".into(),
        name: name_of(sandbox).into(),
        uid: uid_of(sandbox).into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether the Sandbox may take over an object: nobody controls it, it stays, and it is marked.
pub fn adoptable(sandbox: &Sandbox, meta: &ChildMeta) -> bool {
    let label = |key: &str| meta.labels.get(key).map(String::as_str);
    meta.owner.is_none()
        && !meta.deleting
        && (label(keys::ADOPTABLE) == Some("true")
            || label(NAME_HASH_LABEL) == Some(&name_hash(name_of(sandbox))))
}

/// Labels that every child carries.
pub(super) fn system_labels(sandbox: &Sandbox) -> BTreeMap<String, String> {
    BTreeMap::from([(NAME_HASH_LABEL.to_owned(), name_hash(name_of(sandbox)))])
}

/// Users' keys without those that the server reserves.
fn without_reserved(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    map.iter()
        .filter(|(key, _)| !keys::is_reserved(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn metadata(
    sandbox: &Sandbox,
    name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: sandbox.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations).filter(|map| !map.is_empty()),
        owner_references: Some(vec![owner_reference(sandbox)]),
        ..ObjectMeta::default()
    }
}
