//! The kinds in the form of CustomResourceDefinitions, for editors, linters and validators of
//! GitOps pipelines. Never to be applied to a cluster that runs this server: `crds/README.md`.

use apiserver::resource::{ResourceDef, Subresource};
use serde_json::{Map, Value, json};

use super::columns;

/// The document for one kind.
pub fn crd(def: &ResourceDef) -> Value {
    let group = &def.gvk.group;
    let mut schema = def.schema.open_api_v3();
    // apiextensions knows metadata by itself and rejects a schema that describes it.
    schema["properties"]["metadata"] = json!({"type": "object"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{group}", def.plural)},
        "spec": {
            "group": group,
            "names": {
                "kind": def.gvk.kind,
                "listKind": def.list_kind(),
                "plural": def.plural,
                "singular": def.singular,
                "shortNames": def.short_names,
                "categories": def.categories,
            },
            "scope": if def.namespaced { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": def.gvk.version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": subresources(def),
                "additionalPrinterColumns": printer_columns(def),
            }],
        },
    })
}

/// Only status and scale exist for custom resources; actions and streams do not.
fn subresources(def: &ResourceDef) -> Value {
    let mut all = Map::new();
    for sub in &def.subresources {
        match sub {
            Subresource::Status => {
                all.insert("status".into(), json!({}));
            }
            Subresource::Scale { replicas, status_replicas, selector } => {
                let scale = json!({
                    "specReplicasPath": format!(".{replicas}"),
                    "statusReplicasPath": format!(".{status_replicas}"),
                    "labelSelectorPath": format!(".{selector}"),
                });
                all.insert("scale".into(), scale);
            }
            Subresource::Action(_) | Subresource::Connect(_) => {}
        }
    }
    Value::Object(all)
}

fn printer_columns(def: &ResourceDef) -> Value {
    let mut all: Vec<_> = columns::of(def.plural)
        .iter()
        .map(|column| {
            let mut printed = json!({
                "name": column.name,
                "type": column.kind,
                "description": column.description,
                "jsonPath": column.json_path,
            });
            if column.priority != 0 {
                printed["priority"] = column.priority.into();
            }
            printed
        })
        .collect();
    all.push(json!({
        "name": "Age",
        "type": "date",
        "description": "Time since creation.",
        "jsonPath": ".metadata.creationTimestamp",
    }));
    Value::Array(all)
}
