use crate::resources::columns::{PathColumn, at};

pub(in crate::resources) const COLUMNS: &[PathColumn] = &[
    PathColumn {
        name: "Isolation",
        kind: "string",
        json_path: ".spec.isolation.level",
        priority: 0,
        description: "The level of isolation asked for.",
        cell: |object| at(object, "spec.isolation.level"),
    },
    PathColumn {
        name: "Service",
        kind: "boolean",
        json_path: ".spec.service",
        priority: 0,
        description: "Whether each Sandbox gets a Service.",
        cell: |object| at(object, "spec.service"),
    },
];
