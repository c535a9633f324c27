//! SandboxWarmPool: a stock of started Sandboxes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
}

impl SandboxWarmPoolSpec {
    /// How many Sandboxes to keep in stock.
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(1)
    }

    /// The update strategy in force.
    pub fn update_strategy(&self) -> UpdateStrategyType {
        self.update_strategy.and_then(|strategy| strategy.type_).unwrap_or_default()
    }
}

/// What happens to the stock when the template changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// Recreate replaces stale stock at once; OnReplenish lets it be used up.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "OnReplenish"))]
    pub type_: Option<UpdateStrategyType>,
}

/// The kind of an update strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum UpdateStrategyType {
    Recreate,
    #[default]
    OnReplenish,
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
