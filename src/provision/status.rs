//! From a picture of the Sandbox to its status: phase, conditions and their reasons.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use sandbox_api::condition::{self, FINISHED, POD_SCHEDULED, READY, SUSPENDED};
use sandbox_api::{Sandbox, SandboxPhase, SandboxStatus};

use super::children::{name_of, selector_of, service};
use super::observe::{Failure, PodState};
use super::plan::Policy;
use crate::cluster::{ChildKind, ChildMeta, PodPhase, PodView};
use crate::conditions::whole_seconds;

/// What the status is made from.
#[derive(Debug, Clone)]
pub struct Picture {
    pub expired: bool,
    /// Suspension is asked for.
    pub suspended: bool,
    pub pod: PodState,
    /// The Sandbox's own Service exists.
    pub service: bool,
    pub problem: Option<Problem>,
}

/// What keeps the Sandbox from running, besides time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
    pub transient: bool,
}

impl Problem {
    pub fn failed(failure: &Failure) -> Self {
        Self {
            reason: condition::ready::RECONCILER_ERROR,
            message: failure.message.clone(),
            transient: failure.transient,
        }
    }

    pub fn multiple_pods(count: usize) -> Self {
        Self {
            reason: condition::ready::MULTIPLE_PODS,
            message: format!("{count} Pods are controlled by this Sandbox; delete all but one"),
            transient: false,
        }
    }

    /// A name is held by an object that is not ours to touch.
    pub fn taken(kind: ChildKind, meta: &ChildMeta) -> Self {
        let holder = match &meta.owner {
            Some(owner) => format!("it is controlled by {} {:?}", owner.kind, owner.name),
            None => {
                format!("it has no controller and no label {}=true", sandbox_api::keys::ADOPTABLE)
            }
        };
        let name = &meta.key.name;
        Self {
            reason: condition::ready::RECONCILER_ERROR,
            message: format!(
                "{kind} {name:?} already exists and is not managed by Sandbox: {holder}"
            ),
            transient: false,
        }
    }
}

impl Picture {
    /// Whether `status` is an end of its own, or news that must not wait.
    pub fn is_settled(&self, stored: &SandboxStatus, status: &SandboxStatus) -> bool {
        let is = |status: &SandboxStatus, kind| {
            status.conditions.iter().any(|c| c.type_ == kind && c.status == "True")
        };
        let bad_news = self.problem.as_ref().is_some_and(|problem| !problem.transient);
        let lost = is(stored, READY)
            && !self.suspended
            && self.problem.is_none()
            && matches!(&self.pod, PodState::Owned(_));
        self.expired
            || bad_news
            || lost
            || [READY, SUSPENDED, FINISHED].into_iter().any(|kind| is(status, kind))
    }

    /// The problem to show: one that will pass does not make a ready Pod unready.
    fn shown_problem(&self) -> Option<&Problem> {
        let ready = self.shown().is_some_and(|pod| pod.ready && pod.phase == PodPhase::Running);
        self.problem.as_ref().filter(|problem| !(problem.transient && ready))
    }

    /// The Pod that status tells about.
    fn shown(&self) -> Option<&PodView> {
        match &self.pod {
            PodState::Owned(pod) | PodState::Terminating(pod) => Some(pod),
            _ => None,
        }
    }

    /// The Pod, if it ended by itself. One that is being deleted ends because of that.
    fn ended(&self) -> Option<&PodView> {
        let PodState::Owned(pod) = &self.pod else { return None };
        matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed).then_some(&**pod)
    }
}

/// The status that the picture asks for; times of unchanged conditions are kept.
pub fn status(
    sandbox: &Sandbox,
    picture: &Picture,
    now: Timestamp,
    policy: &Policy,
) -> SandboxStatus {
    let stored = sandbox.status.clone().unwrap_or_default();
    let now = whole_seconds(now);
    let phase = phase(&stored, picture);
    let pod = picture.shown();
    let keeps_suspended_time = matches!(
        phase,
        SandboxPhase::Suspended | SandboxPhase::Suspending | SandboxPhase::Resuming
    );
    let suspended_time = match (&stored.suspended_time, phase) {
        (Some(time), _) if keeps_suspended_time => Some(time.clone()),
        (None, SandboxPhase::Suspended) => Some(Time(now)),
        _ => None,
    };
    SandboxStatus {
        phase: Some(phase),
        observed_generation: sandbox.metadata.generation,
        conditions: conditions(sandbox, &stored, picture, now),
        pod_name: pod.map(|pod| pod.meta.key.name.clone()),
        pod_ips: pod.map(|pod| pod.ips.clone()).unwrap_or_default(),
        node_name: pod.and_then(|pod| pod.node.clone()),
        service: picture.service.then(|| name_of(sandbox).to_owned()),
        service_fqdn: picture.service.then(|| service::fqdn(sandbox, &policy.cluster_domain)),
        selector: Some(selector_of(sandbox)),
        start_time: pod.and_then(|pod| pod.started).map(|time| Time(whole_seconds(time))),
        // Not of the store.
        last_activity_time: None,
        suspended_time,
    }
}

fn phase(stored: &SandboxStatus, picture: &Picture) -> SandboxPhase {
    if picture.expired {
        return SandboxPhase::Expired;
    }
    let gone = matches!(picture.pod, PodState::Absent | PodState::Adoptable(_) | PodState::Orphan);
    match (picture.suspended, gone) {
        (true, true) => return SandboxPhase::Suspended,
        (true, false) => return SandboxPhase::Suspending,
        (false, _) => {}
    }
    match picture.shown().map(|pod| pod.phase) {
        Some(PodPhase::Succeeded) => SandboxPhase::Succeeded,
        Some(PodPhase::Failed) => SandboxPhase::Failed,
        Some(PodPhase::Running) => SandboxPhase::Running,
        _ if stored.suspended_time.is_some() => SandboxPhase::Resuming,
        _ => SandboxPhase::Pending,
    }
}

/// Status, reason and message of a condition.
type Verdict = (&'static str, String, String);

fn conditions(
    sandbox: &Sandbox,
    stored: &SandboxStatus,
    picture: &Picture,
    now: Timestamp,
) -> Vec<Condition> {
    const OURS: [&str; 4] = [READY, SUSPENDED, POD_SCHEDULED, FINISHED];
    let earlier = |kind: &str| stored.conditions.iter().find(|condition| condition.type_ == kind);
    let verdicts = [
        (READY, Some(ready(sandbox, picture))),
        (SUSPENDED, Some(suspended(picture))),
        (POD_SCHEDULED, picture.shown().map(scheduled)),
        (FINISHED, picture.ended().map(finished)),
    ];
    let mut all = Vec::new();
    for (kind, verdict) in verdicts {
        let Some((status, reason, message)) = verdict else {
            // How it ended stays known after expiry has taken the Pod.
            let kept = earlier(kind).filter(|_| kind == FINISHED && picture.expired);
            all.extend(kept.cloned());
            continue;
        };
        let since = earlier(kind).filter(|condition| condition.status == status);
        all.push(Condition {
            type_: kind.into(),
            status: status.into(),
            reason,
            message,
            observed_generation: sandbox.metadata.generation,
            last_transition_time: since
                .map_or(Time(now), |condition| condition.last_transition_time.clone()),
        });
    }
    let others = stored.conditions.iter().filter(|c| !OURS.contains(&c.type_.as_str()));
    all.extend(others.cloned());
    all
}

fn ready(sandbox: &Sandbox, picture: &Picture) -> Verdict {
    use condition::ready::{
        DEPENDENCIES_NOT_READY, DEPENDENCIES_READY, POD_FAILED, POD_SUCCEEDED, SANDBOX_EXPIRED,
        SANDBOX_SUSPENDED,
    };
    let no = |reason: &str, message: &str| ("False", reason.to_owned(), message.to_owned());
    if picture.expired {
        return no(SANDBOX_EXPIRED, "Sandbox has expired");
    }
    if let Some(problem) = picture.shown_problem() {
        return no(problem.reason, &problem.message);
    }
    if picture.suspended {
        return no(SANDBOX_SUSPENDED, "Sandbox is suspended");
    }
    let pod = match &picture.pod {
        PodState::Owned(pod) => pod,
        PodState::Terminating(_) => return no(DEPENDENCIES_NOT_READY, "Pod is terminating"),
        PodState::Orphan => {
            let text = "Pod of the deleted Sandbox of the same name is being removed";
            return no(DEPENDENCIES_NOT_READY, text);
        }
        _ => return no(DEPENDENCIES_NOT_READY, "Pod does not exist"),
    };
    let wants_service = sandbox.spec.service == Some(true);
    match pod.phase {
        PodPhase::Succeeded => no(POD_SUCCEEDED, &ended_text(pod, "Pod has succeeded")),
        PodPhase::Failed => no(POD_FAILED, &ended_text(pod, "Pod has failed")),
        PodPhase::Running if pod.ready && !pod.ips.is_empty() => {
            match (picture.service, wants_service) {
                (true, _) => {
                    ("True", DEPENDENCIES_READY.into(), "Pod is Ready; Service Exists".into())
                }
                (false, true) => no(DEPENDENCIES_NOT_READY, "Pod is Ready; Service does not exist"),
                (false, false) => ("True", DEPENDENCIES_READY.into(), "Pod is Ready".into()),
            }
        }
        _ => no(DEPENDENCIES_NOT_READY, &waiting_text(pod)),
    }
}

/// Begins the message of Ready if a container is in trouble.
const IN_TROUBLE: &str = "Pod is not ready";

/// The reason that the kubelet gave for a container's trouble, from the message of Ready.
pub fn pod_trouble(message: &str) -> Option<&str> {
    let cause = message.strip_prefix(IN_TROUBLE)?.strip_prefix(": ")?;
    cause.split(':').next()
}

/// Why the Pod is not ready, with the Pod's own reason so that users see the cause.
fn waiting_text(pod: &PodView) -> String {
    let unscheduled = pod.scheduled.as_ref().filter(|scheduled| scheduled.status == "False");
    let (text, cause) = match (&pod.trouble, unscheduled) {
        (Some(trouble), _) => (IN_TROUBLE, Some(trouble)),
        (None, Some(scheduled)) => ("Pod is not scheduled", Some(&scheduled.cause)),
        (None, None) => match (pod.phase, pod.ready) {
            (PodPhase::Running, true) => ("Pod has no address", None),
            (PodPhase::Running, false) => ("Pod is running but not ready", None),
            (PodPhase::Unknown, _) => ("Pod's node does not answer", None),
            _ => ("Pod is pending", None),
        },
    };
    match cause {
        Some(cause) if cause.message.is_empty() => format!("{text}: {}", cause.reason),
        Some(cause) => format!("{text}: {}: {}", cause.reason, cause.message),
        None => text.into(),
    }
}

fn ended_text(pod: &PodView, text: &str) -> String {
    match &pod.trouble {
        Some(cause) if cause.message.is_empty() => format!("{text}: {}", cause.reason),
        Some(cause) => format!("{text}: {}: {}", cause.reason, cause.message),
        None => text.into(),
    }
}

fn suspended(picture: &Picture) -> Verdict {
    use condition::suspended::{NOT_SUSPENDED, POD_NOT_OWNED, POD_TERMINATED, POD_TERMINATING};
    if !picture.suspended {
        return ("False", NOT_SUSPENDED.into(), "Sandbox is not suspended".into());
    }
    match &picture.pod {
        PodState::Owned(_) | PodState::Terminating(_) | PodState::Multiple(_) => {
            ("False", POD_TERMINATING.into(), "Pod is terminating".into())
        }
        PodState::Foreign(pod) => {
            let text = format!("Pod {:?} is not owned by this Sandbox", pod.meta.key.name);
            ("False", POD_NOT_OWNED.into(), text)
        }
        _ => ("True", POD_TERMINATED.into(), "Pod is terminated".into()),
    }
}

fn scheduled(pod: &PodView) -> Verdict {
    use condition::pod_scheduled::{POD_SCHEDULED, POD_SCHEDULING_UNKNOWN};
    let Some(scheduled) = &pod.scheduled else {
        return ("Unknown", POD_SCHEDULING_UNKNOWN.into(), String::new());
    };
    let (status, fallback) = match scheduled.status.as_str() {
        "True" => ("True", POD_SCHEDULED),
        "False" => ("False", POD_SCHEDULING_UNKNOWN),
        _ => ("Unknown", POD_SCHEDULING_UNKNOWN),
    };
    let reason = Some(scheduled.cause.reason.as_str()).filter(|reason| !reason.is_empty());
    (status, reason.unwrap_or(fallback).into(), scheduled.cause.message.clone())
}

fn finished(pod: &PodView) -> Verdict {
    let (reason, text) = if pod.phase == PodPhase::Succeeded {
        (condition::finished::POD_SUCCEEDED, "Pod has succeeded")
    } else {
        (condition::finished::POD_FAILED, "Pod has failed")
    };
    ("True", reason.into(), ended_text(pod, text))
}
