//! What the Events of claims say. Pure.

use std::time::Duration;

use apiserver::meta::ObjectKey;
use sandbox_api::{BoundSandbox, LaunchType, SandboxClaim, SandboxClaimStatus, condition};
use serde_json::Value;

use super::keeper::all_bound;
use crate::events::{Event, Subject};

/// Sandboxes of one claim that are told each by itself: a large gang must not crowd out the rest.
const CLAIMED_MAX: usize = 20;

/// How a claim came to what it has.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// By its own request, which took so long.
    AtOnce(Duration),
    /// After it had waited for so long.
    Served(Duration),
}

fn about(claim: &SandboxClaim) -> Subject {
    Subject::named("SandboxClaim", &claim.metadata)
}

fn sandbox(claim: &SandboxClaim, bound: &BoundSandbox) -> Subject {
    let key = ObjectKey { namespace: claim.metadata.namespace.clone(), name: bound.name.clone() };
    Subject { kind: "Sandbox", key, uid: bound.uid.clone().unwrap_or_default() }
}

/// Where the stock comes from, in words.
fn origin(claim: &SandboxClaim) -> String {
    match (&claim.spec.warm_pool_ref, &claim.spec.sandbox_template_ref) {
        (Some(pool), _) => format!("SandboxWarmPool {:?}", pool.name),
        (None, Some(template)) => format!("SandboxTemplate {:?}", template.name),
        (None, None) => "nothing".into(),
    }
}

/// A claim that was just stored: bound with the Sandboxes in `status`, or waiting.
pub(super) fn born(claim: &SandboxClaim, status: &SandboxClaimStatus, how: How) -> Vec<Event> {
    let all = all_bound(status);
    let Some(first) = all.first() else {
        // Without a place in line it is still being bound, and whoever is done with that tells it.
        let Some(before) = status.queue_position else { return Vec::new() };
        let note = format!("no Sandbox of {} is ready; {before} claims come first", origin(claim));
        return vec![Event::normal(about(claim), ("Waiting", "Bind"), note)];
    };
    let what = match all.len() {
        1 => format!("Sandbox {:?}", first.name),
        count => format!("{count} Sandboxes, the first is {:?}", first.name),
    };
    let warm = first.launch_type != Some(LaunchType::Cold);
    let time = match how {
        How::AtOnce(time) => format!("in {} ms", time.as_millis()),
        How::Served(time) => format!("after {} s in line", time.as_secs()),
    };
    let note = match warm {
        true => format!("bound to {what} of {} {time}", origin(claim)),
        false => format!("started cold: made {what} {time}"),
    };
    let mut events =
        vec![Event::normal(about(claim), ("Bound", "Bind"), note).with(sandbox(claim, first))];
    if warm {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let note = format!("claimed by SandboxClaim {name:?}");
        events.extend(all.iter().take(CLAIMED_MAX).map(|bound| {
            let claimed = ("Claimed", "Bind");
            Event::normal(sandbox(claim, bound), claimed, note.as_str()).with(about(claim))
        }));
    }
    events
}

/// The turn that a claim takes with this write of its status, if it is worth telling.
pub(super) fn turn(
    claim: &SandboxClaim,
    before: Option<&Value>,
    status: &SandboxClaimStatus,
) -> Option<Event> {
    use condition::claim::{
        CLAIM_EXPIRED, CLAIM_TIMED_OUT, SANDBOX_MISSING, TEMPLATE_NOT_FOUND, WARM_POOL_NOT_FOUND,
    };
    let now = status.conditions.iter().find(|it| it.type_ == condition::READY)?;
    let conditions = before.and_then(|status| status.get("conditions")?.as_array());
    let was = conditions.into_iter().flatten().find(|it| it["type"] == condition::READY);
    if was.is_some_and(|was| was["status"] == now.status && was["reason"] == now.reason) {
        return None;
    }
    let note = now.message.as_str();
    Some(match (now.status.as_str(), now.reason.as_str()) {
        ("True", _) if was.is_none_or(|was| was["status"] != "True") => {
            Event::normal(about(claim), ("Ready", "Start"), note)
        }
        (_, CLAIM_TIMED_OUT) => Event::warning(about(claim), ("TimedOut", "Bind"), note),
        (_, CLAIM_EXPIRED) => expired(claim, note),
        (_, SANDBOX_MISSING) => Event::warning(about(claim), (SANDBOX_MISSING, "Follow"), note),
        (_, WARM_POOL_NOT_FOUND) => {
            Event::warning(about(claim), (WARM_POOL_NOT_FOUND, "Bind"), note)
        }
        (_, TEMPLATE_NOT_FOUND) => Event::warning(about(claim), (TEMPLATE_NOT_FOUND, "Bind"), note),
        _ => return None,
    })
}

pub(super) fn expired(claim: &SandboxClaim, note: &str) -> Event {
    Event::normal(about(claim), ("Expired", "Release"), note)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim() -> SandboxClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "cu"},
            "spec": {"warmPoolRef": {"name": "p"}},
        }))
        .unwrap()
    }

    #[test]
    fn the_birth_of_a_claim() {
        let at_once = How::AtOnce(Duration::from_micros(3_900));
        let bound = |launch: &str| json!({"name": "p-1", "uid": "u1", "launchType": launch});
        let gang = json!({"sandbox": bound("Warm"),
            "sandboxes": [bound("Warm"), {"name": "p-2", "uid": "u2", "launchType": "Warm"}]});
        let cases = [
            (
                json!({"sandbox": bound("Warm")}),
                at_once,
                vec![
                    "Bound: bound to Sandbox \"p-1\" of SandboxWarmPool \"p\" in 3 ms",
                    "Claimed: claimed by SandboxClaim \"c\"",
                ],
            ),
            (
                json!({"sandbox": bound("Cold")}),
                at_once,
                vec!["Bound: started cold: made Sandbox \"p-1\" in 3 ms"],
            ),
            (
                gang,
                How::Served(Duration::from_secs(7)),
                vec![
                    "Bound: bound to 2 Sandboxes, the first is \"p-1\" of SandboxWarmPool \"p\" \
                     after 7 s in line",
                    "Claimed: claimed by SandboxClaim \"c\"",
                    "Claimed: claimed by SandboxClaim \"c\"",
                ],
            ),
            (
                json!({"queuePosition": 4}),
                at_once,
                vec!["Waiting: no Sandbox of SandboxWarmPool \"p\" is ready; 4 claims come first"],
            ),
        ];
        for (status, how, expected) in cases {
            let status: SandboxClaimStatus = serde_json::from_value(status).unwrap();
            let events = born(&claim(), &status, how);
            let got: Vec<_> =
                events.iter().map(|it| format!("{}: {}", it.reason, it.note)).collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_turn_is_told_once() {
        let status = |status: &str, reason: &str| {
            json!({"conditions": [{"type": "Ready", "status": status, "reason": reason,
                "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        };
        for (before, now, told) in [
            (("False", "WaitingForStock"), ("False", "ClaimTimedOut"), Some("TimedOut")),
            (("False", "ClaimTimedOut"), ("False", "ClaimTimedOut"), None),
            (("True", "DependenciesReady"), ("False", "ClaimExpired"), Some("Expired")),
            (("True", "DependenciesReady"), ("False", "SandboxMissing"), Some("SandboxMissing")),
            (("False", "SandboxNotReady"), ("True", "DependenciesReady"), Some("Ready")),
            (("True", "DependenciesReady"), ("False", "DependenciesNotReady"), None),
        ] {
            let before = status(before.0, before.1);
            let now = serde_json::from_value(status(now.0, now.1)).unwrap();
            let got = turn(&claim(), Some(&before), &now);
            assert_eq!(got.map(|event| event.reason), told, "{before}");
        }
    }
}
