//! Lists that are sets or maps: nothing may occur twice.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::field::FieldError;

pub(super) fn set(path: &str, items: &[Value], errors: &mut Vec<FieldError>) {
    for index in repeated(items) {
        errors.push(FieldError::duplicate(format!("{path}[{index}]"), &items[index]));
    }
}

/// Two items with the same keys; keys that both lack count as the same.
pub(super) fn map(path: &str, keys: &[String], items: &[Value], errors: &mut Vec<FieldError>) {
    if let Some(index) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(format!("{path}[{index}]"), &items[index], detail));
        return;
    }
    let identities: Vec<Value> = items
        .iter()
        .map(|item| {
            let present = keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
            Value::Object(present.collect::<Map<_, _>>())
        })
        .collect();
    for index in repeated(&identities) {
        errors.push(FieldError::duplicate(format!("{path}[{index}]"), &identities[index]));
    }
}

/// The index of every value's second occurrence (a third is not reported again).
pub(super) fn repeated(items: &[Value]) -> Vec<usize> {
    if items.len() < 2 {
        return Vec::new();
    }
    let mut seen: HashMap<String, u32> = HashMap::with_capacity(items.len());
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push(index);
        }
    }
    found
}
