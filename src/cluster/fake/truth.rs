//! What the fake cluster holds, apart from what its caches have heard of it.

use std::collections::{BTreeMap, VecDeque};

use apiserver::clock::new_uid;
use apiserver::meta::ObjectKey;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::Fault;
use crate::cluster::{Child, ChildKind, ClusterError, RuntimeClassView};

/// One object of the cluster, whatever its kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stored {
    Pod(Box<Pod>),
    Service(Box<Service>),
    Claim(Box<PersistentVolumeClaim>),
}

impl Stored {
    pub(super) fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Pod(pod) => &pod.metadata,
            Self::Service(service) => &service.metadata,
            Self::Claim(claim) => &claim.metadata,
        }
    }

    pub(super) fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Pod(pod) => &mut pod.metadata,
            Self::Service(service) => &mut service.metadata,
            Self::Claim(claim) => &mut claim.metadata,
        }
    }
}

pub(super) type Id = (ChildKind, ObjectKey);

#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) objects: BTreeMap<Id, Stored>,
    pub(super) revision: u64,
    /// News that have not reached the caches yet: state, revision, and whether it is gone.
    pub(super) news: VecDeque<(Stored, u64, bool)>,
    pub(super) faults: VecDeque<Fault>,
    pub(super) runtime_classes: Vec<RuntimeClassView>,
}

impl Truth {
    pub(super) fn store(&mut self, child: Child) -> Id {
        let id = (child.kind(), child.key());
        let mut object = match child {
            Child::Pod(pod) => Stored::Pod(pod),
            Child::Service(service) => Stored::Service(service),
            Child::Claim(claim) => Stored::Claim(claim),
        };
        object.meta_mut().uid = Some(new_uid());
        self.update(&id, object);
        id
    }

    pub(super) fn update(&mut self, id: &Id, mut object: Stored) {
        self.revision += 1;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        self.news.push_back((object.clone(), self.revision, false));
        self.objects.insert(id.clone(), object);
    }

    pub(super) fn remove(&mut self, id: &Id) {
        if let Some(object) = self.objects.remove(id) {
            self.revision += 1;
            self.news.push_back((object, self.revision, true));
        }
    }

    /// Pods go gracefully, the rest at once.
    pub(super) fn delete(&mut self, id: &Id) {
        match self.objects.get(id).cloned() {
            Some(Stored::Pod(mut pod)) if pod.metadata.deletion_timestamp.is_none() => {
                pod.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
                self.update(id, Stored::Pod(pod));
            }
            Some(Stored::Pod(_)) | None => {}
            Some(_) => self.remove(id),
        }
    }

    pub(super) fn guarded(&self, id: &Id, uid: &str) -> Result<Stored, ClusterError> {
        let found = self.objects.get(id).filter(|o| o.meta().uid.as_deref() == Some(uid));
        let gone = || ClusterError::NotFound { kind: id.0, key: id.1.clone() };
        found.cloned().ok_or_else(gone)
    }
}
