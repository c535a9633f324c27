//! A cache of one kind of child: by key and by owner, fed by a watch and by our own writes.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use apiserver::meta::ObjectKey;

use super::view::View;

/// Uids remembered as deleted, against an answer to our own write that arrives after the news of
/// the object's deletion.
const DELETED_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Cache<V>(Mutex<State<V>>);

#[derive(Debug)]
struct State<V> {
    items: HashMap<ObjectKey, Entry<V>>,
    /// Keys of the objects that each controller uid owns.
    owned: HashMap<String, BTreeSet<ObjectKey>>,
    /// The keys seen in a running relist.
    relist: Option<HashSet<ObjectKey>>,
    deleted: VecDeque<String>,
    synced: bool,
}

#[derive(Debug)]
struct Entry<V> {
    /// Comparable within one kind since Kubernetes 1.35; an unparsable one is 0.
    revision: u64,
    view: Arc<V>,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self(Mutex::new(State {
            items: HashMap::new(),
            owned: HashMap::new(),
            relist: None,
            deleted: VecDeque::new(),
            synced: false,
        }))
    }
}

impl<V: View> Cache<V> {
    pub(super) fn by_key(&self, key: &ObjectKey) -> Option<Arc<V>> {
        self.state().items.get(key).map(|entry| entry.view.clone())
    }

    pub(super) fn by_owner(&self, uid: &str) -> Vec<Arc<V>> {
        let state = self.state();
        let keys = state.owned.get(uid).into_iter().flatten();
        keys.filter_map(|key| state.items.get(key)).map(|entry| entry.view.clone()).collect()
    }

    pub(super) fn synced(&self) -> bool {
        self.state().synced
    }

    /// Takes in a state of an object; the view, if the change is one that matters. Older states
    /// and states of objects known to be deleted are dropped.
    pub(super) fn apply(&self, view: V, revision: u64) -> Option<Arc<V>> {
        let mut state = self.state();
        let key = view.meta().key.clone();
        if let Some(relist) = &mut state.relist {
            relist.insert(key.clone());
        }
        if state.deleted.contains(&view.meta().uid) {
            return None;
        }
        if let Some(entry) = state.items.get_mut(&key) {
            if entry.revision > revision {
                return None;
            }
            if *entry.view == view {
                entry.revision = revision;
                return None;
            }
        }
        let view = Arc::new(view);
        state.insert(key, Entry { revision, view: view.clone() });
        Some(view)
    }

    /// Forgets an object that is gone; its last view if it was known.
    pub(super) fn remove(&self, key: &ObjectKey, uid: &str) -> Option<Arc<V>> {
        let mut state = self.state();
        state.remember_deleted(uid);
        if state.items.get(key)?.view.meta().uid != uid {
            return None;
        }
        state.take(key).map(|entry| entry.view)
    }

    pub(super) fn relist_begin(&self) {
        self.state().relist = Some(HashSet::new());
    }

    /// Ends a relist: what it did not name is gone. Returns the last views of those.
    pub(super) fn relist_end(&self) -> Vec<Arc<V>> {
        let mut state = self.state();
        state.synced = true;
        let Some(seen) = state.relist.take() else { return Vec::new() };
        let gone: Vec<ObjectKey> =
            state.items.keys().filter(|key| !seen.contains(*key)).cloned().collect();
        gone.iter().filter_map(|key| state.take(key)).map(|entry| entry.view).collect()
    }

    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl<V: View> State<V> {
    fn insert(&mut self, key: ObjectKey, entry: Entry<V>) {
        self.take(&key);
        if let Some(owner) = &entry.view.meta().owner {
            self.owned.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        self.items.insert(key, entry);
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Entry<V>> {
        let entry = self.items.remove(key)?;
        if let Some(owner) = &entry.view.meta().owner
            && let Some(keys) = self.owned.get_mut(&owner.uid)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(&owner.uid);
            }
        }
        Some(entry)
    }

    fn remember_deleted(&mut self, uid: &str) {
        if self.deleted.len() == DELETED_MAX {
            _ = self.deleted.pop_front();
        }
        self.deleted.push_back(uid.to_owned());
    }
}

/// All kinds' caches together.
#[derive(Debug, Default)]
pub(super) struct Caches {
    pub(super) pods: Cache<super::PodView>,
    pub(super) services: Cache<super::ServiceView>,
    pub(super) claims: Cache<super::ClaimView>,
}

impl Caches {
    pub(super) fn children(&self, family: &super::Family) -> super::Children {
        let mut pods = self.pods.by_owner(&family.uid);
        if let Some(named) = self.pods.by_key(&family.sandbox)
            && !pods.iter().any(|pod| pod.meta.uid == named.meta.uid)
        {
            pods.push(named);
        }
        super::Children {
            pods,
            service: self.services.by_key(&family.sandbox),
            claims: family.claim_keys().filter_map(|key| self.claims.by_key(&key)).collect(),
        }
    }

    /// As after a first list that found nothing.
    pub(super) fn sync_empty(&self) {
        self.pods.relist_end();
        self.services.relist_end();
        self.claims.relist_end();
    }

    pub(super) fn synced(&self) -> bool {
        self.pods.synced() && self.services.synced() && self.claims.synced()
    }
}

/// The Sandbox a child belongs to: by its controller, else (adoptable ones) by its own name.
pub(super) fn sandbox_of(meta: &super::ChildMeta) -> ObjectKey {
    match &meta.owner {
        Some(owner) => {
            ObjectKey { namespace: meta.key.namespace.clone(), name: owner.name.clone() }
        }
        None => meta.key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::cluster::PodView;

    fn pod(uid: &str, owner: &str) -> PodView {
        let pod: Pod = serde_json::from_value(json!({ "metadata": {
            "name": "a", "namespace": "ns", "uid": uid, "ownerReferences": [
                { "apiVersion": "v", "kind": "Sandbox", "name": "a", "uid": owner, "controller": true }
            ],
        } }))
        .unwrap();
        PodView::from(&pod)
    }

    #[test]
    fn an_answer_that_comes_late_does_not_bring_back_the_dead() {
        let (cache, key) = (Cache::default(), ObjectKey::namespaced("ns", "a"));
        assert!(cache.apply(pod("p1", "u"), 5).is_some());
        assert!(cache.apply(pod("p1", "u"), 6).is_none(), "nothing that matters has changed");
        assert!(cache.remove(&key, "p1").is_some());
        assert!(cache.apply(pod("p1", "u"), 5).is_none(), "it is known to be gone");
        assert!(cache.by_key(&key).is_none());
        assert!(cache.apply(pod("p2", "u"), 9).is_some());
        assert!(cache.apply(pod("p0", "u"), 4).is_none(), "older than what is there");
        assert!(cache.remove(&key, "p1").is_none(), "another object of the name stays");
        assert_eq!(cache.by_owner("u").len(), 1);
    }

    #[test]
    fn a_relist_forgets_what_it_does_not_name() {
        let cache = Cache::default();
        cache.apply(pod("p1", "u"), 1);
        assert!(!cache.synced());
        cache.relist_begin();
        assert_eq!(cache.relist_end().len(), 1);
        assert!(cache.synced() && cache.by_owner("u").is_empty());
    }
}
