//! Names in the documents: schemas, operations, tags.
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/openapi` (`GetOperationIDAndTags`) for operations;
//! the definitions of built-in kinds for schemas.

use crate::meta::Gvk;

/// `sandbox.x-k8s.io`, `v1beta1`, `Sandbox` → `io.x-k8s.sandbox.v1beta1.Sandbox`.
pub(super) fn schema_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').rev().filter(|part| !part.is_empty()).collect();
    parts.extend([version, kind]);
    parts.join(".")
}

/// `list` + group + version + `rest`, for example `listSandboxXK8sIoV1beta1NamespacedSandbox`.
pub(super) fn operation_id(verb: &str, gvk: &Gvk, rest: &str) -> String {
    let group = camel(trimmed(&gvk.group), true);
    format!("{verb}{group}{}{}", camel(&gvk.version, true), camel(rest, true))
}

/// `sandboxXK8sIo_v1beta1`.
pub(super) fn tag(gvk: &Gvk) -> String {
    format!("{}_{}", group_tag(&gvk.group), camel(&gvk.version, false))
}

/// `sandboxXK8sIo`.
pub(super) fn group_tag(group: &str) -> String {
    camel(trimmed(group), false)
}

/// Drops what may not stand in an identifier and starts the next part with a capital.
pub(super) fn camel(text: &str, capital: bool) -> String {
    let mut next_capital = capital;
    let mut name = String::with_capacity(text.len());
    for (index, letter) in text.chars().enumerate() {
        if letter.is_alphabetic() || letter == '_' || (index > 0 && letter.is_numeric()) {
            if next_capital {
                name.extend(letter.to_uppercase());
            } else {
                name.push(letter);
            }
            next_capital = false;
        } else {
            next_capital = true;
        }
    }
    name
}

fn trimmed(group: &str) -> &str {
    group.strip_suffix(".k8s.io").unwrap_or(group)
}
