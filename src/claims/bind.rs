//! What a bound claim and its Sandbox look like. Pure.

use apiserver::meta::Object;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sandbox_api::{
    API_VERSION, BoundSandbox, LaunchType, PodMetadata, Sandbox, SandboxClaim, SandboxClaimStatus,
    condition, keys,
};
use serde_json::{Map, Value, json};

use crate::conditions::{self, whole_seconds};

/// The claim that a Sandbox is to belong to.
#[derive(Debug, Clone)]
pub(super) struct Owner<'a> {
    pub name: &'a str,
    pub uid: &'a str,
}

impl Owner<'_> {
    /// Makes the claim the controller of an object.
    pub(super) fn reference(&self) -> Value {
        json!({
            "apiVersion": API_VERSION,
            "kind": "SandboxClaim",
            "name": self.name,
            "uid": self.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// A Sandbox from stock as the claim's own: the pool has no part in it any more.
pub(super) fn claimed(
    member: &Object,
    owner: &Owner<'_>,
    metadata: Option<&PodMetadata>,
) -> Object {
    let mut sandbox = member.clone();
    sandbox.set_meta("ownerReferences", json!([owner.reference()]));
    let labels = map(sandbox.metadata_mut(), "labels");
    labels.shift_remove(keys::WARM_POOL_SANDBOX);
    mark(labels, owner, LaunchType::Warm);
    if let Some(metadata) = metadata
        && let Some(template) = sandbox
            .0
            .get_mut("spec")
            .and_then(|spec| spec.get_mut("podTemplate"))
            .and_then(Value::as_object_mut)
    {
        let own = map(template, "metadata");
        for (field, added) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)]
        {
            if !added.is_empty() {
                let all = map(own, field);
                all.extend(added.iter().map(|(key, value)| (key.clone(), json!(value))));
            }
        }
    }
    sandbox
}

/// Labels that say whose a Sandbox is and where it came from.
pub(super) fn mark(labels: &mut Map<String, Value>, owner: &Owner<'_>, launch: LaunchType) {
    labels.insert(keys::CLAIM_UID.into(), owner.uid.into());
    let launch = match launch {
        LaunchType::Warm => "warm",
        LaunchType::Cold => "cold",
    };
    labels.insert(keys::LAUNCH_TYPE.into(), launch.into());
}

/// The member of that name, made if it is not there.
fn map<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let entry = parent.entry(name).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    entry.as_object_mut().expect("made an object just above")
}

/// What a claim tells of one of its Sandboxes.
pub(super) fn bound(sandbox: &Sandbox, launch: LaunchType) -> BoundSandbox {
    let status = sandbox.status.clone().unwrap_or_default();
    BoundSandbox {
        name: sandbox.metadata.name.clone().unwrap_or_default(),
        uid: sandbox.metadata.uid.clone(),
        pod_ips: status.pod_ips,
        node_name: status.node_name,
        service_fqdn: status.service_fqdn,
        launch_type: Some(launch),
    }
}

/// The status of a claim that has these Sandboxes, made from `before`.
pub(super) fn status(
    before: &SandboxClaimStatus,
    generation: i64,
    sandboxes: &[(Sandbox, LaunchType)],
    now: Timestamp,
) -> SandboxClaimStatus {
    let all: Vec<BoundSandbox> =
        sandboxes.iter().map(|(sandbox, launch)| bound(sandbox, *launch)).collect();
    let mut status = SandboxClaimStatus {
        observed_generation: Some(generation),
        conditions: before.conditions.clone(),
        sandbox: all.first().cloned(),
        bound_time: before.bound_time.clone().or_else(|| Some(Time(whole_seconds(now)))),
        waiting_since: None,
        queue_position: None,
        sandboxes: if all.len() > 1 { all } else { Vec::new() },
    };
    for kind in [condition::READY, condition::FINISHED] {
        match mirrored(sandboxes, kind) {
            Some((value, reason, message)) => {
                set_condition(&mut status, (kind, value, &reason, &message), generation, now);
            }
            None => status.conditions.retain(|condition| condition.type_ != kind),
        }
    }
    status
}

/// The status of a claim whose Sandboxes are being gathered from now on. Begun anew it differs, if
/// only in the second.
pub(super) fn binding(
    before: &SandboxClaimStatus,
    claim: &SandboxClaim,
    now: Timestamp,
) -> SandboxClaimStatus {
    let generation = claim.metadata.generation.unwrap_or(1);
    let mut status = before.clone();
    status.observed_generation = Some(generation);
    status.queue_position = None;
    status.conditions.retain(|condition| condition.type_ != condition::READY);
    let text = format!("{} Sandboxes are being bound", claim.spec.replicas());
    let ready = (condition::READY, "False", condition::claim::BINDING, text.as_str());
    set_condition(&mut status, ready, generation, now);
    status
}

/// Since when a claim's Sandboxes are being gathered; `None` if they are not.
pub(super) fn binding_since(status: &SandboxClaimStatus) -> Option<Timestamp> {
    let mut ready = status.conditions.iter().filter(|it| it.type_ == condition::READY);
    let binding = ready.find(|it| it.reason == condition::claim::BINDING)?;
    status.sandbox.is_none().then_some(binding.last_transition_time.0)
}

/// Whether the claim is not to be served from a line: it has ended, or is being bound.
pub(super) fn takes_nothing(status: &SandboxClaimStatus) -> bool {
    use condition::claim::{BINDING, CLAIM_EXPIRED, CLAIM_TIMED_OUT};
    status.conditions.iter().any(|condition| {
        condition.type_ == condition::READY
            && [BINDING, CLAIM_EXPIRED, CLAIM_TIMED_OUT].contains(&condition.reason.as_str())
    })
}

/// What the Sandboxes have in common of a condition: the first of them that is not so far decides.
fn mirrored(
    sandboxes: &[(Sandbox, LaunchType)],
    kind: &str,
) -> Option<(&'static str, String, String)> {
    let find = |sandbox: &Sandbox| {
        let conditions = sandbox.status.as_ref().map(|status| status.conditions.as_slice());
        conditions.unwrap_or_default().iter().find(|condition| condition.type_ == kind).cloned()
    };
    let mut last = None;
    for (sandbox, _) in sandboxes {
        match find(sandbox) {
            Some(condition) if condition.status == "True" => {
                last = Some(("True", condition.reason, condition.message));
            }
            Some(condition) => return Some(("False", condition.reason, condition.message)),
            None if kind == condition::READY => {
                let reason = condition::claim::SANDBOX_NOT_READY.to_owned();
                return Some(("False", reason, "the Sandbox is being started".into()));
            }
            // Finished only when all are.
            None => return None,
        }
    }
    last
}

/// Sets a condition: type, status, reason, message.
pub(super) fn set_condition(
    status: &mut SandboxClaimStatus,
    (kind, value, reason, message): (&str, &str, &str, &str),
    generation: i64,
    now: Timestamp,
) {
    let verdict = (value, reason, message);
    conditions::set(&mut status.conditions, kind, verdict, Some(generation), now);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'static> = Owner { name: "c", uid: "cu" };

    fn member() -> Object {
        Object::from_value(json!({
            "metadata": {
                "name": "p-1", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "labels": {keys::WARM_POOL_SANDBOX: "h", keys::SANDBOX_TEMPLATE_HASH: "t"},
                "ownerReferences": [{"kind": "SandboxWarmPool", "uid": "pu", "controller": true}],
            },
            "spec": {"podTemplate": {"spec": {"containers": []}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_claimed_member_is_the_claims() {
        let got = claimed(&member(), &OWNER, None).into_value();
        let labels = json!({
            keys::SANDBOX_TEMPLATE_HASH: "t", keys::CLAIM_UID: "cu", keys::LAUNCH_TYPE: "warm",
        });
        assert_eq!(got["metadata"]["labels"], labels);
        assert_eq!(got["metadata"]["ownerReferences"], json!([OWNER.reference()]));
        assert_eq!(got["spec"], member().into_value()["spec"]);
        let metadata = PodMetadata {
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..PodMetadata::default()
        };
        let got = claimed(&member(), &OWNER, Some(&metadata)).into_value();
        assert_eq!(got["spec"]["podTemplate"]["metadata"], json!({"labels": {"a": "b"}}));
    }

    #[test]
    fn a_claim_that_is_begun_anew_differs() {
        let claim = SandboxClaim::default();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let none = SandboxClaimStatus::default();
        let first = binding(&none, &claim, at("2026-01-01T00:00:00.7Z"));
        let second = binding(&first, &claim, at("2026-01-01T00:00:09.5Z"));
        assert_eq!(binding_since(&first), Some(at("2026-01-01T00:00:00Z")));
        assert_eq!(binding_since(&second), Some(at("2026-01-01T00:00:09Z")));
        assert_eq!(binding_since(&none), None);
        assert_ne!(first, second);
    }

    #[test]
    fn a_claim_shows_what_its_sandboxes_have_in_common() {
        let sandbox = |ready: Option<&str>| -> Sandbox {
            let conditions: Vec<Value> = ready
                .map(|status| {
                    json!({"type": "Ready", "status": status, "reason": format!("R{status}"),
                        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
                })
                .into_iter()
                .collect();
            serde_json::from_value(json!({
                "metadata": {"name": "s", "uid": "u"},
                "spec": {"podTemplate": {"spec": {"containers": []}}},
                "status": {"conditions": conditions, "podIPs": ["10.0.0.1"], "nodeName": "n"},
            }))
            .unwrap()
        };
        let now: Timestamp = "2026-01-02T00:00:00.5Z".parse().unwrap();
        for (ready, expected) in [
            (vec![Some("True")], ("True", "RTrue")),
            (vec![Some("False")], ("False", "RFalse")),
            (vec![None], ("False", "SandboxNotReady")),
            (vec![Some("True"), Some("False")], ("False", "RFalse")),
            (vec![Some("True"), Some("True")], ("True", "RTrue")),
        ] {
            let all: Vec<_> = ready.iter().map(|it| (sandbox(*it), LaunchType::Warm)).collect();
            let got = status(&SandboxClaimStatus::default(), 1, &all, now);
            let condition = &got.conditions[0];
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_str()),
                expected,
                "{ready:?}"
            );
            assert_eq!(got.conditions.len(), 1, "{ready:?}");
            assert_eq!(got.sandboxes.len(), if all.len() > 1 { all.len() } else { 0 });
            let first = got.sandbox.as_ref().unwrap();
            assert_eq!(first.pod_ips, ["10.0.0.1"]);
            assert_eq!(got.bound_time.as_ref().unwrap().0, "2026-01-02T00:00:00Z".parse().unwrap());
            // Made again from itself it is the same, however late.
            let later: Timestamp = "2026-01-03T00:00:00Z".parse().unwrap();
            assert_eq!(status(&got, 1, &all, later), got);
        }
    }
}
