//! One number for all of an object.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

/// The same for equal objects whatever the order of their members.
pub(super) fn digest(object: &Value) -> u64 {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("apiVersion");
        members.remove("kind");
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
    }
    let mut hasher = DefaultHasher::new();
    feed(&object, &mut hasher);
    hasher.finish()
}

fn feed(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_unstable();
            keys.len().hash(hasher);
            for key in keys {
                key.hash(hasher);
                feed(&members[key], hasher);
            }
        }
        Value::Array(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| feed(item, hasher));
        }
        scalar => scalar.to_string().hash(hasher),
    }
}
