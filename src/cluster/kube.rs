//! The real host cluster: the one product file that holds a `kube::Client`.

mod convert;
pub mod dial;
mod events;
mod policies;
mod streams;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::meta::ObjectKey;
use apiserver::tasks::{OnExit, Tasks};
use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::Recorder;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Notify, broadcast};

use self::convert::{merge_patch, revision, translate};
use self::watch::watched;
use super::cache::{Cache, Caches, sandbox_of};
use super::counts::WriteVerb;
use super::policies::PolicyChange;
use super::view::View;
use super::{
    Change, Child, ChildKind, Children, ClaimView, Cluster, ClusterError, Family, MetadataPatch,
    NAME_HASH_LABEL, PodView, RuntimeClassView, ServiceView, WriteCounts,
};

/// How this connection to the cluster behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Longest wait for one write or read.
    pub timeout: Duration,
    /// Longest wait for a stream to a Pod to open: the kubelet may have to start a process.
    pub stream_timeout: Duration,
    /// Changes a reader may lag behind before it has to look at everything again.
    pub changes_max: usize,
    /// Field manager of our writes.
    pub manager: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            stream_timeout: Duration::from_secs(30),
            changes_max: 16_384,
            manager: "sandbox-apiserver".into(),
        }
    }
}

/// What the client needs of a kind of child.
trait ChildResource:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + fmt::Debug
{
}

impl<K> ChildResource for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + fmt::Debug
{
}

/// The host cluster through its API server.
#[derive(Clone)]
pub struct KubeCluster(Arc<Inner>);

struct Inner {
    client: Client,
    /// For streams alone: see [`dial`].
    streaming: Client,
    /// Asks for a connection ahead of the next stream.
    spare: Notify,
    config: Config,
    caches: Caches,
    runtime_classes: Mutex<Option<Vec<RuntimeClassView>>>,
    changes: broadcast::Sender<Change>,
    policy_changes: broadcast::Sender<PolicyChange>,
    recorder: Recorder,
    writes: Arc<WriteCounts>,
}

impl fmt::Debug for KubeCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeCluster").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl KubeCluster {
    pub fn new(client: Client, streaming: Client, config: Config) -> Self {
        let (changes, _) = broadcast::channel(config.changes_max);
        let (policy_changes, _) = broadcast::channel(config.changes_max);
        let recorder = events::recorder(client.clone(), &config.manager);
        Self(Arc::new(Inner {
            client,
            streaming,
            spare: Notify::new(),
            config,
            caches: Caches::default(),
            runtime_classes: Mutex::default(),
            changes,
            policy_changes,
            recorder,
            writes: Arc::default(),
        }))
    }

    /// Starts the watches that fill the caches. Each lists again by itself after a failure.
    pub fn start(&self, tasks: &Tasks) {
        self.watch::<Pod, PodView>(tasks, "watch-pods", |inner| &inner.caches.pods);
        self.watch::<Service, ServiceView>(tasks, "watch-services", |inner| &inner.caches.services);
        self.watch::<PersistentVolumeClaim, ClaimView>(tasks, "watch-claims", |inner| {
            &inner.caches.claims
        });
        self.watch_policies(tasks);
        let (cluster, stop) = (self.clone(), tasks.stopping().clone());
        tasks.spawn("stream-connections", OnExit::Shutdown, async move {
            dial::spares(cluster.0.streaming.clone(), &cluster.0.spare, stop).await;
        });
        let cluster = self.clone();
        let stop = tasks.stopping().clone();
        tasks.spawn("watch-runtime-classes", OnExit::Shutdown, async move {
            let events = watched(
                Api::<RuntimeClass>::all(cluster.0.client.clone()),
                watcher::Config::default(),
            );
            let mut events = std::pin::pin!(events.take_until(stop.cancelled()));
            let mut next = Vec::new();
            while let Some(event) = events.next().await {
                cluster.take_runtime_class(&mut next, event);
            }
        });
    }

    /// Writes by reason, for the metrics.
    pub fn writes(&self) -> Arc<WriteCounts> {
        self.0.writes.clone()
    }

    fn watch<K, V>(&self, tasks: &Tasks, name: &'static str, cache: fn(&Inner) -> &Cache<V>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
        V: View + for<'a> From<&'a K> + Send + Sync + 'static,
    {
        let inner = self.0.clone();
        let stop = tasks.stopping().clone();
        tasks.spawn(name, OnExit::Shutdown, async move {
            let config = watcher::Config::default().labels(NAME_HASH_LABEL);
            let events = watched(Api::<K>::all(inner.client.clone()), config);
            let mut events = std::pin::pin!(events.take_until(stop.cancelled()));
            while let Some(event) = events.next().await {
                inner.take(cache(&inner), event);
            }
        });
    }

    fn take_runtime_class(&self, next: &mut Vec<RuntimeClassView>, event: Event<RuntimeClass>) {
        let mut current = self.0.runtime_classes.lock().expect("no holder of this lock panics");
        match event {
            Event::Init => return next.clear(),
            Event::InitApply(class) => return next.push((&class).into()),
            Event::InitDone => *current = Some(next.clone()),
            Event::Apply(class) => {
                let all = current.get_or_insert_default();
                all.retain(|known| known.name != class.name_any());
                all.push((&class).into());
            }
            Event::Delete(class) => {
                current.get_or_insert_default().retain(|known| known.name != class.name_any());
            }
        }
        current.get_or_insert_default().sort();
        self.0.tell(Change::RuntimeClasses);
    }

    fn namespaced<K>(&self, key: &ObjectKey) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.0.client.clone(), key.namespace.as_deref().unwrap_or_default())
    }

    /// Bounds a call and translates its error.
    async fn call<T>(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        match tokio::time::timeout(self.0.config.timeout, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(translate(kind, key, error)),
            Err(_) => Err(ClusterError::Unavailable {
                detail: format!("no answer within {:?}", self.0.config.timeout),
            }),
        }
    }

    async fn live<K>(&self, kind: ChildKind, key: &ObjectKey) -> Result<Option<K>, ClusterError>
    where
        K: ChildResource,
    {
        let api = self.namespaced::<K>(key);
        self.call(kind, key, api.get_opt(&key.name)).await
    }

    async fn create_one<K, V>(
        &self,
        kind: ChildKind,
        object: &K,
        cache: &Cache<V>,
    ) -> Result<(), ClusterError>
    where
        K: ChildResource + serde::Serialize,
        V: View + for<'a> From<&'a K>,
    {
        let key = ObjectKey { namespace: object.namespace(), name: object.name_any() };
        let api = self.namespaced::<K>(&key);
        let params = PostParams {
            field_manager: Some(self.0.config.manager.clone()),
            ..PostParams::default()
        };
        let created = self.call(kind, &key, api.create(&params, object)).await?;
        cache.apply(V::from(&created), revision(&created));
        Ok(())
    }

    async fn delete_one<K, V>(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        uid: &str,
        cache: &Cache<V>,
    ) -> Result<(), ClusterError>
    where
        K: ChildResource,
        V: View + for<'a> From<&'a K>,
    {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
            ..DeleteParams::background()
        };
        let api = self.namespaced::<K>(key);
        let answer = self.call(kind, key, api.delete(&key.name, &params)).await?;
        // A graceful deletion: the answer is the object with its deletionTimestamp.
        if let Some(object) = answer.left().filter(|o| o.meta().deletion_timestamp.is_some()) {
            cache.apply(V::from(&object), revision(&object));
        }
        Ok(())
    }

    async fn patch_one<K, V>(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        patch: &Value,
        cache: &Cache<V>,
    ) -> Result<(), ClusterError>
    where
        K: ChildResource,
        V: View + for<'a> From<&'a K>,
    {
        let params = PatchParams {
            field_manager: Some(self.0.config.manager.clone()),
            ..PatchParams::default()
        };
        let api = self.namespaced::<K>(key);
        let patched =
            self.call(kind, key, api.patch(&key.name, &params, &Patch::Merge(patch))).await?;
        cache.apply(V::from(&patched), revision(&patched));
        Ok(())
    }
}

impl Inner {
    fn take<K, V>(&self, cache: &Cache<V>, event: Event<K>)
    where
        K: Resource<DynamicType = ()>,
        V: View + for<'a> From<&'a K>,
    {
        match event {
            Event::Init => cache.relist_begin(),
            Event::InitApply(object) | Event::Apply(object) => {
                if let Some(view) = cache.apply(V::from(&object), revision(&object)) {
                    self.tell(Change::Sandbox(sandbox_of(view.meta())));
                }
            }
            Event::InitDone => {
                for view in cache.relist_end() {
                    self.tell(Change::Sandbox(sandbox_of(view.meta())));
                }
            }
            Event::Delete(object) => {
                let view = V::from(&object);
                cache.remove(&view.meta().key, &view.meta().uid);
                self.tell(Change::Sandbox(sandbox_of(view.meta())));
            }
        }
    }

    fn tell(&self, change: Change) {
        // Without a receiver nobody needs to know: a loop that starts looks at everything.
        drop(self.changes.send(change));
    }
}

#[async_trait]
impl Cluster for KubeCluster {
    fn children(&self, family: &Family) -> Children {
        self.0.caches.children(family)
    }

    async fn children_live(&self, family: &Family) -> Result<Children, ClusterError> {
        let mut children = self.children(family);
        let key = &family.sandbox;
        let pod: Option<Pod> = self.live(ChildKind::Pod, key).await?;
        children.pods.retain(|pod| pod.meta.key != *key);
        children.pods.extend(pod.as_ref().map(|pod| Arc::new(pod.into())));
        let service: Option<Service> = self.live(ChildKind::Service, key).await?;
        children.service = service.as_ref().map(|service| Arc::new(service.into()));
        children.claims.clear();
        for key in family.claim_keys() {
            let claim: Option<PersistentVolumeClaim> = self.live(ChildKind::Claim, &key).await?;
            children.claims.extend(claim.as_ref().map(|claim| Arc::new(claim.into())));
        }
        Ok(children)
    }

    async fn create(&self, child: Child) -> Result<(), ClusterError> {
        let kind = child.kind();
        self.0.writes.add(kind, WriteVerb::Create);
        let caches = &self.0.caches;
        match child {
            Child::Pod(pod) => self.create_one(kind, &*pod, &caches.pods).await,
            Child::Service(service) => self.create_one(kind, &*service, &caches.services).await,
            Child::Claim(claim) => self.create_one(kind, &*claim, &caches.claims).await,
        }
    }

    async fn delete(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        uid: &str,
    ) -> Result<(), ClusterError> {
        self.0.writes.add(kind, WriteVerb::Delete);
        let caches = &self.0.caches;
        match kind {
            ChildKind::Pod => self.delete_one::<Pod, _>(kind, key, uid, &caches.pods).await,
            ChildKind::Service => {
                self.delete_one::<Service, _>(kind, key, uid, &caches.services).await
            }
            ChildKind::Claim => {
                self.delete_one::<PersistentVolumeClaim, _>(kind, key, uid, &caches.claims).await
            }
        }
    }

    async fn patch_metadata(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        patch: MetadataPatch,
    ) -> Result<(), ClusterError> {
        self.0.writes.add(kind, WriteVerb::Patch);
        let body = merge_patch(&patch);
        let caches = &self.0.caches;
        match kind {
            ChildKind::Pod => self.patch_one::<Pod, _>(kind, key, &body, &caches.pods).await,
            ChildKind::Service => {
                self.patch_one::<Service, _>(kind, key, &body, &caches.services).await
            }
            ChildKind::Claim => {
                self.patch_one::<PersistentVolumeClaim, _>(kind, key, &body, &caches.claims).await
            }
        }
    }

    fn runtime_classes(&self) -> Vec<RuntimeClassView> {
        let classes = self.0.runtime_classes.lock().expect("no holder of this lock panics");
        classes.clone().unwrap_or_default()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    fn synced(&self) -> bool {
        let classes = self.0.runtime_classes.lock().expect("no holder of this lock panics");
        classes.is_some() && self.0.caches.synced()
    }
}
