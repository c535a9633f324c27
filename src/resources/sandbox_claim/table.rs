use crate::resources::columns::{PathColumn, at, ready};

pub(in crate::resources) const COLUMNS: &[PathColumn] = &[
    PathColumn {
        name: "Sandbox",
        kind: "string",
        json_path: ".status.sandbox.name",
        priority: 0,
        description: "The Sandbox that the claim is bound to.",
        cell: |object| at(object, "status.sandbox.name"),
    },
    PathColumn {
        name: "Ready",
        kind: "string",
        json_path: ".status.conditions[?(@.type==\"Ready\")].status",
        priority: 0,
        description: "Whether the Sandbox of the claim can be used.",
        cell: |object| ready(object, "status"),
    },
    PathColumn {
        name: "Launch",
        kind: "string",
        json_path: ".status.sandbox.launchType",
        priority: 0,
        description: "Whether the Sandbox came from stock or was made for the claim.",
        cell: |object| at(object, "status.sandbox.launchType"),
    },
    PathColumn {
        name: "Pool",
        kind: "string",
        json_path: ".spec.warmPoolRef.name",
        priority: 0,
        description: "The warm pool that the claim is for.",
        cell: |object| at(object, "spec.warmPoolRef.name"),
    },
    PathColumn {
        name: "Reason",
        kind: "string",
        json_path: ".status.conditions[?(@.type==\"Ready\")].reason",
        priority: 1,
        description: "Why the claim is ready or not.",
        cell: |object| ready(object, "reason"),
    },
];
