//! What the Events of Sandboxes say.

use sandbox_api::{Sandbox, SandboxStatus, condition, keys};

use super::plan::{Step, Why};
use crate::cluster::{Child, ChildKind};
use crate::events::{Event, Events, Subject};

/// Tells what is done for one Sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    events: &'a Events,
    sandbox: &'a Sandbox,
}

impl<'a> Story<'a> {
    pub fn new(events: &'a Events, sandbox: &'a Sandbox) -> Self {
        Self { events, sandbox }
    }

    /// A step was carried out.
    pub(super) fn done(&self, step: &Step) {
        if let Some((reason, action, note)) = step_text(self.sandbox, step) {
            self.events.tell(Event::normal(self.about(), (reason, action), note));
        }
    }

    /// A status was stored in place of another.
    pub(super) fn turned(&self, before: &SandboxStatus, status: &SandboxStatus) {
        let was = |kind: &str| before.conditions.iter().find(|it| it.type_ == kind);
        let is = |kind: &str| status.conditions.iter().find(|it| it.type_ == kind);
        if let Some(suspended) = is(condition::SUSPENDED)
            && suspended.status == "True"
            && was(condition::SUSPENDED).is_none_or(|was| was.status != "True")
        {
            let told = ("Suspended", "Suspend");
            self.events.tell(Event::normal(self.about(), told, suspended.message.as_str()));
        }
        let Some(ready) = is(condition::READY) else { return };
        let known = was(condition::READY)
            .is_some_and(|was| was.reason == ready.reason && was.message == ready.message);
        let reason = match ready.reason.as_str() {
            // Only without a Pod something could not be made.
            condition::ready::RECONCILER_ERROR if status.pod_name.is_none() => "FailedCreate",
            condition::ready::RECONCILER_ERROR => condition::ready::RECONCILER_ERROR,
            condition::ready::ISOLATION_UNAVAILABLE => condition::ready::ISOLATION_UNAVAILABLE,
            condition::ready::MULTIPLE_PODS => condition::ready::MULTIPLE_PODS,
            _ => return,
        };
        if !known {
            let told = (reason, "Provision");
            self.events.tell(Event::warning(self.about(), told, ready.message.as_str()));
        }
    }

    fn about(&self) -> Subject {
        Subject::named("Sandbox", &self.sandbox.metadata)
    }
}

/// Reason, action and note of the Event of a step.
fn step_text(sandbox: &Sandbox, step: &Step) -> Option<(&'static str, &'static str, String)> {
    match step {
        Step::Create(Child::Pod(pod)) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if sandbox.status.as_ref().is_some_and(|it| it.suspended_time.is_some()) {
                return Some(("Resumed", "Resume", format!("made Pod {name:?} again")));
            }
            // A launch costs no Event: the pool tells of its stock, and of a Sandbox that somebody
            // made the Pod's own Events do. A cold start is a part of a claim's story.
            let labels = sandbox.metadata.labels.as_ref();
            let claimed = labels.is_some_and(|labels| labels.contains_key(keys::CLAIM_UID));
            claimed.then(|| ("PodCreated", "Start", format!("made Pod {name:?}")))
        }
        Step::Delete { kind: ChildKind::Pod, key, why, .. } => match why {
            Why::Restart => Some(("Restarted", "Restart", format!("deleted Pod {:?}", key.name))),
            Why::Expiry => Some(("Expired", "Stop", format!("deleted Pod {:?}", key.name))),
            // Told when it is suspended.
            Why::Suspend | Why::NotAsked => None,
        },
        Step::DeleteSandbox { .. } => {
            Some(("Expired", "Delete", "deleted: its time is over".to_owned()))
        }
        Step::Create(_) | Step::Delete { .. } | Step::Patch { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_new_pod_tells() {
        let sandbox = |labels: Value, status: Value| -> Sandbox {
            serde_json::from_value(json!({
                "metadata": {"name": "s", "labels": labels},
                "spec": {"podTemplate": {"spec": {"containers": []}}},
                "status": status,
            }))
            .unwrap()
        };
        let mut pod = Pod::default();
        pod.metadata.name = Some("s".into());
        let step = Step::Create(Child::Pod(Box::new(pod)));
        let suspended = json!({"suspendedTime": "2026-01-01T00:00:00Z"});
        for (labels, status, expected) in [
            (json!({}), json!({}), None),
            (json!({keys::WARM_POOL_SANDBOX: "h"}), json!({}), None),
            (json!({keys::CLAIM_UID: "u"}), json!({}), Some("PodCreated")),
            (json!({}), suspended, Some("Resumed")),
        ] {
            let told = step_text(&sandbox(labels.clone(), status), &step);
            assert_eq!(told.map(|(reason, ..)| reason), expected, "{labels}");
        }
    }
}
