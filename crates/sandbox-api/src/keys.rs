//! Labels and annotations that the server sets or reads.

/// Prefix of every key below. Keys with it are the server's: they are dropped from Pod templates.
pub const PREFIX: &str = "sandbox.x-k8s.io/";

/// Label of Pods, Services and PVCs: hash of the Sandbox's name; selects the Pod of a Service.
pub const SANDBOX_NAME_HASH: &str = "sandbox.x-k8s.io/sandbox-name-hash";
/// Annotation of a Sandbox: the name of its Pod where it is not the Sandbox's own.
pub const POD_NAME: &str = "sandbox.x-k8s.io/pod-name";
/// Annotation of Sandboxes: the template they were made from.
pub const SANDBOX_TEMPLATE_REF: &str = "sandbox.x-k8s.io/sandbox-template-ref";
/// Label of Sandboxes and Pods: hash of the template's name; selects Pods of a NetworkPolicy.
pub const SANDBOX_TEMPLATE_REF_HASH: &str = "sandbox.x-k8s.io/sandbox-template-ref-hash";
/// Label of Sandboxes: hash of the blueprint they were made from; another hash means stale.
pub const SANDBOX_TEMPLATE_HASH: &str = "sandbox.x-k8s.io/sandbox-template-hash";
/// Label of Sandboxes in stock: hash of the name of their warm pool.
pub const WARM_POOL_SANDBOX: &str = "sandbox.x-k8s.io/warm-pool-sandbox";
/// Label of Sandboxes: `cold` or `warm`.
pub const LAUNCH_TYPE: &str = "sandbox.x-k8s.io/launch-type";
/// Label: the client that made the object.
pub const CREATED_BY: &str = "sandbox.x-k8s.io/created-by";
/// Label of Sandboxes and Pods: the UID of the claim that owns them.
pub const CLAIM_UID: &str = "sandbox.x-k8s.io/claim-uid";
/// Label: `true` lets a Sandbox adopt an unowned Pod, Service or PVC of the right name.
pub const ADOPTABLE: &str = "sandbox.x-k8s.io/adoptable";
/// Annotation of Pods: the label keys that came from the Sandbox, to remove them with it.
pub const PROPAGATED_LABELS: &str = "sandbox.x-k8s.io/propagated-labels";
/// Annotation of Pods: the annotation keys that came from the Sandbox, to remove them with it.
pub const PROPAGATED_ANNOTATIONS: &str = "sandbox.x-k8s.io/propagated-annotations";
/// Annotation of Sandboxes and Pods: when `restart` was last asked for, in RFC 3339.
pub const RESTARTED_AT: &str = "sandbox.x-k8s.io/restarted-at";
/// Annotation: W3C trace context of the request that made the object.
pub const TRACE_CONTEXT: &str = "opentelemetry.io/trace-context";
/// Annotation of audit events: the Sandbox that a stream went to, or those that a claim was given.
pub const AUDITED_SANDBOX: &str = "sandbox.x-k8s.io/sandbox";
/// Annotation of audit events: the claim that was made.
pub const AUDITED_CLAIM: &str = "sandbox.x-k8s.io/claim";
/// Annotation of Pods in stock: lets the cluster autoscaler move them.
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// Whether `key` is the server's own, so that templates must not set it.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(PREFIX) || key == TRACE_CONTEXT
}
