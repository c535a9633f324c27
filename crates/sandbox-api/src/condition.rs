//! Condition types and their reasons.

/// The Pod runs, is ready and has an address, and the Service exists if asked for.
pub const READY: &str = "Ready";
/// The Sandbox has no Pod because its operating mode is Suspended.
pub const SUSPENDED: &str = "Suspended";
/// A copy of the Pod's condition.
pub const POD_SCHEDULED: &str = "PodScheduled";
/// The Pod ended by itself.
pub const FINISHED: &str = "Finished";

/// Reasons of [`READY`] on a Sandbox; claims forward them.
pub mod ready {
    pub const DEPENDENCIES_READY: &str = "DependenciesReady";
    pub const DEPENDENCIES_NOT_READY: &str = "DependenciesNotReady";
    pub const MULTIPLE_PODS: &str = "MultiplePods";
    pub const SANDBOX_SUSPENDED: &str = "SandboxSuspended";
    pub const POD_SUCCEEDED: &str = "PodSucceeded";
    pub const POD_FAILED: &str = "PodFailed";
    pub const SANDBOX_EXPIRED: &str = "SandboxExpired";
    pub const RECONCILER_ERROR: &str = "ReconcilerError";
    /// The cluster has no RuntimeClass for the isolation level; no Pod is started.
    pub const ISOLATION_UNAVAILABLE: &str = "IsolationUnavailable";
}

/// Reasons of [`SUSPENDED`].
pub mod suspended {
    pub const POD_TERMINATED: &str = "PodTerminated";
    pub const POD_TERMINATING: &str = "PodTerminating";
    pub const POD_NOT_OWNED: &str = "PodNotOwned";
    pub const NOT_SUSPENDED: &str = "NotSuspended";
    pub const POD_STATE_UNKNOWN: &str = "PodStateUnknown";
}

/// Reasons of [`FINISHED`].
pub mod finished {
    pub const POD_SUCCEEDED: &str = "PodSucceeded";
    pub const POD_FAILED: &str = "PodFailed";
}

/// Fallback reasons of [`POD_SCHEDULED`].
pub mod pod_scheduled {
    pub const POD_SCHEDULED: &str = "PodScheduled";
    pub const POD_SCHEDULING_UNKNOWN: &str = "PodSchedulingUnknown";
}

/// Reasons of [`READY`] that only a claim has.
pub mod claim {
    pub const TEMPLATE_NOT_FOUND: &str = "TemplateNotFound";
    pub const WARM_POOL_NOT_FOUND: &str = "WarmPoolNotFound";
    pub const POOL_EXHAUSTED: &str = "PoolExhausted";
    pub const SANDBOX_CREATE_PENDING: &str = "SandboxCreatePending";
    pub const INVALID_METADATA: &str = "InvalidMetadata";
    pub const ENV_VARS_INJECTION_REJECTED: &str = "EnvVarsInjectionRejected";
    pub const VOLUME_CLAIM_TEMPLATES_ERROR: &str = "VolumeClaimTemplatesError";
    pub const CLAIM_EXPIRED: &str = "ClaimExpired";
    pub const SANDBOX_MISSING: &str = "SandboxMissing";
    pub const SANDBOX_NOT_READY: &str = "SandboxNotReady";
    /// The claim waits for stock.
    pub const WAITING_FOR_STOCK: &str = "WaitingForStock";
    /// It has more Sandboxes than one transaction can bind, and not all of them yet.
    pub const BINDING: &str = "Binding";
    /// It has waited for as long as it wanted to.
    pub const CLAIM_TIMED_OUT: &str = "ClaimTimedOut";
}

/// Reasons of [`READY`] on a warm pool.
pub mod pool {
    pub const STOCK_FULL: &str = "StockFull";
    pub const REPLENISHING: &str = "Replenishing";
    pub const TEMPLATE_NOT_FOUND: &str = "TemplateNotFound";
    pub const NOT_PROGRESSING: &str = "NotProgressing";
}

/// Reasons of [`READY`] on a template.
pub mod template {
    pub const ACCEPTED: &str = "Accepted";
    /// The NetworkPolicy could not be kept as asked.
    pub const NETWORK_POLICY_FAILED: &str = "NetworkPolicyFailed";
    /// Its name is taken by a NetworkPolicy that is not the template's.
    pub const NETWORK_POLICY_TAKEN: &str = "NetworkPolicyTaken";
    /// Somebody else keeps changing it.
    pub const NETWORK_POLICY_CONTESTED: &str = "NetworkPolicyContested";
}
