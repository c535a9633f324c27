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
    /// It was made for stock: nobody waits for this one.
    Stocked,
}

/// What there is to look at after a list.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Those with something under way, and those that are gone: after a restart somebody may wait
    /// for one of them.
    pub(super) open: Vec<ObjectKey>,
    /// Those that most likely want nothing.
    pub(super) settled: Vec<ObjectKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Of all that a plan depends on but the status.
    digest: u64,
    generation: i64,
    is_claimed: bool,
    is_stock: bool,
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
            Notice::Gone { key, .. } => {
                self.0.remove(key);
                Some((key.clone(), Look::Now))
            }
            Notice::Lost => None,
        }
    }

    /// Starts anew from a list.
    pub(super) fn replace<'a>(&mut self, items: impl Iterator<Item = &'a Object>) -> Listed {
        let mut old = std::mem::take(&mut self.0);
        let Listed { mut open, mut settled } = Listed::default();
        for object in items {
            let key = object.key();
            old.remove(&key);
            self.0.insert(key.clone(), Seen::of(object));
            if is_settled(object) { &mut settled } else { &mut open }.push(key);
        }
        open.extend(old.into_keys());
        Listed { open, settled }
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
            is_stock: object.label(keys::WARM_POOL_SANDBOX).is_some(),
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
            None if self.is_stock => Look::Stocked,
            _ => Look::Now,
        }
    }
}

/// Whether it was last seen as it is asked to be.
fn is_settled(object: &Object) -> bool {
    let phase = object.at("status.phase").and_then(Value::as_str);
    let observed = object.at("status.observedGeneration").and_then(Value::as_i64);
    object.deletion_timestamp().is_none()
        && observed == Some(object.generation())
        && !matches!(phase, None | Some("Pending" | "Resuming" | "Suspending"))
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
    fn what_nobody_waits_for_is_looked_at_later_and_all_else_at_once() {
        let object = |generation: i64, labels: &Value, status: &str| {
            let metadata = json!({
                "namespace": "ns", "name": "a", "uid": "u",
                "generation": generation, "labels": labels,
            });
            let object = json!({"metadata": metadata, "status": {"phase": status}});
            Notice::Changed(Arc::new(Object::from_value(object).unwrap()))
        };
        let stock = json!({(keys::WARM_POOL_SANDBOX): "p"});
        let claimed = json!({(keys::CLAIM_UID): "c"});
        let other = json!({(keys::CLAIM_UID): "d"});
        let gone = Notice::Gone { key: ObjectKey::namespaced("ns", "a"), uid: None };
        let mut feed = Feed::default();
        for (step, notice, expected) in [
            ("new", object(1, &stock, "Pending"), Some(Look::Stocked)),
            ("an echo of the status", object(1, &stock, "Running"), None),
            ("claimed", object(1, &claimed, "Running"), Some(Look::Claimed)),
            ("told again", object(1, &claimed, "Running"), None),
            ("another claim's", object(1, &other, "Running"), Some(Look::Now)),
            ("nobody's", object(1, &stock, "Running"), Some(Look::Now)),
            ("claimed, with a new spec", object(2, &claimed, "Running"), Some(Look::Now)),
            ("gone", gone.clone(), Some(Look::Now)),
            ("made for a claim", object(1, &claimed, "Pending"), Some(Look::Now)),
            ("gone again", gone, Some(Look::Now)),
            ("made by a user", object(1, &json!({}), "Pending"), Some(Look::Now)),
        ] {
            let got = feed.take(&notice).map(|(_, look)| look);
            assert_eq!(got, expected, "{step}");
        }
    }

    #[test]
    fn what_is_under_way_is_told_apart() {
        let object = |name: &str, phase: &str, observed: i64, deleted: Option<&str>| {
            let metadata = json!({
                "namespace": "ns", "name": name, "generation": 2, "deletionTimestamp": deleted,
            });
            let status = json!({"phase": phase, "observedGeneration": observed});
            Object::from_value(json!({"metadata": metadata, "status": status})).unwrap()
        };
        let all = [
            object("b-running", "Running", 2, None),
            object("a-pending", "Pending", 2, None),
            object("b-suspended", "Suspended", 2, None),
            object("a-changed", "Running", 1, None),
            object("a-deleted", "Running", 2, Some("2026-01-01T00:00:00Z")),
            Object::from_value(json!({"metadata": {"namespace": "ns", "name": "a-new"}})).unwrap(),
        ];
        let mut feed = Feed::default();
        feed.take(&Notice::Changed(Arc::new(object("a-gone", "Running", 2, None))));
        let Listed { open, settled } = feed.replace(all.iter());
        assert_eq!((open.len(), settled.len()), (5, 2));
        assert!(open.iter().all(|key| key.name.starts_with('a')), "{open:?}");
        assert!(settled.iter().all(|key| key.name.starts_with('b')), "{settled:?}");
    }
}
