//! Columns that are values at a path, so that the served Table and the generated CRD form show
//! the same.

use apiserver::meta::Object;
use apiserver::resource::Column;
use serde_json::Value;

use super::{sandbox, sandbox_claim, sandbox_template, sandbox_warm_pool};

/// A [`Column`] with the JSONPath that means the same as its cell.
pub(super) struct PathColumn {
    pub name: &'static str,
    pub kind: &'static str,
    pub json_path: &'static str,
    /// 0 always, 1 with `-o wide` only.
    pub priority: i32,
    pub description: &'static str,
    pub cell: fn(&Object) -> Value,
}

impl PathColumn {
    pub(super) fn column(&self) -> Column {
        Column {
            name: self.name,
            kind: self.kind,
            description: self.description,
            priority: self.priority,
            cell: self.cell,
        }
    }
}

/// The columns of a kind, without Name and Age.
pub(super) fn of(plural: &str) -> &'static [PathColumn] {
    match plural {
        "sandboxes" => sandbox::COLUMNS,
        "sandboxtemplates" => sandbox_template::COLUMNS,
        "sandboxclaims" => sandbox_claim::COLUMNS,
        "sandboxwarmpools" => sandbox_warm_pool::COLUMNS,
        _ => &[],
    }
}

/// The value at a dotted path; `Null` when absent.
pub(super) fn at(object: &Object, path: &str) -> Value {
    object.at(path).cloned().unwrap_or_default()
}

/// A field of the condition `Ready`.
pub(super) fn ready(object: &Object, field: &str) -> Value {
    object
        .at("status.conditions")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"))
        .and_then(|condition| condition.get(field))
        .cloned()
        .unwrap_or_default()
}
