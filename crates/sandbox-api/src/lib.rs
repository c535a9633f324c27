//! Types of the Kubernetes API group `sandbox.x-k8s.io`, for kube-rs clients.
//!
//! The root types work with `kube::Api` as they are, the streaming verbs included:
//! `Api<Sandbox>::exec`, `attach`, `portforward` and `logs` need `create` on `sandboxes/exec` (and
//! so on) and no right on Pods. [`actions`] has what is no verb of every kind: to claim, to suspend
//! and so on; `examples/agent.rs` shows all of it.
//!
//! Fields that the server gives a default are `Option`s: a client that applies an object owns only
//! what it set. Methods of the same name give the value in force, for example
//! [`SandboxSpec::operating_mode`]. Doc comments of the types are the text of `kubectl explain`.

pub mod actions;
mod common;
pub mod condition;
pub mod keys;
mod root;
mod sandbox;
mod sandbox_claim;
mod sandbox_template;
mod sandbox_warm_pool;

pub use self::common::{
    EmbeddedMetadata, Isolation, IsolationLevel, ObjectReference, PodMetadata, PodTemplate,
    VolumeClaimTemplate,
};
pub use self::sandbox::{
    OperatingMode, Sandbox, SandboxPhase, SandboxSpec, SandboxStatus, ShutdownPolicy,
};
pub use self::sandbox_claim::{
    BoundSandbox, ClaimLifecycle, ClaimShutdownPolicy, EnvVar, LaunchType, OnEmptyPool,
    SandboxClaim, SandboxClaimSpec, SandboxClaimStatus,
};
pub use self::sandbox_template::{
    InjectionPolicy, NetworkPolicyManagement, SandboxTemplate, SandboxTemplateSpec,
    SandboxTemplateStatus, TemplateNetworkPolicy, TemplateUsers,
};
pub use self::sandbox_warm_pool::{
    ClaimsOnDeletion, PoolDeletionPolicy, RollingUpdate, SandboxWarmPool, SandboxWarmPoolSpec,
    SandboxWarmPoolStatus, UpdateStrategy, UpdateStrategyType,
};

/// The API group.
pub const GROUP: &str = "sandbox.x-k8s.io";
/// The version of every type of this crate.
pub const VERSION: &str = "v1beta1";
/// `group/version`, as in `apiVersion`.
pub const API_VERSION: &str = "sandbox.x-k8s.io/v1beta1";

#[cfg(test)]
mod tests;
