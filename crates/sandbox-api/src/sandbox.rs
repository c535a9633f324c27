//! Sandbox: one isolated, stateful workload with a stable identity.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Isolation, IsolationLevel, PodTemplate, VolumeClaimTemplate, null_as_default};
use crate::root::root;

root! {
    /// Sandbox is one isolated, stateful workload with a stable identity: a Pod, and a Service and
    /// volumes if asked for. It can be suspended and resumed.
    Sandbox, "sandboxes", SandboxSpec, SandboxStatus
}

impl kube::api::Log for Sandbox {}
impl kube::api::Execute for Sandbox {}
impl kube::api::Attach for Sandbox {}
impl kube::api::Portforward for Sandbox {}

/// What is asked of a Sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxSpec {
    /// The Pod that runs the workload.
    pub pod_template: PodTemplate,
    /// Volumes that outlive the Pod and die with the Sandbox. Immutable.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub volume_claim_templates: Vec<VolumeClaimTemplate>,
    /// True makes a headless Service of the Sandbox's name, false deletes the one it made; without
    /// a value an existing Service stays and none is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<bool>,
    /// The moment from which the Sandbox is expired: its Pod and Service are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_time: Option<Time>,
    /// What becomes of the Sandbox itself on expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Retain"))]
    pub shutdown_policy: Option<ShutdownPolicy>,
    /// Running keeps a Pod; Suspended deletes it and keeps volumes, Service and identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Running"))]
    pub operating_mode: Option<OperatingMode>,
    /// How strongly the workload is kept apart from its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {"level": "Standard"}))]
    pub isolation: Option<Isolation>,
}

impl SandboxSpec {
    /// The operating mode in force.
    pub fn operating_mode(&self) -> OperatingMode {
        self.operating_mode.unwrap_or_default()
    }

    /// The shutdown policy in force.
    pub fn shutdown_policy(&self) -> ShutdownPolicy {
        self.shutdown_policy.unwrap_or_default()
    }

    /// The isolation level in force.
    pub fn isolation_level(&self) -> IsolationLevel {
        self.isolation.and_then(|isolation| isolation.level).unwrap_or_default()
    }
}

/// Whether a Sandbox shall have a Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum OperatingMode {
    #[default]
    Running,
    Suspended,
}

/// What becomes of an expired Sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ShutdownPolicy {
    Delete,
    #[default]
    Retain,
}

/// What the server observed of a Sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxStatus {
    /// Where the Sandbox is in its life, in one word. Conditions say why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SandboxPhase>,
    /// The generation that this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Suspended, PodScheduled and Finished.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
    /// The name of the Pod, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
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
    /// The name of the Service, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The DNS name of the Service, while there is one.
    #[serde(default, rename = "serviceFQDN", skip_serializing_if = "Option::is_none")]
    pub service_fqdn: Option<String>,
    /// A label selector that finds the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// When the present Pod was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When a stream to the Sandbox last moved a byte, began or ended. Known to the server that
    /// answers alone, since it was started: never stored, and not in watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_time: Option<Time>,
    /// When the Sandbox was last suspended; empty while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_time: Option<Time>,
}

/// Where a Sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum SandboxPhase {
    Pending,
    Running,
    Suspending,
    Suspended,
    Resuming,
    Succeeded,
    Failed,
    Expired,
}
