//! Which changes of Sandboxes concern the loop: not the echo of its own status writes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use apiserver::meta::{Object, ObjectKey};
use serde_json::Value;

use super::sandboxes::Notice;

/// The Sandboxes known, each with a digest of all that a plan depends on but the status.
#[derive(Debug, Default)]
pub(super) struct Feed(HashMap<ObjectKey, u64>);

impl Feed {
    /// The key to look at, if the notice is one that matters.
    pub(super) fn take(&mut self, notice: &Notice) -> Option<ObjectKey> {
        match notice {
            Notice::Changed(object) => {
                let key = object.key();
                let digest = digest(object);
                (self.0.insert(key.clone(), digest) != Some(digest)).then_some(key)
            }
            Notice::Gone(key) => {
                self.0.remove(key);
                Some(key.clone())
            }
            Notice::Lost => None,
        }
    }

    /// Starts anew from a list; keys that are not in it any more are returned with the rest.
    pub(super) fn replace<'a>(
        &mut self,
        items: impl Iterator<Item = &'a Object>,
    ) -> Vec<ObjectKey> {
        let mut old = std::mem::take(&mut self.0);
        for object in items {
            let key = object.key();
            old.remove(&key);
            self.0.insert(key, digest(object));
        }
        old.into_keys().chain(self.0.keys().cloned()).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.keys()
    }
}

/// The generation stands for the spec.
fn digest(object: &Object) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.uid().hash(&mut hasher);
    object.generation().hash(&mut hasher);
    object.deletion_timestamp().hash(&mut hasher);
    for field in ["metadata.labels", "metadata.annotations"] {
        object.at(field).map(Value::to_string).hash(&mut hasher);
    }
    hasher.finish()
}
