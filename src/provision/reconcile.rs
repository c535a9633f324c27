//! One pass over one Sandbox: takes a key and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::clock::Clock;
use apiserver::meta::ObjectKey;
use apiserver::status::ApiError;
use jiff::Timestamp;
use sandbox_api::Sandbox;
use tracing::{info, warn};

use super::execute::{StepError, execute, still_there};
use super::observe::{self, Failure, Observed};
use super::plan::{Plan, Policy, StatusWrite, plan};
use super::sandboxes::{Notice, Sandboxes};
use super::story::Story;
use crate::cluster::{ChildKind, Cluster, ClusterError, Family, PodView};
use crate::events::Events;

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until something happens.
    Settled,
    /// Look again then, whatever happens.
    Again(Duration),
}

/// A pass that has to be repeated after a pause.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error("registry: {0}")]
    Registry(#[source] ApiError),
    #[error("the stored Sandbox can't be read: {0}")]
    Malformed(#[source] serde_json::Error),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("observe: {0}")]
    Observe(#[source] ClusterError),
}

/// Makes one Sandbox after the other real.
#[derive(Debug)]
pub struct Reconciler {
    sandboxes: Arc<dyn Sandboxes>,
    cluster: Arc<dyn Cluster>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    events: Events,
    /// Since when a Sandbox's status has been due. Lost with the process: then it waits anew.
    due: Mutex<HashMap<ObjectKey, Timestamp>>,
    /// Uids of Sandboxes that are no more, until their Pods have been told to end.
    gone: Mutex<HashMap<ObjectKey, String>>,
}

impl Reconciler {
    pub fn new(
        sandboxes: Arc<dyn Sandboxes>,
        cluster: Arc<dyn Cluster>,
        clock: Arc<dyn Clock>,
        policy: Policy,
    ) -> Self {
        let events = Events::default();
        Self {
            sandboxes,
            cluster,
            clock,
            policy,
            events,
            due: Mutex::default(),
            gone: Mutex::default(),
        }
    }

    /// Tells what it does.
    #[must_use]
    pub fn telling(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// Remembers of a Sandbox that is no more that its Pod is to end, if it is known.
    pub fn hear(&self, notice: &Notice) {
        if let Notice::Gone { key, uid: Some(uid) } = notice
            && !self.running(key, uid).is_empty()
        {
            self.gone().insert(key.clone(), uid.clone());
        }
    }

    pub async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, ReconcileError> {
        self.end_pods(key).await.map_err(StepError::Cluster)?;
        let stored = self.sandboxes.get(key).await.map_err(ReconcileError::Registry)?;
        let Some(object) = stored else {
            // Owner references let the cluster's garbage collector take what is left.
            self.set_due(key, None);
            return Ok(Outcome::Settled);
        };
        let sandbox: Sandbox = object.to_typed().map_err(ReconcileError::Malformed)?;
        let observed = observe::cached(&sandbox, &*self.cluster);
        let first = self.plan(key, &sandbox, observed.clone());
        match self.execute(key, &sandbox, &first).await {
            Err(StepError::Cluster(ClusterError::AlreadyExists { .. })) => {
                self.look_closer(key, &sandbox).await
            }
            Err(error) => self.fail(key, &sandbox, observed, error).await,
            Ok(()) if first.steps.is_empty() => self.conclude(key, &sandbox, &first, &[]).await,
            Ok(()) => {
                let after = observe::cached(&sandbox, &*self.cluster);
                let last = self.plan(key, &sandbox, after);
                self.conclude(key, &sandbox, &last, &first.steps).await
            }
        }
    }

    /// The garbage collector does this, too, but asks for each Pod and its owner first: while many
    /// Sandboxes are released their Pods went on for minutes, and it asked us about each.
    async fn end_pods(&self, key: &ObjectKey) -> Result<(), ClusterError> {
        let Some(uid) = self.gone().get(key).cloned() else { return Ok(()) };
        for pod in self.running(key, &uid) {
            let (name, uid) = (&pod.meta.key, &pod.meta.uid);
            match still_there(self.cluster.delete(ChildKind::Pod, name, uid).await) {
                Ok(_) => info!(sandbox = %key, kind = "Pod", name = name.name, "deleted"),
                Err(error @ ClusterError::Unavailable { .. }) => return Err(error),
                Err(error) => warn!(sandbox = %key, %error, "left to the garbage collector"),
            }
        }
        let mut gone = self.gone();
        if gone.get(key) == Some(&uid) {
            gone.remove(key);
        }
        Ok(())
    }

    /// The Sandbox's Pods that have not been told to end.
    fn running(&self, key: &ObjectKey, uid: &str) -> Vec<Arc<PodView>> {
        let family = Family { sandbox: key.clone(), uid: uid.to_owned(), claims: Vec::new() };
        let mut pods = self.cluster.children(&family).pods;
        pods.retain(|pod| pod.meta.owned_by(uid) && !pod.meta.deleting);
        pods
    }

    fn gone(&self) -> MutexGuard<'_, HashMap<ObjectKey, String>> {
        self.gone.lock().expect("no holder of this lock panics")
    }

    /// A name that the caches thought free is taken: plan from what the cluster itself says.
    async fn look_closer(
        &self,
        key: &ObjectKey,
        sandbox: &Sandbox,
    ) -> Result<Outcome, ReconcileError> {
        let look = observe::live(sandbox, &*self.cluster);
        let observed = look.await.map_err(ReconcileError::Observe)?;
        let plan = self.plan(key, sandbox, observed.clone());
        match self.execute(key, sandbox, &plan).await {
            Ok(()) => self.conclude(key, sandbox, &plan, &plan.steps).await,
            Err(error) => self.fail(key, sandbox, observed, error).await,
        }
    }

    async fn execute(
        &self,
        key: &ObjectKey,
        sandbox: &Sandbox,
        plan: &Plan,
    ) -> Result<(), StepError> {
        let story = Story::new(&self.events, sandbox);
        execute(key, &plan.steps, &*self.cluster, &*self.sandboxes, &story).await
    }

    fn plan(&self, key: &ObjectKey, sandbox: &Sandbox, mut observed: Observed) -> Plan {
        let due = self.due.lock().expect("no holder of this lock panics");
        observed.status_due_since = due.get(key).copied();
        drop(due);
        plan(sandbox, &observed, self.clock.now(), &self.policy)
    }

    /// Lets the status tell of the failure, and reports it.
    async fn fail(
        &self,
        key: &ObjectKey,
        sandbox: &Sandbox,
        mut observed: Observed,
        error: StepError,
    ) -> Result<Outcome, ReconcileError> {
        if let StepError::Cluster(error) = &error {
            observed.failure = Some(Failure::from(error));
            let plan = self.plan(key, sandbox, observed);
            self.write_status(key, sandbox, &plan).await?;
        }
        // It goes with its namespace. Thousands that try to keep their Pods would slow that.
        if matches!(error, StepError::Cluster(ClusterError::NamespaceEnds { .. })) {
            return Ok(Outcome::Again(self.policy.slow_retry));
        }
        Err(error.into())
    }

    async fn conclude(
        &self,
        key: &ObjectKey,
        sandbox: &Sandbox,
        plan: &Plan,
        executed: &[super::Step],
    ) -> Result<Outcome, ReconcileError> {
        if !self.write_status(key, sandbox, plan).await? {
            return Ok(Outcome::Again(Duration::ZERO));
        }
        // Steps that were just made and still look open: the watch will show them.
        if plan.steps != executed {
            return Ok(Outcome::Again(Duration::ZERO));
        }
        Ok(plan.requeue_after.map_or(Outcome::Settled, Outcome::Again))
    }

    /// False if the Sandbox has changed meanwhile, so that the plan is out of date.
    async fn write_status(
        &self,
        key: &ObjectKey,
        sandbox: &Sandbox,
        plan: &Plan,
    ) -> Result<bool, ReconcileError> {
        match plan.write {
            StatusWrite::None => self.set_due(key, None),
            StatusWrite::After(_) => self.set_due(key, Some(self.clock.now())),
            StatusWrite::Now => {
                let uid = sandbox.metadata.uid.as_deref().unwrap_or_default();
                let generation = sandbox.metadata.generation.unwrap_or_default();
                let write = self.sandboxes.update_status(key, uid, generation, &plan.status);
                match write.await {
                    Ok(replaced) => {
                        self.set_due(key, None);
                        // Of the replicas that see a turn the one that writes it tells it.
                        if let Some(before) = replaced {
                            Story::new(&self.events, sandbox).turned(&before, &plan.status);
                        }
                    }
                    Err(error) if error.is_not_found() => self.set_due(key, None),
                    Err(error) if error.is_conflict() => return Ok(false),
                    Err(error) => return Err(ReconcileError::Registry(error)),
                }
            }
        }
        Ok(true)
    }

    /// An earlier due time stays.
    fn set_due(&self, key: &ObjectKey, since: Option<Timestamp>) {
        let mut due = self.due.lock().expect("no holder of this lock panics");
        match since {
            Some(since) => {
                due.entry(key.clone()).or_insert(since);
            }
            None => {
                due.remove(key);
            }
        }
    }
}
