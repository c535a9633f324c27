//! What the loop knows when it plans: everything outside the Sandbox itself.

use std::sync::Arc;

use jiff::Timestamp;
use sandbox_api::{Sandbox, keys};

use super::children::{adoptable, claim, name_of, uid_of};
use crate::cluster::{
    ChildMeta, Children, Cluster, ClusterError, Family, Owner, PodView, RuntimeClassView,
    ServiceView,
};

/// The observed world of one Sandbox.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub children: Children,
    pub runtime_classes: Vec<RuntimeClassView>,
    /// Why the last step failed, if one did.
    pub failure: Option<Failure>,
    /// Since when a status that can wait has been waiting to be written.
    pub status_due_since: Option<Timestamp>,
}

/// A failed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// It may pass by itself within moments: not worth a status write yet.
    pub transient: bool,
}

impl From<&ClusterError> for Failure {
    fn from(error: &ClusterError) -> Self {
        let transient =
            !matches!(error, ClusterError::Rejected { .. } | ClusterError::NamespaceEnds { .. });
        Self { message: error.to_string(), transient }
    }
}

/// Whose children are the Sandbox's.
pub fn family_of(sandbox: &Sandbox) -> Family {
    let templates = sandbox.spec.volume_claim_templates.iter();
    Family {
        sandbox: apiserver::meta::ObjectKey {
            namespace: sandbox.metadata.namespace.clone(),
            name: name_of(sandbox).to_owned(),
        },
        uid: uid_of(sandbox).to_owned(),
        claims: templates.map(|template| claim::claim_name(sandbox, template)).collect(),
    }
}

/// From the caches.
pub fn cached(sandbox: &Sandbox, cluster: &dyn Cluster) -> Observed {
    Observed {
        children: cluster.children(&family_of(sandbox)),
        runtime_classes: cluster.runtime_classes(),
        ..Observed::default()
    }
}

/// From the cluster itself, for names that the caches say are free and the cluster says are not.
pub async fn live(sandbox: &Sandbox, cluster: &dyn Cluster) -> Result<Observed, ClusterError> {
    Ok(Observed {
        children: cluster.children_live(&family_of(sandbox)).await?,
        runtime_classes: cluster.runtime_classes(),
        ..Observed::default()
    })
}

/// How an object of one of our names relates to the Sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Owned,
    /// Unowned and marked for us.
    Adoptable,
    /// The last Sandbox of this name owned it; the garbage collector is about to delete it.
    Orphan,
    /// Somebody else's: never touched.
    Foreign,
}

pub fn relation(sandbox: &Sandbox, meta: &ChildMeta) -> Relation {
    let predecessor = |owner: &Owner| {
        owner.kind == "Sandbox"
            && owner.api_version.starts_with(keys::PREFIX)
            && owner.name == name_of(sandbox)
    };
    if meta.owned_by(uid_of(sandbox)) {
        Relation::Owned
    } else if adoptable(sandbox, meta) {
        Relation::Adoptable
    } else if meta.owner.as_ref().is_some_and(predecessor) {
        Relation::Orphan
    } else {
        Relation::Foreign
    }
}

/// The Sandbox's Pod, in the one word that decides what comes next.
#[derive(Debug, Clone)]
pub enum PodState {
    Absent,
    /// Ours and alive, or ended by itself.
    Owned(Arc<PodView>),
    /// Ours and on its way out.
    Terminating(Arc<PodView>),
    Adoptable(Arc<PodView>),
    /// The name is still held by a Pod of the last Sandbox of this name.
    Orphan,
    Foreign(Arc<PodView>),
    /// More than one is ours: a state that must not be, and that nothing is guessed about.
    Multiple(usize),
}

impl PodState {
    pub fn of(sandbox: &Sandbox, children: &Children) -> Self {
        let uid = uid_of(sandbox);
        let owned: Vec<_> = children.pods.iter().filter(|pod| pod.meta.owned_by(uid)).collect();
        // One that is going has to be gone before anything else is decided.
        if let Some(going) = owned.iter().find(|pod| pod.meta.deleting) {
            return Self::Terminating(Arc::clone(going));
        }
        match owned.as_slice() {
            [] => {}
            [one] => return Self::Owned(Arc::clone(one)),
            many => return Self::Multiple(many.len()),
        }
        let Some(pod) = children.pods.iter().find(|pod| pod.meta.key.name == name_of(sandbox))
        else {
            return Self::Absent;
        };
        match relation(sandbox, &pod.meta) {
            Relation::Adoptable => Self::Adoptable(Arc::clone(pod)),
            Relation::Orphan => Self::Orphan,
            Relation::Owned | Relation::Foreign => Self::Foreign(Arc::clone(pod)),
        }
    }
}

/// The Service, if it is the Sandbox's and stays.
pub fn own_service<'a>(sandbox: &Sandbox, children: &'a Children) -> Option<&'a ServiceView> {
    let service = children.service.as_deref()?;
    (service.meta.owned_by(uid_of(sandbox)) && !service.meta.deleting).then_some(service)
}
