//! A host cluster in memory for simulations: it has the caches of the real one, and tests decide
//! when news reaches them, when Pods start and stop, and what goes wrong.

mod events;
mod policies;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use apiserver::meta::ObjectKey;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tokio::sync::broadcast;

pub use self::events::FakeEvents;
pub use self::policies::FakePolicies;
use self::truth::{Id, Stored, Truth};
use super::cache::{Caches, sandbox_of};
use super::counts::WriteVerb;
use super::{
    Change, Child, ChildKind, ChildMeta, Children, Cluster, ClusterError, Family, MetadataPatch,
    NAME_HASH_LABEL, RuntimeClassView, WriteCounts,
};

/// What goes wrong with a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach the cluster.
    Lost,
    /// It is done, but the answer does not come back.
    AnswerLost,
    Rejected(String),
    /// The namespace is being deleted.
    NamespaceEnds,
}

/// The cluster.
#[derive(Debug)]
pub struct FakeCluster {
    truth: Mutex<Truth>,
    caches: Caches,
    changes: broadcast::Sender<Change>,
    writes: WriteCounts,
}

impl Default for FakeCluster {
    fn default() -> Self {
        let caches = Caches::default();
        caches.sync_empty();
        let (changes, _) = broadcast::channel(65_536);
        Self { truth: Mutex::default(), caches, changes, writes: WriteCounts::default() }
    }
}

impl FakeCluster {
    pub fn writes(&self) -> &WriteCounts {
        &self.writes
    }

    /// The next writes end so, one each.
    pub fn script(&self, fault: Fault) {
        self.truth().faults.push_back(fault);
    }

    pub fn heal(&self) {
        self.truth().faults.clear();
    }

    pub fn set_runtime_classes(&self, classes: Vec<RuntimeClassView>) {
        self.truth().runtime_classes = classes;
        drop(self.changes.send(Change::RuntimeClasses));
    }

    /// Somebody else creates an object.
    pub fn put(&self, child: Child) {
        self.truth().store(child);
    }

    /// Lets up to `count` news reach the caches; how many did.
    pub fn deliver(&self, count: usize) -> usize {
        for delivered in 0..count {
            let Some((object, revision, gone)) = self.truth().news.pop_front() else {
                return delivered;
            };
            // The watches see only what carries the label.
            let labelled = |meta: &ObjectMeta| {
                meta.labels.as_ref().is_some_and(|labels| labels.contains_key(NAME_HASH_LABEL))
            };
            if labelled(object.meta()) {
                self.learn(&object, revision, gone);
            }
        }
        count
    }

    fn learn(&self, object: &Stored, revision: u64, gone: bool) {
        let meta = ChildMeta::of(object.meta());
        if gone {
            match object {
                Stored::Pod(_) => drop(self.caches.pods.remove(&meta.key, &meta.uid)),
                Stored::Service(_) => drop(self.caches.services.remove(&meta.key, &meta.uid)),
                Stored::Claim(_) => drop(self.caches.claims.remove(&meta.key, &meta.uid)),
            }
            drop(self.changes.send(Change::Sandbox(sandbox_of(&meta))));
        } else if self.cache(object, revision) {
            drop(self.changes.send(Change::Sandbox(sandbox_of(&meta))));
        }
    }

    fn cache(&self, object: &Stored, revision: u64) -> bool {
        match object {
            Stored::Pod(pod) => self.caches.pods.apply((&**pod).into(), revision).is_some(),
            Stored::Service(service) => {
                self.caches.services.apply((&**service).into(), revision).is_some()
            }
            Stored::Claim(claim) => self.caches.claims.apply((&**claim).into(), revision).is_some(),
        }
    }

    /// Every Pod there is.
    pub fn pods(&self) -> Vec<Pod> {
        let truth = self.truth();
        let pods = truth.objects.values().filter_map(|object| match object {
            Stored::Pod(pod) => Some((**pod).clone()),
            _ => None,
        });
        pods.collect()
    }

    pub fn exists(&self, kind: ChildKind, key: &ObjectKey) -> bool {
        self.truth().objects.contains_key(&(kind, key.clone()))
    }

    /// The kubelet's part: a Pod that is asked to go goes, a pending one becomes ready.
    pub fn run_pod(&self, key: &ObjectKey, now: Time) {
        let id = (ChildKind::Pod, key.clone());
        let mut truth = self.truth();
        let Some(Stored::Pod(mut pod)) = truth.objects.get(&id).cloned() else { return };
        if pod.metadata.deletion_timestamp.is_some() {
            truth.remove(&id);
            return;
        }
        if pod.status.as_ref().is_some_and(|status| status.phase.is_some()) {
            return;
        }
        pod.status = Some(ready_status(truth.revision, now));
        truth.update(&id, Stored::Pod(pod));
    }

    /// Sets a Pod's status.
    pub fn set_pod_status(&self, key: &ObjectKey, status: PodStatus) {
        let id = (ChildKind::Pod, key.clone());
        let mut truth = self.truth();
        let Some(Stored::Pod(mut pod)) = truth.objects.get(&id).cloned() else { return };
        pod.status = Some(status);
        truth.update(&id, Stored::Pod(pod));
    }

    /// Somebody else deletes a Pod.
    pub fn delete_pod(&self, key: &ObjectKey) {
        self.truth().delete(&(ChildKind::Pod, key.clone()));
    }

    /// The garbage collector's part: what an owner outside `uids` controls is deleted.
    pub fn collect_garbage(&self, uids: &BTreeSet<String>) {
        let mut truth = self.truth();
        let garbage = |object: &Stored| {
            let owner = ChildMeta::of(object.meta()).owner;
            owner.is_some_and(|owner| owner.kind == "Sandbox" && !uids.contains(&owner.uid))
        };
        let ids: Vec<Id> = truth
            .objects
            .iter()
            .filter(|(_, object)| garbage(object))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            truth.delete(&id);
        }
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().expect("no holder of this lock panics")
    }

    /// One write with its place to be interrupted, its fault and its echo into the caches.
    async fn write<T>(
        &self,
        kind: ChildKind,
        verb: WriteVerb,
        apply: impl FnOnce(&mut Truth) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        self.writes.add(kind, verb);
        pause().await;
        let (fault, result) = {
            let mut truth = self.truth();
            let fault = truth.faults.pop_front();
            match fault {
                Some(Fault::Lost) => return Err(unavailable()),
                Some(Fault::Rejected(message)) => return Err(ClusterError::Rejected { message }),
                Some(Fault::NamespaceEnds) => {
                    let message = "the namespace is being terminated".into();
                    return Err(ClusterError::NamespaceEnds { message });
                }
                Some(Fault::AnswerLost) | None => {}
            }
            (fault, apply(&mut truth))
        };
        pause().await;
        if fault.is_some() { Err(unavailable()) } else { result }
    }

    /// What the answer of a write tells, as the real one puts it through.
    fn echo(&self, id: &Id) {
        let (object, revision) = {
            let truth = self.truth();
            (truth.objects.get(id).cloned(), truth.revision)
        };
        if let Some(object) = object {
            let own = object.meta().resource_version.as_deref();
            self.cache(&object, own.and_then(|text| text.parse().ok()).unwrap_or(revision));
        }
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    fn children(&self, family: &Family) -> Children {
        self.caches.children(family)
    }

    async fn children_live(&self, family: &Family) -> Result<Children, ClusterError> {
        pause().await;
        let mut children = self.children(family);
        children.pods.retain(|pod| pod.meta.key != family.sandbox);
        children.service = None;
        children.claims.clear();
        let truth = self.truth();
        let claims = family.claim_keys().map(|key| (ChildKind::Claim, key));
        let own = [ChildKind::Pod, ChildKind::Service].map(|kind| (kind, family.sandbox.clone()));
        for id in own.into_iter().chain(claims) {
            match truth.objects.get(&id) {
                Some(Stored::Pod(pod)) => children.pods.push(Arc::new((&**pod).into())),
                Some(Stored::Service(service)) => {
                    children.service = Some(Arc::new((&**service).into()));
                }
                Some(Stored::Claim(claim)) => children.claims.push(Arc::new((&**claim).into())),
                None => {}
            }
        }
        Ok(children)
    }

    async fn create(&self, child: Child) -> Result<(), ClusterError> {
        let (kind, key) = (child.kind(), child.key());
        let create = |truth: &mut Truth| {
            if truth.objects.contains_key(&(kind, key.clone())) {
                return Err(ClusterError::AlreadyExists { kind, key });
            }
            Ok(truth.store(child))
        };
        let id = self.write(kind, WriteVerb::Create, create).await?;
        self.echo(&id);
        Ok(())
    }

    async fn delete(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<(), ClusterError> {
        let id = (kind, key.clone());
        let delete = |truth: &mut Truth| {
            truth.guarded(&id, uid)?;
            truth.delete(&id);
            Ok(())
        };
        self.write(kind, WriteVerb::Delete, delete).await?;
        self.echo(&id);
        Ok(())
    }

    async fn patch_metadata(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        patch: MetadataPatch,
    ) -> Result<(), ClusterError> {
        let id = (kind, key.clone());
        let change = |truth: &mut Truth| {
            let mut object = truth.guarded(&id, &patch.uid)?;
            let meta = object.meta_mut();
            merge(meta.labels.get_or_insert_default(), &patch.labels);
            merge(meta.annotations.get_or_insert_default(), &patch.annotations);
            if let Some(owner) = &patch.owner {
                meta.owner_references = Some(vec![(**owner).clone()]);
            }
            truth.update(&id, object);
            Ok(())
        };
        self.write(kind, WriteVerb::Patch, change).await?;
        self.echo(&id);
        Ok(())
    }

    fn runtime_classes(&self) -> Vec<RuntimeClassView> {
        self.truth().runtime_classes.clone()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn synced(&self) -> bool {
        true
    }
}

fn merge(into: &mut BTreeMap<String, String>, patch: &BTreeMap<String, Option<String>>) {
    for (key, value) in patch {
        match value {
            Some(value) => _ = into.insert(key.clone(), value.clone()),
            None => _ = into.remove(key),
        }
    }
}

/// The status of a Pod that runs and is ready.
pub fn ready_status(seed: u64, now: Time) -> PodStatus {
    let condition = |kind: &str| PodCondition {
        type_: kind.into(),
        status: "True".into(),
        ..PodCondition::default()
    };
    PodStatus {
        phase: Some("Running".into()),
        conditions: Some(vec![condition("PodScheduled"), condition("Ready")]),
        pod_ips: Some(vec![PodIP { ip: format!("10.0.{}.{}", seed / 250 % 250, seed % 250) }]),
        start_time: Some(now),
        ..PodStatus::default()
    }
}

fn unavailable() -> ClusterError {
    ClusterError::Unavailable { detail: "the fake was told so".into() }
}

/// A place where a simulation may interrupt, or switch to another pass.
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
