//! The facts about children that the loop decides by. Small enough to cache for every Sandbox,
//! and comparable: a change that leaves the view equal wakes nobody.

use std::collections::BTreeMap;

use apiserver::meta::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStatus, PersistentVolumeClaim, Pod, PodCondition, PodStatus, Service,
};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_api::keys;

/// The controller of an object: the owner reference with `controller: true`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// Identity and metadata of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildMeta {
    pub key: ObjectKey,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner: Option<Owner>,
    pub deleting: bool,
}

impl ChildMeta {
    pub fn of(meta: &ObjectMeta) -> Self {
        let owner = meta
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller.unwrap_or_default());
        Self {
            key: ObjectKey {
                namespace: meta.namespace.clone(),
                name: meta.name.clone().unwrap_or_default(),
            },
            uid: meta.uid.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations: meta.annotations.clone().unwrap_or_default(),
            owner: owner.map(|owner| Owner {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            }),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }

    /// Whether a Pod is of the time before its Sandbox's last `restart`, given when that was asked
    /// for.
    pub fn predates(&self, restart: Option<&str>) -> bool {
        let stamp = self.annotations.get(keys::RESTARTED_AT).map(String::as_str);
        restart.is_some() && stamp != restart
    }

    pub fn owned_by(&self, uid: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.uid == uid)
    }
}

/// `status.phase` of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodPhase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// A reason with its text, as Kubernetes gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    pub reason: String,
    pub message: String,
}

/// A Pod's `PodScheduled` condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    pub status: String,
    pub cause: Cause,
}

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    pub meta: ChildMeta,
    pub phase: PodPhase,
    pub ready: bool,
    pub ips: Vec<String>,
    pub node: Option<String>,
    pub started: Option<Timestamp>,
    pub scheduled: Option<Scheduled>,
    /// Why a container waits or, of a finished Pod, why it ended: the first that says so.
    pub trouble: Option<Cause>,
}

impl From<&Pod> for PodView {
    fn from(pod: &Pod) -> Self {
        let empty = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&empty);
        let condition = |kind: &str| {
            status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
        };
        let phase = match status.phase.as_deref() {
            None | Some("" | "Pending") => PodPhase::Pending,
            Some("Running") => PodPhase::Running,
            Some("Succeeded") => PodPhase::Succeeded,
            Some("Failed") => PodPhase::Failed,
            Some(_) => PodPhase::Unknown,
        };
        Self {
            meta: ChildMeta::of(&pod.metadata),
            phase,
            ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
            ips: ips(status),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            started: status.start_time.as_ref().map(|time| time.0),
            scheduled: condition("PodScheduled").map(scheduled),
            trouble: trouble(status),
        }
    }
}

fn ips(status: &PodStatus) -> Vec<String> {
    let all: Vec<String> = status
        .pod_ips
        .iter()
        .flatten()
        .map(|ip| ip.ip.clone())
        .filter(|ip| !ip.is_empty())
        .collect();
    if all.is_empty() { status.pod_ip.iter().cloned().collect() } else { all }
}

fn scheduled(condition: &PodCondition) -> Scheduled {
    Scheduled {
        status: condition.status.clone(),
        cause: Cause {
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        },
    }
}

fn trouble(status: &PodStatus) -> Option<Cause> {
    if let Some(reason) = status.reason.clone().filter(|reason| !reason.is_empty()) {
        return Some(Cause { reason, message: status.message.clone().unwrap_or_default() });
    }
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).find_map(container_trouble)
}

fn container_trouble(container: &ContainerStatus) -> Option<Cause> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        // The two normal steps of a start are no trouble.
        if matches!(reason.as_str(), "" | "ContainerCreating" | "PodInitializing") {
            return None;
        }
        return Some(Cause { reason, message: waiting.message.clone().unwrap_or_default() });
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let text = format!("container {:?} exited with code {}", container.name, ended.exit_code);
    let message = match ended.message.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        Some(detail) => format!("{text}: {detail}"),
        None => text,
    };
    Some(Cause { reason: ended.reason.clone().unwrap_or_else(|| "Error".into()), message })
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    pub meta: ChildMeta,
}

impl From<&Service> for ServiceView {
    fn from(service: &Service) -> Self {
        Self { meta: ChildMeta::of(&service.metadata) }
    }
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimView {
    pub meta: ChildMeta,
}

impl From<&PersistentVolumeClaim> for ClaimView {
    fn from(claim: &PersistentVolumeClaim) -> Self {
        Self { meta: ChildMeta::of(&claim.metadata) }
    }
}

/// A RuntimeClass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimeClassView {
    pub name: String,
    pub handler: String,
}

impl From<&RuntimeClass> for RuntimeClassView {
    fn from(class: &RuntimeClass) -> Self {
        Self {
            name: class.metadata.name.clone().unwrap_or_default(),
            handler: class.handler.clone(),
        }
    }
}

/// A view of a child that caches can index.
pub(super) trait View: Clone + PartialEq {
    fn meta(&self) -> &ChildMeta;
}

impl View for PodView {
    fn meta(&self) -> &ChildMeta {
        &self.meta
    }
}

impl View for ServiceView {
    fn meta(&self) -> &ChildMeta {
        &self.meta
    }
}

impl View for ClaimView {
    fn meta(&self) -> &ChildMeta {
        &self.meta
    }
}
