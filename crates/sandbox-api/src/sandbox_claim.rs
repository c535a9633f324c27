//! SandboxClaim: the request for one Sandbox, from a warm pool's stock or a template.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ObjectReference, PodMetadata, VolumeClaimTemplate, null_as_default};
use crate::root::root;

root! {
    /// SandboxClaim asks for one Sandbox and owns it: one from the stock of a warm pool where there
    /// is one, else a new one.
    SandboxClaim, "sandboxclaims", SandboxClaimSpec, SandboxClaimStatus
}

impl kube::api::Log for SandboxClaim {}
impl kube::api::Execute for SandboxClaim {}
impl kube::api::Attach for SandboxClaim {}
impl kube::api::Portforward for SandboxClaim {}

/// What a claim asks for. Exactly one of warmPoolRef and sandboxTemplateRef is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxClaimSpec {
    /// The warm pool to take from. Immutable once bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_pool_ref: Option<ObjectReference>,
    /// The template to make the Sandbox from; stock of any pool of that template will do. Immutable
    /// once bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_template_ref: Option<ObjectReference>,
    /// What happens where no stock is ready: ColdStart makes a new Sandbox, Fail rejects the claim
    /// with PoolExhausted, Wait keeps it until there is stock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "ColdStart"))]
    pub on_empty_pool: Option<OnEmptyPool>,
    /// How many Sandboxes to bind, all or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000), extend("default" = 1))]
    pub replicas: Option<i32>,
    /// The longest time to wait for stock, as a Go duration; a claim that is not bound by then has
    /// failed and takes nothing any more. Only where onEmptyPool is Wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// A key of the client's choice, at most 63 characters: a repeated request with the same key
    /// gets the Sandbox of the first. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When the claim ends and what becomes of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<ClaimLifecycle>,
    /// Labels and annotations for the Pod in addition to the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_pod_metadata: Option<PodMetadata>,
    /// Environment variables, if the template allows it. They force a cold start.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub env: Vec<EnvVar>,
    /// Volumes, if the template allows it. They force a cold start.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub volume_claim_templates: Vec<VolumeClaimTemplate>,
}

impl SandboxClaimSpec {
    /// What happens where no stock is ready.
    pub fn on_empty_pool(&self) -> OnEmptyPool {
        self.on_empty_pool.unwrap_or_default()
    }

    /// How many Sandboxes to bind.
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(1)
    }

    /// Whether the claim asks for something that no Sandbox in stock can have.
    pub fn needs_cold_start(&self) -> bool {
        !self.env.is_empty() || !self.volume_claim_templates.is_empty()
    }
}

/// What happens to a claim where no stock is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum OnEmptyPool {
    #[default]
    ColdStart,
    Fail,
    Wait,
}

/// When a claim ends and what becomes of it then. The earlier of the two moments counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimLifecycle {
    /// The moment from which the claim is expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_time: Option<Time>,
    /// Seconds from the end of the workload to the expiry of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// What becomes of an expired claim: Retain keeps it and deletes its Sandbox, Delete deletes
    /// both, DeleteForeground deletes the claim after its Sandbox and Pod are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Retain"))]
    pub shutdown_policy: Option<ClaimShutdownPolicy>,
}

impl ClaimLifecycle {
    /// The shutdown policy in force.
    pub fn shutdown_policy(&self) -> ClaimShutdownPolicy {
        self.shutdown_policy.unwrap_or_default()
    }
}

/// What becomes of an expired claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ClaimShutdownPolicy {
    Delete,
    DeleteForeground,
    #[default]
    Retain,
}

/// An environment variable for one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// The variable's value.
    pub value: String,
    /// The container to set it in; without a name, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// What the server observed of a SandboxClaim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxClaimStatus {
    /// The generation that this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready and Finished.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// The Sandbox that the claim is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<BoundSandbox>,
    /// All Sandboxes of a claim with more than one; the first of them is also in sandbox.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub sandboxes: Vec<BoundSandbox>,
    /// When the claim was bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_time: Option<Time>,
    /// Since when the claim waits for stock; who waits longer is served first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<MicroTime>,
    /// How many claims are to be served before this one, while it waits for stock. From time to
    /// time brought up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub queue_position: Option<i64>,
}

/// The Sandbox of a claim, with what a client needs to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundSandbox {
    /// The Sandbox's name. One from stock keeps the name its pool gave it.
    pub name: String,
    /// The Sandbox's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The addresses of the Pod, while there is one.
    #[serde(
        default,
        rename = "podIPs",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub pod_ips: Vec<String>,
    /// The node of the Pod, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The DNS name of the Service, while there is one.
    #[serde(default, rename = "serviceFQDN", skip_serializing_if = "Option::is_none")]
    pub service_fqdn: Option<String>,
    /// Whether the Sandbox came from stock or was made for this claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_type: Option<LaunchType>,
}

/// Where the Sandbox of a claim came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum LaunchType {
    Warm,
    Cold,
}
