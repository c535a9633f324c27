use crate::resources::columns::{PathColumn, at};

pub(in crate::resources) const COLUMNS: &[PathColumn] = &[
    PathColumn {
        name: "Desired",
        kind: "integer",
        json_path: ".spec.replicas",
        priority: 0,
        description: "How many Sandboxes to keep in stock.",
        cell: |object| at(object, "spec.replicas"),
    },
    PathColumn {
        name: "Ready",
        kind: "integer",
        json_path: ".status.readyReplicas",
        priority: 0,
        description: "How many Sandboxes are ready in stock.",
        cell: |object| at(object, "status.readyReplicas"),
    },
    PathColumn {
        name: "Claimed/min",
        kind: "integer",
        json_path: ".status.claimedPerMinute",
        priority: 0,
        description: "How many Sandboxes were claimed in the last minute.",
        cell: |object| at(object, "status.claimedPerMinute"),
    },
    PathColumn {
        name: "Updated",
        kind: "integer",
        json_path: ".status.updatedReplicas",
        priority: 0,
        description: "How many Sandboxes in stock are of the template's present revision.",
        cell: |object| at(object, "status.updatedReplicas"),
    },
    PathColumn {
        name: "Template",
        kind: "string",
        json_path: ".spec.sandboxTemplateRef.name",
        priority: 0,
        description: "The template of the Sandboxes.",
        cell: |object| at(object, "spec.sandboxTemplateRef.name"),
    },
    PathColumn {
        name: "Strategy",
        kind: "string",
        json_path: ".spec.updateStrategy.type",
        priority: 1,
        description: "What happens to the stock when the template changes.",
        cell: |object| at(object, "spec.updateStrategy.type"),
    },
];
