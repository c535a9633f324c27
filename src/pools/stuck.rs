//! What keeps a member from becoming ready, if it is more than time. Pure.

use sandbox_api::condition::ready;

use crate::claims::stock::Member;
use crate::provision::status::pod_trouble;

/// Whether another in its place would fare better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stuck {
    /// Nothing is known to be wrong.
    No,
    /// It starts and fails: another may not.
    Failing,
    /// The node can't start it, mostly because of what the template says: another node might.
    Node,
    /// There is no Pod, or no node for it: another would have nothing either.
    Cluster,
}

/// What the kubelet says of a container that it can't begin to run.
const NODE: [&str; 13] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "ImageVolumeMountFailed",
    "RROUnsupported",
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
];

impl Stuck {
    pub(super) fn of(member: &Member) -> Self {
        if member.ready || member.deleting {
            return Self::No;
        }
        let refused = [ready::RECONCILER_ERROR, ready::ISOLATION_UNAVAILABLE, ready::MULTIPLE_PODS];
        if member.unschedulable || refused.contains(&member.reason.as_str()) {
            return Self::Cluster;
        }
        match pod_trouble(&member.message) {
            Some(reason) if NODE.contains(&reason) => Self::Node,
            Some(_) => Self::Failing,
            None => Self::No,
        }
    }
}
