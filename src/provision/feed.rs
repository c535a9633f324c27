//! Which changes of Sandboxes concern the loop: not the echo of its own status writes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use apiserver::meta::{Object, ObjectKey};
use sandbox_api::keys;
use serde_json::Value;

use super::sandboxes::Notice;

/// The Sandboxes known.
#[derive(Debug, Default)]
pub(super) struct Feed(HashMap<ObjectKey, Seen>);

/// When to look at a Sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Now,
    /// It is somebody's now and else as it was: all that is left to do is to say so on its Pod.
    Claimed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Of all that a plan depends on but the status.
    digest: u64,
    generation: i64,
    is_claimed: bool,
}

impl Feed {
    /// The key to look at and when, if the notice is one that matters.
    pub(super) fn take(&mut self, notice: &Notice) -> Option<(ObjectKey, Look)> {
        match notice {
            Notice::Changed(object) => {
                let (key, seen) = (object.key(), Seen::of(object));
                let before = self.0.insert(key.clone(), seen);
                (before != Some(seen)).then(|| (key, seen.look(before)))
            }
            Notice::Gone(key) => {
                self.0.remove(key);
                Some((key.clone(), Look::Now))
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
            self.0.insert(key, Seen::of(object));
        }
        old.into_keys().chain(self.0.keys().cloned()).collect()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.keys()
    }
}

impl Seen {
    fn of(object: &Object) -> Self {
        Self {
            digest: digest(object),
            generation: object.generation(),
            is_claimed: object.label(keys::CLAIM_UID).is_some(),
        }
    }

    fn look(self, before: Option<Self>) -> Look {
        match before {
            Some(before)
                if self.is_claimed
                    && !before.is_claimed
                    && self.generation == before.generation =>
            {
                Look::Claimed
            }
            _ => Look::Now,
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_of_stock_is_followed_later_and_all_else_at_once() {
        let object = |generation: i64, labels: &Value, status: &str| {
            let metadata = json!({
                "namespace": "ns", "name": "a", "uid": "u",
                "generation": generation, "labels": labels,
            });
            let object = json!({"metadata": metadata, "status": {"phase": status}});
            Notice::Changed(Arc::new(Object::from_value(object).unwrap()))
        };
        let (stock, claimed) = (json!({}), json!({(keys::CLAIM_UID): "c"}));
        let other = json!({(keys::CLAIM_UID): "d"});
        let gone = Notice::Gone(ObjectKey::namespaced("ns", "a"));
        let mut feed = Feed::default();
        for (step, notice, expected) in [
            ("new", object(1, &stock, "Pending"), Some(Look::Now)),
            ("an echo of the status", object(1, &stock, "Running"), None),
            ("claimed", object(1, &claimed, "Running"), Some(Look::Claimed)),
            ("told again", object(1, &claimed, "Running"), None),
            ("another claim's", object(1, &other, "Running"), Some(Look::Now)),
            ("nobody's", object(1, &stock, "Running"), Some(Look::Now)),
            ("claimed, with a new spec", object(2, &claimed, "Running"), Some(Look::Now)),
            ("gone", gone, Some(Look::Now)),
            ("made for a claim", object(1, &claimed, "Pending"), Some(Look::Now)),
        ] {
            let got = feed.take(&notice).map(|(_, look)| look);
            assert_eq!(got, expected, "{step}");
        }
    }
}
