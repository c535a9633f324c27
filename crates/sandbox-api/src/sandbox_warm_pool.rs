//! SandboxWarmPool: a stock of started Sandboxes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{ObjectReference, null_as_default};
use crate::root::root;

root! {
    /// SandboxWarmPool keeps a number of started Sandboxes of one template in stock, so that claims
    /// are answered at once.
    SandboxWarmPool, "sandboxwarmpools", SandboxWarmPoolSpec, SandboxWarmPoolStatus
}

/// What is asked of a warm pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxWarmPoolSpec {
    /// How many Sandboxes to keep in stock; claimed ones do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 1))]
    pub replicas: Option<i32>,
    /// The template of the Sandboxes.
    pub sandbox_template_ref: ObjectReference,
    /// What happens to the stock when the template changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = {"type": "OnReplenish"}))]
    pub update_strategy: Option<UpdateStrategy>,
    /// What becomes of claims that wait for the pool when it is deleted. Its stock goes with it
    /// unless the deletion orphans it (propagationPolicy Orphan).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<PoolDeletionPolicy>,
}

impl SandboxWarmPoolSpec {
    /// How many Sandboxes to keep in stock.
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(1)
    }

    /// The update strategy in force.
    pub fn update_strategy(&self) -> UpdateStrategyType {
        self.update_strategy.as_ref().and_then(|strategy| strategy.type_).unwrap_or_default()
    }

    /// What becomes of waiting claims when the pool is deleted.
    pub fn claims_on_deletion(&self) -> ClaimsOnDeletion {
        self.deletion_policy.and_then(|policy| policy.claims).unwrap_or_default()
    }
}

/// What happens to the stock when the template changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Recreate replaces stale stock at once; OnReplenish lets it be used up; RollingUpdate
    /// replaces it step by step and gives none of it to claims.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "OnReplenish"))]
    pub type_: Option<UpdateStrategyType>,
    /// The pace of RollingUpdate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
}

/// The pace of a rolling update: numbers of Sandboxes, or shares of replicas as in "25%".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpdate {
    /// How many Sandboxes may be in stock above replicas; shares are rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
    /// How many of replicas may be missing from the ready stock, stale ones counted as ready;
    /// shares are rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// What becomes of what belongs to a deleted pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolDeletionPolicy {
    /// The claims that wait for stock of the pool: Retain keeps them unbound, Delete deletes them.
    /// Bound claims stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Retain"))]
    pub claims: Option<ClaimsOnDeletion>,
}

/// What becomes of claims that wait for a deleted pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ClaimsOnDeletion {
    #[default]
    Retain,
    Delete,
}

/// The kind of an update strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UpdateStrategyType {
    Recreate,
    #[default]
    OnReplenish,
    RollingUpdate,
}

/// What the server observed of a warm pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SandboxWarmPoolStatus {
    /// How many Sandboxes are in stock, ready or not.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// How many Sandboxes are in stock and ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// How many Sandboxes in stock are of the template's present revision.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub updated_replicas: i32,
    /// How many of them are ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub updated_ready_replicas: i32,
    /// How many Sandboxes of the pool were claimed in the last minute.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub claimed_per_minute: i32,
    /// The template's revision that the stock is brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_revision: Option<String>,
    /// A label selector that finds the Pods in stock, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The generation that this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: whether the stock is complete, and if not, why.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}
