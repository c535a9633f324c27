//! The planner: from what is asked and what is observed to steps and a status. Pure and total;
//! every decision of the loop is made here.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use sandbox_api::{
    IsolationLevel, OperatingMode, Sandbox, SandboxStatus, ShutdownPolicy, condition,
};

use super::children::{claim, owner_reference, pod, service, system_labels, uid_of};
use super::isolation::runtime_class;
use super::observe::{Observed, PodState, Relation, own_service, relation};
use super::status::{self, Picture, Problem};
use crate::cluster::{Child, ChildKind, ChildMeta, MetadataPatch};
use apiserver::meta::ObjectKey;

/// What planning depends on besides the Sandbox and the world: the operator's choices.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The domain of the cluster's DNS names.
    pub cluster_domain: String,
    /// RuntimeClass for a level; levels without one are found by their handler's name.
    pub runtime_classes: HashMap<IsolationLevel, String>,
    /// How long a status that is only on its way to ready may wait to be written.
    pub not_ready_window: Duration,
    /// When to look again at what only somebody else can resolve.
    pub slow_retry: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".into(),
            runtime_classes: HashMap::new(),
            not_ready_window: Duration::from_secs(2),
            slow_retry: Duration::from_secs(30),
        }
    }
}

/// One change to make. The executor makes no choices of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Create(Child),
    Delete {
        kind: ChildKind,
        key: ObjectKey,
        uid: String,
        why: Why,
    },
    Patch {
        kind: ChildKind,
        key: ObjectKey,
        patch: MetadataPatch,
    },
    /// Delete the Sandbox itself.
    DeleteSandbox {
        uid: String,
    },
}

/// Why a child is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Suspend,
    Restart,
    Expiry,
    /// `spec.service` is false.
    NotAsked,
}

/// When to write the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWrite {
    /// The stored one says the same.
    None,
    Now,
    /// It differs, but will soon differ again: wait this long for it to settle.
    After(Duration),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// In order; a failed one ends the execution.
    pub steps: Vec<Step>,
    pub status: SandboxStatus,
    pub write: StatusWrite,
    /// When to look again although nothing will have happened.
    pub requeue_after: Option<Duration>,
}

/// What is asked for at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Running,
    Suspended,
    Expired(ShutdownPolicy),
}

/// Plans for one Sandbox.
pub fn plan(sandbox: &Sandbox, observed: &Observed, now: Timestamp, policy: &Policy) -> Plan {
    let stored = sandbox.status.clone().unwrap_or_default();
    if sandbox.metadata.deletion_timestamp.is_some() {
        // Owner references and finalizers do the rest; nothing may be created any more.
        return Plan {
            steps: Vec::new(),
            status: stored,
            write: StatusWrite::None,
            requeue_after: None,
        };
    }
    let pod = PodState::of(sandbox, &observed.children);
    let mut draft = Draft { sandbox, observed, policy, steps: Vec::new(), problem: None };
    let goal = goal(sandbox, now);
    match goal {
        Goal::Expired(ShutdownPolicy::Delete) => {
            draft.steps.push(Step::DeleteSandbox { uid: uid_of(sandbox).to_owned() });
        }
        Goal::Expired(ShutdownPolicy::Retain) => draft.tear_down(Why::Expiry),
        Goal::Suspended => draft.tear_down(Why::Suspend),
        Goal::Running => draft.keep_running(&pod),
    }
    let problem = draft.problem.or_else(|| observed.failure.as_ref().map(Problem::failed));
    let picture = Picture {
        expired: matches!(goal, Goal::Expired(_)),
        suspended: goal == Goal::Suspended,
        pod,
        service: own_service(sandbox, &observed.children).is_some(),
        problem,
    };
    let status = status::status(sandbox, &picture, now, policy);
    let write = when_to_write(&stored, &status, &picture, observed, now, policy);
    let requeue_after = requeue(sandbox, &picture, write, now, policy);
    Plan { steps: draft.steps, status, write, requeue_after }
}

fn goal(sandbox: &Sandbox, now: Timestamp) -> Goal {
    let spec = &sandbox.spec;
    if spec.shutdown_time.as_ref().is_some_and(|time| time.0 <= now) {
        return Goal::Expired(spec.shutdown_policy());
    }
    match spec.operating_mode() {
        OperatingMode::Running => Goal::Running,
        OperatingMode::Suspended => Goal::Suspended,
    }
}

struct Draft<'a> {
    sandbox: &'a Sandbox,
    observed: &'a Observed,
    policy: &'a Policy,
    steps: Vec<Step>,
    problem: Option<Problem>,
}

impl Draft<'_> {
    /// No Pod; on expiry, or if it is not asked for, no Service either. Volumes stay.
    fn tear_down(&mut self, why: Why) {
        let uid = uid_of(self.sandbox);
        for pod in &self.observed.children.pods {
            if pod.meta.owned_by(uid) && !pod.meta.deleting {
                self.steps.push(delete(ChildKind::Pod, &pod.meta, why));
            }
        }
        if why == Why::Expiry || self.sandbox.spec.service == Some(false) {
            self.drop_service(if why == Why::Expiry { why } else { Why::NotAsked });
        }
    }

    fn keep_running(&mut self, pod: &PodState) {
        match pod {
            PodState::Multiple(count) => {
                self.problem = Some(Problem::multiple_pods(*count));
                return;
            }
            PodState::Foreign(pod) => self.taken(ChildKind::Pod, &pod.meta),
            PodState::Adoptable(pod) => {
                let patch = pod::adoption_patch(self.sandbox, &pod.meta);
                self.patch(ChildKind::Pod, &pod.meta, patch);
            }
            PodState::Owned(pod) if pod.meta.predates(pod::restarted_at(self.sandbox)) => {
                self.steps.push(delete(ChildKind::Pod, &pod.meta, Why::Restart));
            }
            PodState::Owned(pod) => {
                let patch = pod::metadata_patch(self.sandbox, &pod.meta);
                self.patch(ChildKind::Pod, &pod.meta, patch);
            }
            PodState::Absent => self.launch(),
            PodState::Terminating(_) | PodState::Orphan => {}
        }
        self.keep_service();
    }

    /// Volumes first: a Pod without its claims can't be scheduled, and it would be tried later.
    fn launch(&mut self) {
        let (classes, policy) = (&self.observed.runtime_classes, self.policy);
        let class = match runtime_class(self.sandbox, classes, policy) {
            Ok(class) => class,
            Err(message) => {
                let reason = condition::ready::ISOLATION_UNAVAILABLE;
                self.problem = Some(Problem { reason, message, transient: false });
                return;
            }
        };
        if !self.claims_settled() {
            return;
        }
        let with_service = self.sandbox.spec.service == Some(true)
            || own_service(self.sandbox, &self.observed.children).is_some();
        let pod = pod::build(self.sandbox, class, with_service);
        self.steps.push(Step::Create(Child::Pod(Box::new(pod))));
    }

    /// Asks for what is missing of the volume claims; whether the Pod may be created after that.
    fn claims_settled(&mut self) -> bool {
        let mut settled = true;
        for template in &self.sandbox.spec.volume_claim_templates {
            let name = claim::claim_name(self.sandbox, template);
            let claims = &self.observed.children.claims;
            let Some(found) = claims.iter().find(|claim| claim.meta.key.name == name) else {
                let claim = claim::build(self.sandbox, template);
                self.steps.push(Step::Create(Child::Claim(Box::new(claim))));
                continue;
            };
            match relation(self.sandbox, &found.meta) {
                Relation::Owned if found.meta.deleting => settled = false,
                Relation::Owned => {}
                Relation::Adoptable => self.adopt(ChildKind::Claim, &found.meta),
                Relation::Orphan => settled = false,
                Relation::Foreign => {
                    self.taken(ChildKind::Claim, &found.meta);
                    settled = false;
                }
            }
        }
        settled
    }

    fn keep_service(&mut self) {
        match (self.sandbox.spec.service, self.observed.children.service.as_deref()) {
            (Some(true), None) => {
                let service = service::build(self.sandbox);
                self.steps.push(Step::Create(Child::Service(Box::new(service))));
            }
            (Some(true), Some(found)) => match relation(self.sandbox, &found.meta) {
                Relation::Adoptable => self.adopt(ChildKind::Service, &found.meta),
                Relation::Foreign => self.taken(ChildKind::Service, &found.meta),
                Relation::Owned | Relation::Orphan => {}
            },
            (Some(false), _) => self.drop_service(Why::NotAsked),
            (None, _) => {}
        }
    }

    fn drop_service(&mut self, why: Why) {
        if let Some(service) = own_service(self.sandbox, &self.observed.children) {
            self.steps.push(delete(ChildKind::Service, &service.meta, why));
        }
    }

    /// The label comes with the owner: the watches see only what carries it.
    fn adopt(&mut self, kind: ChildKind, meta: &ChildMeta) {
        let labels = system_labels(self.sandbox).into_iter();
        let patch = MetadataPatch {
            uid: meta.uid.clone(),
            labels: labels.map(|(key, value)| (key, Some(value))).collect(),
            owner: Some(Box::new(owner_reference(self.sandbox))),
            ..MetadataPatch::default()
        };
        self.patch(kind, meta, patch);
    }

    fn patch(&mut self, kind: ChildKind, meta: &ChildMeta, patch: MetadataPatch) {
        if !patch.is_empty() {
            self.steps.push(Step::Patch { kind, key: meta.key.clone(), patch });
        }
    }

    fn taken(&mut self, kind: ChildKind, meta: &ChildMeta) {
        if self.problem.is_none() {
            self.problem = Some(Problem::taken(kind, meta));
        }
    }
}

fn delete(kind: ChildKind, meta: &ChildMeta, why: Why) -> Step {
    Step::Delete { kind, key: meta.key.clone(), uid: meta.uid.clone(), why }
}

/// A status that has settled, and bad news, are written at once; steps on the way can wait, so
/// that a launch costs one write.
fn when_to_write(
    stored: &SandboxStatus,
    status: &SandboxStatus,
    picture: &Picture,
    observed: &Observed,
    now: Timestamp,
    policy: &Policy,
) -> StatusWrite {
    if stored == status {
        return StatusWrite::None;
    }
    if picture.is_settled(stored, status) {
        return StatusWrite::Now;
    }
    let waited = elapsed(observed.status_due_since.unwrap_or(now), now);
    match policy.not_ready_window.checked_sub(waited) {
        Some(left) if !left.is_zero() => StatusWrite::After(left),
        _ => StatusWrite::Now,
    }
}

fn requeue(
    sandbox: &Sandbox,
    picture: &Picture,
    write: StatusWrite,
    now: Timestamp,
    policy: &Policy,
) -> Option<Duration> {
    let expiry = sandbox.spec.shutdown_time.as_ref().filter(|time| time.0 > now);
    let settle = match write {
        StatusWrite::After(wait) => Some(wait),
        StatusWrite::None | StatusWrite::Now => None,
    };
    let retry = picture.problem.as_ref().map(|_| policy.slow_retry);
    [expiry.map(|time| elapsed(now, time.0)), settle, retry].into_iter().flatten().min()
}

/// Zero if `to` is earlier.
fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
