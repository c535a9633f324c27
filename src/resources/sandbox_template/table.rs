use crate::resources::columns::{PathColumn, at, ready};

pub(in crate::resources) const COLUMNS: &[PathColumn] = &[
    PathColumn {
        name: "Ready",
        kind: "string",
        json_path: ".status.conditions[?(@.type==\"Ready\")].status",
        priority: 0,
        description: "Whether the template is kept as asked.",
        cell: |object| ready(object, "status"),
    },
    PathColumn {
        name: "Revision",
        kind: "string",
        json_path: ".status.revision",
        priority: 0,
        description: "A hash of what makes a Pod differ.",
        cell: |object| at(object, "status.revision"),
    },
    PathColumn {
        name: "Pools",
        kind: "integer",
        json_path: ".status.users.warmPools",
        priority: 0,
        description: "How many warm pools use the template.",
        cell: |object| at(object, "status.users.warmPools"),
    },
    PathColumn {
        name: "Claims",
        kind: "integer",
        json_path: ".status.users.claims",
        priority: 0,
        description: "How many claims name the template.",
        cell: |object| at(object, "status.users.claims"),
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
        name: "Service",
        kind: "boolean",
        json_path: ".spec.service",
        priority: 1,
        description: "Whether each Sandbox gets a Service.",
        cell: |object| at(object, "spec.service"),
    },
];
