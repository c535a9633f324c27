//! SandboxTemplate: a blueprint of Sandboxes, and what claims may change of it.

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Isolation, IsolationLevel, PodTemplate, VolumeClaimTemplate, null_as_default};
use crate::root::root;

root! {
    /// SandboxTemplate is a blueprint from which warm pools and claims make Sandboxes, with the
    /// network policy they share and the rules for what a claim may change.
    SandboxTemplate, "sandboxtemplates", SandboxTemplateSpec, SandboxTemplateStatus
}

/// A blueprint of Sandboxes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxTemplateSpec {
    /// The Pod that runs the workload.
    pub pod_template: PodTemplate,
    /// Volumes of each Sandbox.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub volume_claim_templates: Vec<VolumeClaimTemplate>,
    /// True gives each Sandbox a headless Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<bool>,
    /// How strongly the workloads are kept apart from their nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {"level": "Standard"}))]
    pub isolation: Option<Isolation>,
    /// The rules of the NetworkPolicy for all Sandboxes of this template; without it, a strict
    /// default policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<TemplateNetworkPolicy>,
    /// Managed keeps a NetworkPolicy for the template; Unmanaged leaves that to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Managed"))]
    pub network_policy_management: Option<NetworkPolicyManagement>,
    /// Whether a claim may set environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Disallowed"))]
    pub env_vars_injection_policy: Option<InjectionPolicy>,
    /// Whether a claim may bring volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Disallowed"))]
    pub volume_claim_templates_policy: Option<InjectionPolicy>,
}

impl SandboxTemplateSpec {
    /// The isolation level in force.
    pub fn isolation_level(&self) -> IsolationLevel {
        self.isolation.and_then(|isolation| isolation.level).unwrap_or_default()
    }

    /// Who keeps the NetworkPolicy.
    pub fn network_policy_management(&self) -> NetworkPolicyManagement {
        self.network_policy_management.unwrap_or_default()
    }

    /// The rule for environment variables of claims.
    pub fn env_vars_injection_policy(&self) -> InjectionPolicy {
        self.env_vars_injection_policy.unwrap_or_default()
    }

    /// The rule for volumes of claims.
    pub fn volume_claim_templates_policy(&self) -> InjectionPolicy {
        self.volume_claim_templates_policy.unwrap_or_default()
    }
}

/// The rules of a NetworkPolicy. Both directions are always governed: an empty list denies all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateNetworkPolicy {
    /// Traffic allowed into the Pods; empty denies all.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ingress: Vec<NetworkPolicyIngressRule>,
    /// Traffic allowed out of the Pods; empty denies all.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub egress: Vec<NetworkPolicyEgressRule>,
}

/// Who keeps the NetworkPolicy of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum NetworkPolicyManagement {
    #[default]
    Managed,
    Unmanaged,
}

/// What a claim may add to a template: nothing, new names only, or also values for existing names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum InjectionPolicy {
    #[default]
    Disallowed,
    Allowed,
    Overrides,
}

/// What the server observed of a SandboxTemplate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxTemplateStatus {
    /// The generation that this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// A hash of what makes a Pod differ; Sandboxes made from another revision are stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Who uses the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<TemplateUsers>,
    /// Ready: whether Sandboxes can be made from the template.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// How many objects of its namespace use a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateUsers {
    /// Warm pools of the template.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub warm_pools: i32,
    /// Claims that name it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub claims: i32,
}
