//! Query and path parameters of the operations.
//!
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1` (`ListOptions`, `CreateOptions`, …) for names
//! and types.

use serde_json::{Value, json};

/// Parameters common to a path: those in the path itself, and `pretty`.
pub(super) fn of_path(path: &str, kind: &str) -> Value {
    let mut all = Vec::new();
    if path.contains("{name}") {
        all.push(in_path("name", &format!("name of the {kind}")));
    }
    if path.contains("{namespace}") {
        all.push(in_path("namespace", "namespace of the object"));
    }
    if path.contains("{path}") {
        all.push(in_path("path", "path behind the object"));
    }
    all.push(query("pretty", "string", "Prints the answer with line breaks when \"true\"."));
    all.into()
}

pub(super) fn list() -> Vec<Value> {
    rows(LIST)
}

pub(super) fn create() -> Vec<Value> {
    rows(WRITE)
}

pub(super) fn patch() -> Vec<Value> {
    // `force` is understood by apply patches alone, which are not served.
    rows(WRITE)
}

pub(super) fn delete() -> Vec<Value> {
    rows(DELETE)
}

pub(super) fn delete_collection() -> Vec<Value> {
    let plain = LIST.iter().filter(|row| !matches!(row.0, "watch" | "allowWatchBookmarks"));
    let mut all: Vec<Value> = plain.map(row).collect();
    all.extend(rows(DELETE));
    all
}

pub(super) fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({
        "description": description, "in": "query", "name": name,
        "schema": {"type": kind, "uniqueItems": true},
    })
}

fn in_path(name: &str, description: &str) -> Value {
    json!({
        "description": description, "in": "path", "name": name, "required": true,
        "schema": {"type": "string", "uniqueItems": true},
    })
}

fn rows(table: &[(&str, &str, &str)]) -> Vec<Value> {
    table.iter().map(row).collect()
}

fn row((name, kind, description): &(&str, &str, &str)) -> Value {
    query(name, kind, description)
}

const LIST: &[(&str, &str, &str)] = &[
    ("allowWatchBookmarks", "boolean", "Lets a watch send events of type BOOKMARK."),
    ("continue", "string", "The token of the page before; all other options must be the same."),
    ("fieldSelector", "string", "Restricts the objects by their fields."),
    ("labelSelector", "string", "Restricts the objects by their labels."),
    ("limit", "integer", "The greatest number of objects in one answer; see continue."),
    ("resourceVersion", "string", "How fresh the answer must be, or where a watch starts."),
    ("resourceVersionMatch", "string", "How resourceVersion applies: Exact or NotOlderThan."),
    (
        "sendInitialEvents",
        "boolean",
        "Begins a watch with the objects there are, followed by a bookmark.",
    ),
    ("timeoutSeconds", "integer", "Ends the request after this time, whatever it is doing."),
    ("watch", "boolean", "Streams changes instead of listing."),
];

const WRITE: &[(&str, &str, &str)] = &[
    ("dryRun", "string", "With All, does everything except keeping the result."),
    (
        "fieldManager",
        "string",
        "The name of who makes the change: at most 128 printable characters.",
    ),
    (
        "fieldValidation",
        "string",
        "What to do about unknown and repeated fields: Ignore drops them silently, Warn (the \
         default) drops them with a warning, Strict refuses the request.",
    ),
];

const DELETE: &[(&str, &str, &str)] = &[
    ("dryRun", "string", "With All, does everything except keeping the result."),
    ("gracePeriodSeconds", "integer", "How long the object may take to end; 0 means at once."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents: Orphan keeps them, Background deletes them afterwards, \
         Foreground before.",
    ),
];
