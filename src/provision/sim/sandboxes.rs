//! A registry of Sandboxes in memory.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use apiserver::clock::new_uid;
use apiserver::meta::{GroupResource, Object, ObjectKey};
use apiserver::status::ApiError;
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use sandbox_api::{SandboxStatus, keys};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::provision::sandboxes::{Notice, Sandboxes, Snapshot};

#[derive(Debug)]
pub(super) struct FakeSandboxes {
    state: Mutex<State>,
    notices: broadcast::Sender<Notice>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectKey, Arc<Object>>,
    revision: i64,
    /// Status writes that changed something, by uid.
    writes: BTreeMap<String, u64>,
    /// This many status writes fail.
    faults: u32,
}

impl Default for FakeSandboxes {
    fn default() -> Self {
        Self { state: Mutex::default(), notices: broadcast::channel(65_536).0 }
    }
}

impl FakeSandboxes {
    /// A user creates a Sandbox; nothing if the name is taken.
    pub(super) fn create(&self, key: &ObjectKey, spec: Value) {
        if !self.state().objects.contains_key(key) {
            self.put(new_object(key, spec));
        }
    }

    /// A pool makes a member.
    pub(super) fn stock(&self, key: &ObjectKey, pool: &ObjectKey, spec: Value) {
        let owner = json!({"kind": "SandboxWarmPool", "name": pool.name, "controller": true});
        let mut object = new_object(key, spec);
        object.set_meta("labels", json!({ (keys::WARM_POOL_SANDBOX): "hash" }));
        object.set_meta("ownerReferences", json!([owner]));
        self.put(object);
    }

    /// A user changes the spec.
    pub(super) fn edit(&self, key: &ObjectKey, field: &str, value: Value) {
        let Some(mut object) = self.read(key) else { return };
        if object.at(&format!("spec.{field}")) == Some(&value) {
            return;
        }
        object.0["spec"][field] = value;
        let generation = object.generation() + 1;
        object.set_meta("generation", generation);
        self.put(object);
    }

    pub(super) fn annotate(&self, key: &ObjectKey, name: &str, value: &str) {
        if let Some(mut object) = self.read(key) {
            object.set_meta("annotations", json!({ name: value }));
            self.put(object);
        }
    }

    /// A claim takes it from stock.
    pub(super) fn claim(&self, key: &ObjectKey, uid: &str) {
        if let Some(mut object) = self.read(key) {
            object.set_meta("labels", json!({ (keys::CLAIM_UID): uid }));
            self.put(object);
        }
    }

    pub(super) fn remove(&self, key: &ObjectKey) {
        let removed = self.state().objects.remove(key);
        if let Some(object) = removed {
            let uid = Some(object.uid().to_owned());
            drop(self.notices.send(Notice::Gone { key: key.clone(), uid }));
        }
    }

    pub(super) fn read(&self, key: &ObjectKey) -> Option<Object> {
        self.state().objects.get(key).map(|object| (**object).clone())
    }

    pub(super) fn all(&self) -> Vec<Arc<Object>> {
        self.state().objects.values().cloned().collect()
    }

    pub(super) fn status_writes(&self, uid: &str) -> u64 {
        self.state().writes.get(uid).copied().unwrap_or_default()
    }

    pub(super) fn fail(&self, count: u32) {
        self.state().faults = count;
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn put(&self, mut object: Object) {
        let mut state = self.state();
        state.revision += 1;
        object.set_resource_version(state.revision);
        let object = Arc::new(object);
        state.objects.insert(object.key(), Arc::clone(&object));
        drop(state);
        drop(self.notices.send(Notice::Changed(object)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn new_object(key: &ObjectKey, spec: Value) -> Object {
    let metadata = json!({
        "name": key.name, "namespace": key.namespace, "uid": new_uid(), "generation": 1,
    });
    Object::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

fn resource() -> GroupResource {
    GroupResource { group: "sandbox.x-k8s.io".into(), resource: "sandboxes".into() }
}

#[async_trait]
impl Sandboxes for FakeSandboxes {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Arc<Object>>, ApiError> {
        pause().await;
        Ok(self.state().objects.get(key).cloned())
    }

    async fn list(&self) -> Result<Snapshot, ApiError> {
        let state = self.state();
        let items = state.objects.values().cloned().collect();
        Ok(Snapshot { items, revision: state.revision })
    }

    async fn watch(&self, _revision: i64) -> Result<BoxStream<'static, Notice>, ApiError> {
        let notices = stream::unfold(self.subscribe(), |mut notices| async {
            let notice = notices.recv().await.ok()?;
            Some((notice, notices))
        });
        Ok(notices.boxed())
    }

    async fn update_status(
        &self,
        key: &ObjectKey,
        uid: &str,
        generation: i64,
        status: &SandboxStatus,
    ) -> Result<Option<SandboxStatus>, ApiError> {
        pause().await;
        let mut object =
            self.read(key).ok_or_else(|| ApiError::not_found(&resource(), &key.name))?;
        if object.uid() != uid || object.generation() != generation {
            return Err(ApiError::modified(&resource(), &key.name));
        }
        {
            let mut state = self.state();
            if state.faults > 0 {
                state.faults -= 1;
                return Err(ApiError::internal("the fake was told so"));
            }
        }
        let status = serde_json::to_value(status).unwrap();
        let mut before = None;
        if object.0.get("status") != Some(&status) {
            let replaced = object.0.insert("status".into(), status);
            before = replaced
                .map_or(Some(SandboxStatus::default()), |it| serde_json::from_value(it).unwrap());
            *self.state().writes.entry(uid.to_owned()).or_default() += 1;
            self.put(object);
        }
        pause().await;
        Ok(before)
    }

    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), ApiError> {
        pause().await;
        match self.read(key) {
            Some(object) if object.uid() == uid => self.remove(key),
            _ => return Err(ApiError::not_found(&resource(), &key.name)),
        }
        Ok(())
    }
}

/// A place where the simulation may interrupt a pass.
async fn pause() {
    let mut first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}
