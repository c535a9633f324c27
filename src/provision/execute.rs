//! Carries out steps in order. No decisions: what a failure means is for the next plan to say.

use apiserver::meta::ObjectKey;
use apiserver::status::ApiError;
use tracing::info;

use super::plan::Step;
use super::sandboxes::Sandboxes;
use crate::cluster::{Cluster, ClusterError};

/// How the steps ended early.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("delete Sandbox: {0}")]
    Store(#[source] ApiError),
}

/// Runs `steps` of the Sandbox `key` up to the first failure. That something to change or delete
/// is gone is no failure: its watch event brings the next plan.
pub async fn execute(
    key: &ObjectKey,
    steps: &[Step],
    cluster: &dyn Cluster,
    sandboxes: &dyn Sandboxes,
) -> Result<(), StepError> {
    for step in steps {
        match step {
            Step::Create(child) => {
                cluster.create(child.clone()).await?;
                info!(sandbox = %key, kind = %child.kind(), name = child.key().name, "created");
            }
            Step::Delete { kind, key: child, uid, why } => {
                gone_is_fine(cluster.delete(*kind, child, uid).await)?;
                info!(sandbox = %key, %kind, name = child.name, ?why, "deleted");
            }
            Step::Patch { kind, key: child, patch } => {
                gone_is_fine(cluster.patch_metadata(*kind, child, patch.clone()).await)?;
                info!(sandbox = %key, %kind, name = child.name, "changed metadata");
            }
            Step::DeleteSandbox { uid } => match sandboxes.delete(key, uid).await {
                Ok(()) => info!(sandbox = %key, "deleted the expired Sandbox"),
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(StepError::Store(error)),
            },
        }
    }
    Ok(())
}

fn gone_is_fine(result: Result<(), ClusterError>) -> Result<(), ClusterError> {
    match result {
        Err(ClusterError::NotFound { .. }) => Ok(()),
        other => other,
    }
}
