//! The small steps between Kubernetes' client and our port.

use apiserver::meta::ObjectKey;
use kube::Resource;
use kube::core::Status;
use serde_json::{Value, json};

use crate::cluster::{ChildKind, ClusterError, MetadataPatch};

pub(super) fn revision<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The uid in the patch makes the API server refuse it (409) on any other object of the name.
pub(super) fn merge_patch(patch: &MetadataPatch) -> Value {
    let mut metadata = json!({ "uid": patch.uid });
    if !patch.labels.is_empty() {
        metadata["labels"] = json!(patch.labels);
    }
    if !patch.annotations.is_empty() {
        metadata["annotations"] = json!(patch.annotations);
    }
    if let Some(owner) = &patch.owner {
        metadata["ownerReferences"] = json!([owner]);
    }
    json!({ "metadata": metadata })
}

pub(super) fn translate(kind: ChildKind, key: &ObjectKey, error: kube::Error) -> ClusterError {
    let kube::Error::Api(status) = error else {
        return ClusterError::Unavailable { detail: error.to_string() };
    };
    let key = key.clone();
    if namespace_ends(&status) {
        return ClusterError::NamespaceEnds { message: status.message };
    }
    match (status.code, status.reason.as_str()) {
        (409, "AlreadyExists") => ClusterError::AlreadyExists { kind, key },
        // A uid that is not the one asked for: that object is gone.
        (404 | 409, _) => ClusterError::NotFound { kind, key },
        (400 | 403 | 413 | 422, _) => ClusterError::Rejected { message: status.message },
        _ => ClusterError::Unavailable { detail: status.message },
    }
}

/// `[apiserver] pkg/admission/plugin/namespace/lifecycle/admission.go`: a 403 with a cause of its own
/// while it is being deleted, a 404 of the namespace afterwards.
fn namespace_ends(status: &Status) -> bool {
    let details = status.details.as_ref();
    let causes = details.map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
        || status.code == 404 && details.is_some_and(|details| details.kind == "namespaces")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_reach_the_user_and_outages_are_retried() {
        let key = ObjectKey::namespaced("ns", "a");
        let of = |code: u16, reason: &str, message: &str| {
            let status = Status::failure(message, reason).with_code(code).boxed();
            translate(ChildKind::Pod, &key, kube::Error::Api(status))
        };
        let (kind, key) = (ChildKind::Pod, key.clone());
        let exists = ClusterError::AlreadyExists { kind, key: key.clone() };
        let gone = ClusterError::NotFound { kind, key: key.clone() };
        assert_eq!(of(409, "AlreadyExists", "pods \"a\" already exists"), exists);
        assert_eq!(of(404, "NotFound", "pods \"a\" not found"), gone);
        assert_eq!(of(409, "Conflict", "Precondition failed: UID in precondition"), gone);
        for (code, reason) in [(400, "BadRequest"), (403, "Forbidden"), (422, "Invalid")] {
            let refused = ClusterError::Rejected { message: "why".into() };
            assert_eq!(of(code, reason, "why"), refused, "{code}");
        }
        let ends = ClusterError::NamespaceEnds { message: "why".into() };
        for (code, details) in [
            (
                403,
                json!({"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]}),
            ),
            (404, json!({"kind": "namespaces", "name": "ns"})),
        ] {
            let status = json!({"message": "why", "code": code, "details": details});
            let status: Status = serde_json::from_value(status).unwrap();
            assert_eq!(translate(kind, &key, kube::Error::Api(status.boxed())), ends, "{code}");
        }
        for (code, reason) in
            [(401, "Unauthorized"), (429, "TooManyRequests"), (500, ""), (504, "")]
        {
            assert!(matches!(of(code, reason, "x"), ClusterError::Unavailable { .. }), "{code}");
        }
    }

    #[test]
    fn a_patch_is_bound_to_the_uid() {
        let patch = MetadataPatch {
            uid: "u".into(),
            labels: [("gone".to_owned(), None)].into(),
            ..MetadataPatch::default()
        };
        let expected = json!({ "metadata": { "uid": "u", "labels": { "gone": null } } });
        assert_eq!(merge_patch(&patch), expected);
    }
}
