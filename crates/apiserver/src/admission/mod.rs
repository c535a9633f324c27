//! Admission: what must hold besides the object's own validity.

use std::fmt;

use async_trait::async_trait;

use crate::meta::GroupResource;
use crate::status::ApiError;

/// The host cluster's view of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceState {
    Missing,
    Active,
    Terminating,
}

/// Port to the host cluster's namespaces; cached with a live fallback by its implementation.
#[async_trait]
pub trait Namespaces: Send + Sync {
    async fn state(&self, name: &str) -> Result<NamespaceState, ApiError>;
}

impl fmt::Debug for dyn Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Namespaces")
    }
}

/// Refuses new content in namespaces that are gone or going
/// (`[apiserver] pkg/admission/plugin/namespace/lifecycle`).
///
/// # Errors
/// 404 for a missing namespace, 403 with the cause `NamespaceTerminating` for one that ends.
pub async fn check_namespace_lifecycle(
    namespaces: &dyn Namespaces,
    namespace: &str,
    resource: &GroupResource,
    name: &str,
) -> Result<(), ApiError> {
    match namespaces.state(namespace).await? {
        NamespaceState::Active => Ok(()),
        NamespaceState::Missing => {
            let namespaces =
                GroupResource { group: String::new(), resource: "namespaces".to_owned() };
            Err(ApiError::not_found(&namespaces, namespace))
        }
        NamespaceState::Terminating => {
            let text = format!(
                "unable to create new content in namespace {namespace} because it is being \
                 terminated"
            );
            let cause = format!("namespace {namespace} is being terminated");
            Err(ApiError::forbidden(resource, name, &text).with_cause(
                "NamespaceTerminating",
                &cause,
                "metadata.namespace",
            ))
        }
    }
}
