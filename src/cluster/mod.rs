//! The host cluster as a port: what the loop may see of it and do to it.
//!
//! Reads come from caches that [`kube`] keeps from label-filtered watches; they hold [`view`]s,
//! the few facts the loop decides by, never whole objects. A write is put through to the cache
//! from its answer, so the loop sees its own writes. [`Cluster::children_live`] asks the cluster
//! itself: needed only when a name turns out to be taken by something the caches don't cover.

mod cache;
pub mod counts;
pub mod events;
pub mod fake;
pub mod kube;
pub mod policies;
pub mod streams;
pub mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use apiserver::meta::ObjectKey;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::sync::broadcast;

pub use crate::hash::name_hash;

pub use self::counts::{WriteCounts, WriteVerb};
pub use self::view::{
    ChildMeta, ClaimView, Owner, PodPhase, PodView, RuntimeClassView, ServiceView,
};

/// On every child: the hash of its Sandbox's name. The watches filter by it, the Service selects
/// by it, and an unowned object that carries it may be adopted.
pub const NAME_HASH_LABEL: &str = sandbox_api::keys::SANDBOX_NAME_HASH;

/// Which kind of child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    Pod,
    Service,
    Claim,
}

impl ChildKind {
    /// As Kubernetes prints it in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::Claim => "PersistentVolumeClaim",
        }
    }
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A child to create.
#[derive(Debug, Clone, PartialEq)]
pub enum Child {
    Pod(Box<Pod>),
    Service(Box<Service>),
    Claim(Box<PersistentVolumeClaim>),
}

impl Child {
    pub fn kind(&self) -> ChildKind {
        match self {
            Self::Pod(_) => ChildKind::Pod,
            Self::Service(_) => ChildKind::Service,
            Self::Claim(_) => ChildKind::Claim,
        }
    }

    pub fn key(&self) -> ObjectKey {
        let meta = match self {
            Self::Pod(pod) => &pod.metadata,
            Self::Service(service) => &service.metadata,
            Self::Claim(claim) => &claim.metadata,
        };
        ObjectKey { namespace: meta.namespace.clone(), name: meta.name.clone().unwrap_or_default() }
    }
}

/// A change of a child's metadata; `None` removes the key. Guarded by the uid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetadataPatch {
    pub uid: String,
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
    /// Adoption: becomes the object's only owner reference.
    pub owner: Option<Box<OwnerReference>>,
}

impl MetadataPatch {
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty() && self.owner.is_none()
    }
}

/// Whose children are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    pub sandbox: ObjectKey,
    pub uid: String,
    /// Names of the volume claims the Sandbox asks for.
    pub claims: Vec<String>,
}

impl Family {
    pub(crate) fn claim_keys(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        let namespace = &self.sandbox.namespace;
        self.claims
            .iter()
            .map(|name| ObjectKey { namespace: namespace.clone(), name: name.clone() })
    }
}

/// A Sandbox's children: those that carry its names, whoever owns them, and every Pod whose
/// controller it is.
#[derive(Debug, Clone, Default)]
pub struct Children {
    pub pods: Vec<Arc<PodView>>,
    pub service: Option<Arc<ServiceView>>,
    pub claims: Vec<Arc<ClaimView>>,
}

/// Something about a Sandbox's children changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Sandbox(ObjectKey),
    /// The set of RuntimeClasses changed: any Sandbox may be affected.
    RuntimeClasses,
}

/// Why the host cluster did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The name is taken; by whom must be looked at.
    #[error("{kind} {key} already exists")]
    AlreadyExists { kind: ChildKind, key: ObjectKey },
    /// Gone, or it has another uid by now.
    #[error("{kind} {key} not found")]
    NotFound { kind: ChildKind, key: ObjectKey },
    /// Admission, quota, validation or RBAC said no: the user must see the text.
    #[error("{message}")]
    Rejected { message: String },
    /// The namespace is being deleted, or gone: nothing can be made in it any more.
    #[error("{message}")]
    NamespaceEnds { message: String },
    /// No answer. The write may or may not have happened.
    #[error("cluster unavailable: {detail}")]
    Unavailable { detail: String },
}

/// What the loop needs of the host cluster.
#[async_trait]
pub trait Cluster: Send + Sync + fmt::Debug {
    /// From the caches.
    fn children(&self, family: &Family) -> Children;

    /// The same with the named objects read from the cluster itself.
    async fn children_live(&self, family: &Family) -> Result<Children, ClusterError>;

    /// Creates under the object's fixed name; never picks another.
    async fn create(&self, child: Child) -> Result<(), ClusterError>;

    /// Deletes only the object with this uid.
    async fn delete(&self, kind: ChildKind, key: &ObjectKey, uid: &str)
    -> Result<(), ClusterError>;

    /// Changes metadata in place, only of the object with the patch's uid.
    async fn patch_metadata(
        &self,
        kind: ChildKind,
        key: &ObjectKey,
        patch: MetadataPatch,
    ) -> Result<(), ClusterError>;

    /// The cluster's RuntimeClasses, ordered by name.
    fn runtime_classes(&self) -> Vec<RuntimeClassView>;

    /// Changes from now on. A receiver that lags must look at every Sandbox again.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Whether every cache has been filled once; before that nothing may be concluded from an
    /// absence.
    fn synced(&self) -> bool;
}
