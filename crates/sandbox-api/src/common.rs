//! Parts that several kinds share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimSpec, PodSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// The Pod of a Sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodMetadata>,
    /// The Pod's specification. A change is not applied to a running Pod: it takes effect when the
    /// Pod is next started, for example by `restart`.
    pub spec: PodSpec,
}

/// Labels and annotations of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels to set on the Pod. Keys that the server reserves for itself are not
    /// passed on.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations to set on the Pod. Keys that the server reserves for itself are not
    /// passed on.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A PersistentVolumeClaim that is made for a Sandbox and deleted with it. The Pod mounts it by
/// its name, as with a StatefulSet; it replaces a volume of the same name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaimTemplate {
    /// Name, labels and annotations. The claim in the cluster is called `<name>-<sandbox>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<EmbeddedMetadata>,
    /// The PersistentVolumeClaim's specification.
    pub spec: PersistentVolumeClaimSpec,
}

impl VolumeClaimTemplate {
    /// The name; empty when absent.
    pub fn name(&self) -> &str {
        self.metadata.as_ref().and_then(|m| m.name.as_deref()).unwrap_or_default()
    }
}

/// Name, labels and annotations of an object to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmbeddedMetadata {
    /// The name; a DNS label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels to set.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations to set.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A reference to an object of the same namespace by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// The object's name.
    pub name: String,
}

/// How strongly the workload is kept apart from its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// The level asked for; never weakened. Where the cluster has no RuntimeClass for it, no Pod is
    /// started and the condition Ready is False with the reason IsolationUnavailable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "Standard"))]
    pub level: Option<IsolationLevel>,
}

/// A level of isolation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum IsolationLevel {
    // Line comments, not doc comments: schemars would turn documented variants into a `oneOf`,
    // which is no structural schema.
    // The node's default runtime, or the RuntimeClass that the Pod template names.
    #[default]
    Standard,
    // A kernel in user space, as gVisor's.
    UserKernel,
    // A virtual machine of its own, as Kata's.
    VirtualMachine,
}

/// Go clients write `null` for empty lists and maps.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
