//! What a pool's Events say. Pure.

use std::collections::BTreeMap;

use sandbox_api::{SandboxWarmPool, SandboxWarmPoolStatus, condition};
use serde_json::Value;

use super::plan::Why;
use crate::claims::stock::Member;
use crate::events::{Event, Subject};

fn about(pool: &SandboxWarmPool) -> Subject {
    Subject::named("SandboxWarmPool", &pool.metadata)
}

pub(super) fn created(pool: &SandboxWarmPool, count: usize) -> Event {
    let note = format!("made {count} of {} Sandboxes", pool.spec.replicas());
    Event::normal(about(pool), ("Created", "Refill"), note)
}

pub(super) fn deleted(pool: &SandboxWarmPool, removed: &[(&Member, Why)]) -> Event {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, why) in removed {
        *counts.entry(why.as_str()).or_default() += 1;
    }
    let counts: Vec<_> = counts.iter().map(|(why, count)| format!("{count} {why}")).collect();
    let note = format!("deleted {} Sandboxes: {}", removed.len(), counts.join(", "));
    Event::normal(about(pool), ("Deleted", "Delete"), note)
}

/// If the pool made progress before, as its stored status says, and makes none now.
pub(super) fn not_progressing(
    pool: &SandboxWarmPool,
    before: Option<&Value>,
    status: &SandboxWarmPoolStatus,
) -> Option<Event> {
    let stuck = condition::pool::NOT_PROGRESSING;
    let ready = status.conditions.iter().find(|it| it.type_ == condition::READY)?;
    let conditions = before.and_then(|status| status.get("conditions")?.as_array());
    let was = conditions.into_iter().flatten().find(|it| it["type"] == condition::READY);
    if ready.reason != stuck || was.is_some_and(|was| was["reason"] == stuck) {
        return None;
    }
    Some(Event::warning(about(pool), (stuck, "Refill"), ready.message.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn that_nothing_moves_is_told_when_it_begins() {
        let pool: SandboxWarmPool = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"replicas": 2, "sandboxTemplateRef": {"name": "t"}},
        }))
        .unwrap();
        let status = |reason: &str| {
            json!({"replicas": 0, "readyReplicas": 0, "updatedReplicas": 0,
                "updatedReadyReplicas": 0, "claimedPerMinute": 0,
                "conditions": [{"type": "Ready", "status": "False", "reason": reason,
                    "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        };
        for (before, now, told) in [
            (None, "NotProgressing", true),
            (Some("Replenishing"), "NotProgressing", true),
            (Some("NotProgressing"), "NotProgressing", false),
            (Some("NotProgressing"), "Replenishing", false),
        ] {
            let before = before.map(status);
            let now = serde_json::from_value(status(now)).unwrap();
            let got = not_progressing(&pool, before.as_ref(), &now);
            assert_eq!(got.is_some(), told, "{before:?}");
            assert!(got.is_none_or(|event| event.note == "why" && event.about.uid == "u"));
        }
    }
}
