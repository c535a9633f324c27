//! From what is known of a template to its status. Pure.

use jiff::Timestamp;
use sandbox_api::condition::{self, READY};
use sandbox_api::{SandboxTemplate, SandboxTemplateStatus, TemplateUsers};

use crate::conditions;
use crate::resources::sandbox_template::instance::revision;

/// What the condition Ready says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    ready: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    pub(super) fn accepted(message: impl Into<String>) -> Self {
        Self { ready: true, reason: condition::template::ACCEPTED, message: message.into() }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        let reason = condition::template::NETWORK_POLICY_FAILED;
        Self { ready: false, reason, message: message.into() }
    }

    pub(super) fn taken(message: impl Into<String>) -> Self {
        let reason = condition::template::NETWORK_POLICY_TAKEN;
        Self { ready: false, reason, message: message.into() }
    }

    pub(super) fn contested(policy: &str) -> Self {
        let reason = condition::template::NETWORK_POLICY_CONTESTED;
        let message = format!("NetworkPolicy {policy:?} is changed whenever it has been corrected");
        Self { ready: false, reason, message }
    }
}

/// The status; who uses the template is as before while it is not known.
pub(super) fn status(
    template: &SandboxTemplate,
    users: Option<TemplateUsers>,
    verdict: &Verdict,
    now: Timestamp,
) -> SandboxTemplateStatus {
    let before = template.status.clone().unwrap_or_default();
    let value = if verdict.ready { "True" } else { "False" };
    let mut conditions = before.conditions;
    let ready = (value, verdict.reason, verdict.message.as_str());
    conditions::set(&mut conditions, READY, ready, template.metadata.generation, now);
    SandboxTemplateStatus {
        observed_generation: template.metadata.generation,
        revision: Some(revision(&template.spec)),
        users: users.or(before.users),
        conditions,
    }
}

/// Whether the two say the same but for who uses the template.
pub(super) fn only_users_differ(
    before: Option<&SandboxTemplateStatus>,
    after: &SandboxTemplateStatus,
) -> bool {
    let Some(before) = before else { return false };
    *after == SandboxTemplateStatus { users: after.users, ..before.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T01:00:00Z";

    fn template(status: &Value) -> SandboxTemplate {
        serde_json::from_value(json!({
            "metadata": {"name": "t", "namespace": "ns", "uid": "u", "generation": 4},
            "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
            "status": status,
        }))
        .unwrap()
    }

    fn of(before: &Value, users: Option<(i32, i32)>, verdict: &Verdict) -> SandboxTemplateStatus {
        let users = users.map(|(warm_pools, claims)| TemplateUsers { warm_pools, claims });
        status(&template(before), users, verdict, NOW.parse().unwrap())
    }

    #[test]
    fn a_status_is_stable_and_its_times_move_only_with_the_verdict() {
        let good = Verdict::accepted("kept");
        let first = of(&Value::Null, Some((1, 2)), &good);
        assert_eq!(first.observed_generation, Some(4));
        assert_eq!(first.revision.as_deref().map(str::len), Some(16));
        assert_eq!(first.users, Some(TemplateUsers { warm_pools: 1, claims: 2 }));
        let mut stored = serde_json::to_value(&first).unwrap();
        let condition = json!([{"type": "Ready", "status": "True", "reason": "Accepted",
            "message": "kept", "observedGeneration": 4, "lastTransitionTime": NOW}]);
        assert_eq!(stored["conditions"], condition);
        let earlier = "2025-01-01T00:00:00Z";
        stored["conditions"][0]["lastTransitionTime"] = json!(earlier);
        let same = of(&stored, Some((1, 2)), &good);
        assert_eq!(serde_json::to_value(&same).unwrap(), stored);
        let bad = serde_json::to_value(of(&stored, None, &Verdict::failed("no"))).unwrap();
        assert_eq!(bad["conditions"][0]["lastTransitionTime"], NOW);
        assert_eq!(bad["conditions"][0]["reason"], "NetworkPolicyFailed");
        assert_eq!(bad["users"], json!({"warmPools": 1, "claims": 2}), "not known: as before");
    }

    #[test]
    fn what_differs_besides_the_users_does_not_wait() {
        let good = Verdict::accepted("kept");
        let before = of(&Value::Null, Some((1, 2)), &good);
        assert!(only_users_differ(Some(&before), &of(&Value::Null, Some((1, 3)), &good)));
        assert!(!only_users_differ(None, &before), "the first");
        let bad = of(&Value::Null, Some((1, 3)), &Verdict::failed("no"));
        assert!(!only_users_differ(Some(&before), &bad));
    }
}
