//! Which Pod a stream goes to, if any. Pure.

use apiserver::meta::{Object, ObjectKey};
use sandbox_api::{OperatingMode, Sandbox, keys};

use super::kind::Kind;
use crate::cluster::PodPhase;
use crate::cluster::streams::PodFacts;

/// kubectl's and kube-apiserver's.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The Pod to look at.
///
/// # Errors
/// Why there can't be one, for a 409.
pub(super) fn pod_key(key: &ObjectKey, sandbox: &Sandbox) -> Result<ObjectKey, String> {
    if sandbox.spec.operating_mode() == OperatingMode::Suspended {
        return Err("the sandbox is suspended; resume it first".into());
    }
    let recorded = sandbox.status.as_ref().and_then(|status| status.pod_name.clone());
    Ok(ObjectKey {
        namespace: key.namespace.clone(),
        name: recorded.unwrap_or_else(|| key.name.clone()),
    })
}

/// Whether the Sandbox's own Pod is on its way out: deleted, or of the time before the last
/// `restart`, for which the loop will delete it.
pub(super) fn is_going(sandbox: &Object, pod: &PodFacts) -> bool {
    let restart = sandbox.annotation(keys::RESTARTED_AT);
    pod.meta.owned_by(sandbox.uid()) && (pod.meta.deleting || pod.meta.predates(restart))
}

/// The container to take if the user names none.
///
/// # Errors
/// Why the Pod can't be streamed to, for a 409.
pub(super) fn container(
    kind: &Kind,
    sandbox_uid: &str,
    pod: Option<&PodFacts>,
) -> Result<String, String> {
    let Some(pod) = pod else { return Err("the sandbox has no Pod at present".into()) };
    let name = &pod.meta.key.name;
    if sandbox_uid.is_empty() || !pod.meta.owned_by(sandbox_uid) {
        return Err(format!("the Pod {name:?} does not belong to the sandbox"));
    }
    // Logs of a Pod that has ended are what tells why; of one that has not begun, the cluster
    // itself says it best.
    if kind.upgrades && pod.phase != PodPhase::Running {
        return Err(format!("the Pod {name:?} is not running: its phase is {:?}", pod.phase));
    }
    let annotated = pod.meta.annotations.get(DEFAULT_CONTAINER);
    let annotated = annotated.filter(|name| pod.containers.contains(name));
    Ok(annotated.or_else(|| pod.containers.first()).cloned().unwrap_or_default())
}
