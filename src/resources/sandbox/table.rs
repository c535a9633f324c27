use serde_json::Value;

use crate::resources::columns::{PathColumn, at, ready};

pub(in crate::resources) const COLUMNS: &[PathColumn] = &[
    PathColumn {
        name: "Phase",
        kind: "string",
        json_path: ".status.phase",
        priority: 0,
        description: "Where the Sandbox is in its life.",
        cell: |object| at(object, "status.phase"),
    },
    PathColumn {
        name: "Ready",
        kind: "string",
        json_path: ".status.conditions[?(@.type==\"Ready\")].status",
        priority: 0,
        description: "Whether the Sandbox can be used.",
        cell: |object| ready(object, "status"),
    },
    PathColumn {
        name: "Mode",
        kind: "string",
        json_path: ".spec.operatingMode",
        priority: 1,
        description: "The operating mode asked for.",
        cell: |object| at(object, "spec.operatingMode"),
    },
    PathColumn {
        name: "Isolation",
        kind: "string",
        json_path: ".spec.isolation.level",
        priority: 1,
        description: "The level of isolation asked for.",
        cell: |object| at(object, "spec.isolation.level"),
    },
    PathColumn {
        name: "Node",
        kind: "string",
        json_path: ".status.nodeName",
        priority: 1,
        description: "The node of the Pod.",
        cell: |object| at(object, "status.nodeName"),
    },
    PathColumn {
        name: "Pod",
        kind: "string",
        json_path: ".status.podName",
        priority: 1,
        description: "The name of the Pod.",
        cell: |object| at(object, "status.podName"),
    },
    PathColumn {
        name: "IP",
        kind: "string",
        json_path: ".status.podIPs[0]",
        priority: 1,
        description: "The first address of the Pod.",
        cell: |object| {
            object.at("status.podIPs").and_then(|all| all.get(0)).cloned().unwrap_or_default()
        },
    },
    PathColumn {
        name: "Last Used",
        kind: "date",
        json_path: ".status.lastActivityTime",
        priority: 1,
        description: "How long ago a stream was open, as far as the server that answers knows.",
        cell: |object| at(object, "status.lastActivityTime"),
    },
    PathColumn {
        name: "Template",
        kind: "string",
        json_path: ".metadata.annotations.sandbox\\.x-k8s\\.io/sandbox-template-ref",
        priority: 1,
        description: "The template the Sandbox was made from.",
        cell: |object| {
            object
                .annotation(sandbox_api::keys::SANDBOX_TEMPLATE_REF)
                .map_or(Value::Null, Into::into)
        },
    },
];
