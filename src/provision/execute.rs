//! Carries out steps in order. No decisions: what a failure means is for the next plan to say.

use apiserver::meta::ObjectKey;
use apiserver::status::ApiError;
use tracing::info;

use super::plan::Step;
use super::sandboxes::Sandboxes;
use super::story::Story;
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
    story: &Story<'_>,
) -> Result<(), StepError> {
    for step in steps {
        match step {
            Step::Create(child) => {
                cluster.create(child.clone()).await?;
                story.done(step);
                info!(sandbox = %key, kind = %child.kind(), name = child.key().name, "created");
            }
            Step::Delete { kind, key: child, uid, why } => {
                if still_there(cluster.delete(*kind, child, uid).await)? {
                    story.done(step);
                }
                info!(sandbox = %key, %kind, name = child.name, ?why, "deleted");
            }
            Step::Patch { kind, key: child, patch } => {
                still_there(cluster.patch_metadata(*kind, child, patch.clone()).await)?;
                info!(sandbox = %key, %kind, name = child.name, "changed metadata");
            }
            Step::DeleteSandbox { uid } => match sandboxes.delete(key, uid).await {
                Ok(()) => {
                    story.done(step);
                    info!(sandbox = %key, "deleted the expired Sandbox");
                }
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(StepError::Store(error)),
            },
        }
    }
    Ok(())
}

/// False if it was gone already.
pub(super) fn still_there(result: Result<(), ClusterError>) -> Result<bool, ClusterError> {
    match result {
        Err(ClusterError::NotFound { .. }) => Ok(false),
        other => other.map(|()| true),
    }
}
