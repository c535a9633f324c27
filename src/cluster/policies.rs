//! NetworkPolicies as a port: what `templates` needs of the host cluster.
//!
//! There is no cache: a policy is looked at when its template or the policy itself has changed, and
//! otherwise once in a while.

use std::fmt;

use apiserver::meta::ObjectKey;
use async_trait::async_trait;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tokio::sync::broadcast;

/// On every policy that is kept for a template: the hash of the template's name. The watch filters
/// by it.
pub const TEMPLATE_LABEL: &str = sandbox_api::keys::SANDBOX_TEMPLATE_REF_HASH;

/// News of policies that carry [`TEMPLATE_LABEL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    One(ObjectKey),
    /// Something may have been missed.
    All,
}

/// Why the host cluster did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The name is taken, or the object is not as it was read: read it again.
    #[error("NetworkPolicy {0} has changed meanwhile")]
    Changed(ObjectKey),
    /// Admission, quota, validation or RBAC said no: the user must see the text.
    #[error("{message}")]
    Rejected { message: String },
    /// No answer. The write may or may not have happened.
    #[error("cluster unavailable: {detail}")]
    Unavailable { detail: String },
}

/// The NetworkPolicies of the host cluster.
#[async_trait]
pub trait NetworkPolicies: Send + Sync + fmt::Debug {
    /// From the cluster itself.
    async fn get(&self, key: &ObjectKey) -> Result<Option<NetworkPolicy>, PolicyError>;

    /// Only if there is none of the name.
    async fn create(&self, policy: NetworkPolicy) -> Result<(), PolicyError>;

    /// Only the object with the uid and resourceVersion of `policy`.
    async fn replace(&self, policy: NetworkPolicy) -> Result<(), PolicyError>;

    /// Only the object with this uid.
    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), PolicyError>;

    /// Changes from now on. A receiver that lags must look at everything again.
    fn changes(&self) -> broadcast::Receiver<PolicyChange>;
}
