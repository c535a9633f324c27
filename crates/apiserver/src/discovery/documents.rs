//! The discovery documents as values.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::meta::Gvk;
use crate::resource::{ResourceDef, Subresource};

/// Groups with their versions, in the table's order.
pub(super) fn group_versions(defs: &[&ResourceDef]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for def in defs {
        let (group, version) = (&def.gvk.group, &def.gvk.version);
        match groups.iter_mut().find(|(known, _)| known == group) {
            Some((_, versions)) if versions.contains(version) => {}
            Some((_, versions)) => versions.push(version.clone()),
            None => groups.push((group.clone(), vec![version.clone()])),
        }
    }
    groups
}

pub(super) fn bytes(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

/// Upper-case hexadecimal SHA-512, as the Go servers make it.
pub(super) fn etag(body: &[u8]) -> String {
    Sha512::digest(body).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn group_version(group: &str, version: &str) -> Value {
    json!({ "groupVersion": format!("{group}/{version}"), "version": version })
}

pub(super) fn group(group: &str, versions: &[String], top: bool) -> Value {
    let all: Vec<Value> = versions.iter().map(|v| group_version(group, v)).collect();
    let preferred = versions.first().map(|v| group_version(group, v));
    let mut value = json!({ "name": group, "versions": all, "preferredVersion": preferred });
    if top {
        value["kind"] = "APIGroup".into();
        value["apiVersion"] = "v1".into();
    }
    value
}

pub(super) fn groups(groups: &[(String, Vec<String>)]) -> Value {
    let all: Vec<Value> = groups.iter().map(|(name, v)| group(name, v, false)).collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": all })
}

/// Verbs of the main resource, sorted as discovery wants them.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The verbs that a stream's methods are authorized as.
const VERB_OF: [(&str, &str); 5] = [
    ("DELETE", "delete"),
    ("GET", "get"),
    ("PATCH", "patch"),
    ("POST", "create"),
    ("PUT", "update"),
];

fn verbs(sub: &Subresource) -> Vec<&'static str> {
    match sub {
        Subresource::Status | Subresource::Scale { .. } => vec!["get", "patch", "update"],
        Subresource::Action(_) => vec!["create"],
        Subresource::Connect(connect) => {
            let verb = |method: &&str| VERB_OF.iter().find(|row| row.0 == *method).map(|row| row.1);
            let mut verbs: Vec<_> = connect.methods.iter().filter_map(verb).collect();
            verbs.sort_unstable();
            verbs
        }
    }
}

/// The kind a subresource answers with.
fn response_kind(def: &ResourceDef, sub: &Subresource) -> Gvk {
    match sub {
        Subresource::Status => def.gvk.clone(),
        Subresource::Scale { .. } => Gvk::new("autoscaling", "v1", "Scale"),
        Subresource::Action(action) => action.input.clone(),
        Subresource::Connect(connect) => connect.options.clone(),
    }
}

/// `APIResourceList` of one group-version.
pub(super) fn resources(group: &str, version: &str, defs: &[&ResourceDef]) -> Value {
    let mut rows = Vec::new();
    for def in defs.iter().filter(|d| d.gvk.group == group && d.gvk.version == version) {
        let mut row = json!({
            "name": def.plural,
            "singularName": def.singular,
            "namespaced": def.namespaced,
            "kind": def.gvk.kind,
            "verbs": VERBS,
            "storageVersionHash": storage_version_hash(&def.gvk),
        });
        if !def.short_names.is_empty() {
            row["shortNames"] = json!(def.short_names);
        }
        if !def.categories.is_empty() {
            row["categories"] = json!(def.categories);
        }
        rows.push(row);
        for sub in &def.subresources {
            let kind = response_kind(def, sub);
            let mut row = json!({
                "name": format!("{}/{}", def.plural, sub.name()),
                "singularName": "",
                "namespaced": def.namespaced,
                "kind": kind.kind,
                "verbs": verbs(sub),
            });
            if (kind.group.as_str(), kind.version.as_str()) != (group, version) {
                row["group"] = kind.group.into();
                row["version"] = kind.version.into();
            }
            rows.push(row);
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/{version}"),
        "resources": rows,
    })
}

/// `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
pub(super) fn aggregated(groups: &[(String, Vec<String>)], defs: &[&ResourceDef]) -> Value {
    let kind = |gvk: &Gvk| json!({ "group": gvk.group, "version": gvk.version, "kind": gvk.kind });
    let resource = |def: &ResourceDef| {
        let subs: Vec<Value> = def
            .subresources
            .iter()
            .map(|sub| {
                json!({
                    "subresource": sub.name(),
                    "responseKind": kind(&response_kind(def, sub)),
                    "verbs": verbs(sub),
                })
            })
            .collect();
        let mut row = json!({
            "resource": def.plural,
            "responseKind": kind(&def.gvk),
            "scope": if def.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": def.singular,
            "verbs": VERBS,
        });
        if !def.short_names.is_empty() {
            row["shortNames"] = json!(def.short_names);
        }
        if !def.categories.is_empty() {
            row["categories"] = json!(def.categories);
        }
        if !subs.is_empty() {
            row["subresources"] = subs.into();
        }
        row
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let rows: Vec<Value> = defs
                        .iter()
                        .filter(|d| &d.gvk.group == group && &d.gvk.version == version)
                        .map(|def| resource(def))
                        .collect();
                    json!({ "version": version, "freshness": "Current", "resources": rows })
                })
                .collect();
            json!({
                "metadata": { "name": group, "creationTimestamp": null },
                "versions": versions,
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// `[apiserver] pkg/endpoints/discovery/storageversionhash.go`
fn storage_version_hash(gvk: &Gvk) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", gvk.group, gvk.version, gvk.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_version_hash_of_a_known_kind() {
        // The value kube-apiserver itself publishes for deployments.apps.
        assert_eq!(storage_version_hash(&Gvk::new("apps", "v1", "Deployment")), "8aSe+NMegvE=");
    }
}
