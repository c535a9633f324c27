//! Rules of `ObjectMeta`
//! (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go`, `pkg/util/validation`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::field::{ErrorType, FieldError};
use crate::meta::Object;
use crate::warnings::Warnings;

pub(crate) const ORPHAN_FINALIZER: &str = "orphan";
pub(crate) const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
const STANDARD_FINALIZERS: &[&str] = &[ORPHAN_FINALIZER, FOREGROUND_FINALIZER, "kubernetes"];
const STRING_FIELDS: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
];
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const SUBDOMAIN_CHARS_MAX: usize = 253;
const QUALIFIED_NAME_CHARS_MAX: usize = 63;
const LABEL_VALUE_CHARS_MAX: usize = 63;

const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
    alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
    (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_TEXT: &str = "a qualified name must consist of alphanumeric characters, '-', '_' \
    or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  \
    or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an \
    optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
    'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Rules of a DNS-1123 subdomain; none broken = empty.
pub(crate) fn subdomain_errors(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_CHARS_MAX {
        errors.push(format!("must be no more than {SUBDOMAIN_CHARS_MAX} bytes"));
    }
    let label_is_fine = |label: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !name.split('.').all(label_is_fine) {
        errors.push(SUBDOMAIN_TEXT.to_owned());
    }
    errors
}

/// Rules of label and annotation keys: `[domain/]name`.
pub(crate) fn qualified_name_errors(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let part = match name.split_once('/') {
        None => name,
        Some((_, rest)) if rest.contains('/') => return vec![QUALIFIED_TEXT.to_owned()],
        Some(("", part)) => {
            errors.push("prefix part must be non-empty".to_owned());
            part
        }
        Some((prefix, part)) => {
            errors.extend(subdomain_errors(prefix).into_iter().map(|e| format!("prefix part {e}")));
            part
        }
    };
    if part.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if part.len() > QUALIFIED_NAME_CHARS_MAX {
        errors.push(format!("name part must be no more than {QUALIFIED_NAME_CHARS_MAX} bytes"));
    }
    if !is_name_part(part) {
        errors.push(NAME_PART_TEXT.to_owned());
    }
    errors
}

/// Rules of label values.
pub(crate) fn label_value_errors(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_VALUE_CHARS_MAX {
        errors.push(format!("must be no more than {LABEL_VALUE_CHARS_MAX} bytes"));
    }
    if !value.is_empty() && !is_name_part(value) {
        errors.push(LABEL_VALUE_TEXT.to_owned());
    }
    errors
}

fn is_name_part(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Members that are not the strings they must be. Checked before the metadata is used: a number
/// as `resourceVersion` must not pass for an absent one.
pub(super) fn type_errors(object: &Object) -> Vec<FieldError> {
    let Some(metadata) = object.metadata() else { return Vec::new() };
    STRING_FIELDS
        .iter()
        .filter_map(|field| Some((field, metadata.get(*field)?)))
        .filter(|(_, value)| !value.is_string() && !value.is_null())
        .map(|(field, value)| {
            FieldError::type_invalid(format!("metadata.{field}"), value, "must be of type string")
        })
        .collect()
}

/// Everything wrong with an object's metadata, apart from what only an update can break.
pub(super) fn validate(object: &Object, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(metadata) = object.metadata() else {
        return vec![FieldError::required("metadata", "")];
    };
    names(metadata, namespaced, &mut errors);
    labels(metadata.get("labels"), &mut errors);
    annotations(metadata.get("annotations"), &mut errors);
    owner_references(metadata.get("ownerReferences"), &mut errors);
    finalizers(metadata.get("finalizers"), &mut errors);
    errors
}

fn names(metadata: &Map<String, Value>, namespaced: bool, errors: &mut Vec<FieldError>) {
    if let Some(base) = metadata.get("generateName").and_then(Value::as_str) {
        // The suffix makes a trailing dash or dot fine.
        let masked =
            base.strip_suffix(['-', '.']).map_or_else(|| base.to_owned(), |b| format!("{b}a"));
        if !base.is_empty() {
            for detail in subdomain_errors(&masked) {
                errors.push(FieldError::invalid("metadata.generateName", &base.into(), &detail));
            }
        }
    }
    match metadata.get("name").and_then(Value::as_str).unwrap_or_default() {
        "" => {
            errors.push(FieldError::required("metadata.name", "name or generateName is required"))
        }
        name => {
            for detail in subdomain_errors(name) {
                errors.push(FieldError::invalid("metadata.name", &name.into(), &detail));
            }
        }
    }
    let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match (namespaced, namespace) {
        (true, "") => errors.push(FieldError::required("metadata.namespace", "")),
        (false, "") => {}
        (false, _) => {
            errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"))
        }
        (true, namespace) if subdomain_errors(namespace).is_empty() => {}
        (true, namespace) => errors.push(FieldError::invalid(
            "metadata.namespace",
            &namespace.into(),
            SUBDOMAIN_TEXT,
        )),
    }
}

fn labels(labels: Option<&Value>, errors: &mut Vec<FieldError>) {
    for (key, value) in strings("metadata.labels", labels, errors) {
        for detail in qualified_name_errors(key) {
            errors.push(FieldError::invalid("metadata.labels", &key.into(), &detail));
        }
        for detail in label_value_errors(value) {
            errors.push(FieldError::invalid("metadata.labels", &value.into(), &detail));
        }
    }
}

fn annotations(annotations: Option<&Value>, errors: &mut Vec<FieldError>) {
    let mut total_bytes = 0;
    for (key, value) in strings("metadata.annotations", annotations, errors) {
        for detail in qualified_name_errors(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &key.into(), &detail));
        }
        total_bytes += key.len() + value.len();
    }
    if total_bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX));
    }
}

/// The entries of a map of strings; anything else in it is an error.
fn strings<'a>(
    field: &str,
    map: Option<&'a Value>,
    errors: &mut Vec<FieldError>,
) -> Vec<(&'a str, &'a str)> {
    match map {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(map)) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map {
                match value.as_str() {
                    Some(text) => entries.push((key.as_str(), text)),
                    None => errors.push(FieldError::type_invalid(
                        format!("{field}.{key}"),
                        value,
                        "must be of type string",
                    )),
                }
            }
            entries
        }
        Some(other) => {
            errors.push(FieldError::type_invalid(field, other, "must be of type object"));
            Vec::new()
        }
    }
}

fn owner_references(references: Option<&Value>, errors: &mut Vec<FieldError>) {
    let field = "metadata.ownerReferences";
    let references = match references {
        None | Some(Value::Null) => return,
        Some(Value::Array(references)) => references,
        Some(other) => {
            errors.push(FieldError::type_invalid(field, other, "must be of type array"));
            return;
        }
    };
    let mut controller: Option<String> = None;
    for (index, reference) in references.iter().enumerate() {
        let text = |name: &str| reference.get(name).and_then(Value::as_str).unwrap_or_default();
        if !text("apiVersion").contains('/') && text("apiVersion") != "v1" {
            errors.push(FieldError::invalid(
                format!("{field}[{index}].apiVersion"),
                &text("apiVersion").into(),
                "version must not be empty",
            ));
        }
        for name in ["kind", "name", "uid"] {
            if text(name).is_empty() {
                errors.push(FieldError::invalid(
                    format!("{field}[{index}].{name}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        if reference.get("controller").and_then(Value::as_bool) != Some(true) {
            continue;
        }
        let name = format!("{}/{}", text("kind"), text("name"));
        if let Some(first) = &controller {
            let detail = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references \
                 for {first} and {name}"
            );
            errors.push(FieldError::invalid(field, &Value::Array(references.clone()), &detail));
        } else {
            controller = Some(name);
        }
    }
}

fn finalizers(finalizers: Option<&Value>, errors: &mut Vec<FieldError>) {
    let field = "metadata.finalizers";
    let finalizers = match finalizers {
        None | Some(Value::Null) => return,
        Some(Value::Array(finalizers)) => finalizers,
        Some(other) => {
            errors.push(FieldError::type_invalid(field, other, "must be of type array"));
            return;
        }
    };
    for finalizer in finalizers {
        let Some(name) = finalizer.as_str() else {
            errors.push(FieldError::type_invalid(field, finalizer, "must be of type string"));
            continue;
        };
        for detail in qualified_name_errors(name) {
            errors.push(FieldError::invalid(field, finalizer, &detail));
        }
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(field, finalizer, detail));
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has(ORPHAN_FINALIZER) && has(FOREGROUND_FINALIZER) {
        let detail =
            format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set");
        errors.push(FieldError::invalid(field, &Value::Array(finalizers.clone()), &detail));
    }
}

/// What an update may not do to the metadata.
pub(super) fn validate_update(new: &Object, old: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let value = |object: &Object, field: &str| {
        object.metadata().and_then(|m| m.get(field)).cloned().unwrap_or_default()
    };
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"] {
        if value(new, field) != value(old, field) {
            let path = format!("metadata.{field}");
            errors.push(FieldError::invalid(path, &value(new, field), "field is immutable"));
        }
    }
    if value(new, "deletionGracePeriodSeconds") != value(old, "deletionGracePeriodSeconds") {
        errors.push(FieldError::invalid(
            "metadata.deletionGracePeriodSeconds",
            &value(new, "deletionGracePeriodSeconds"),
            "field is immutable; may only be changed via deletion",
        ));
    }
    if old.deletion_timestamp().is_some() {
        let before = old.finalizers();
        let added: BTreeSet<String> =
            new.finalizers().into_iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            let list = added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            errors.push(FieldError::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new \
                     finalizers []string{{{list}}}"
                ),
            ));
        }
    }
    errors
}

/// Drops repeated owner references, which would confuse the garbage collector, with a warning.
pub(super) fn dedupe_owner_references(object: &mut Object, warnings: &Warnings) {
    let Some(references) =
        object.metadata().and_then(|m| m.get("ownerReferences")).and_then(Value::as_array)
    else {
        return;
    };
    let mut kept: Vec<Value> = Vec::with_capacity(references.len());
    let mut repeated = BTreeSet::new();
    for reference in references {
        if kept.contains(reference) {
            let uid = reference.get("uid").and_then(Value::as_str).unwrap_or_default();
            repeated.insert(uid.to_owned());
        } else {
            kept.push(reference.clone());
        }
    }
    if !repeated.is_empty() {
        let uids = repeated.into_iter().collect::<Vec<_>>().join(", ");
        warnings.add(format!(
            "metadata.ownerReferences contains duplicate entries; they were removed (uid: {uids})"
        ));
        object.set_meta("ownerReferences", kept);
    }
}

/// `metadata.resourceVersion` of an update that must have one; Go prints its zero as `0x0`.
pub(super) fn missing_resource_version() -> FieldError {
    let field = "metadata.resourceVersion";
    FieldError::raw(ErrorType::Invalid, field, "0x0", "must be specified for an update")
}

#[cfg(test)]
mod tests;
