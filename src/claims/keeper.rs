//! What happens to a claim after its answer: its status follows its Sandboxes, it ends in time, and
//! what a claim leaves behind is removed.

use std::sync::Arc;
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::Part;
use apiserver::request::{
    DeleteOptions, GetOptions, Preconditions, Propagation, WriteOptions, duration,
};
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use jiff::Timestamp;
use sandbox_api::{
    BoundSandbox, ClaimShutdownPolicy, LaunchType, Sandbox, SandboxClaim, SandboxClaimStatus,
    condition,
};

use super::bind;
use super::queue::Line;
use super::release::claim_of;
use super::service::{Claims, Inner};
use super::steps::wanted;
use super::story;
use crate::runner::Reconcile;

/// Between two looks at the place of a claim that waits.
const POSITION_PERIOD: Duration = Duration::from_secs(10);

/// Reconciles claims.
#[derive(Debug)]
pub(super) struct Keeper(Claims);

impl Keeper {
    pub(super) fn new(claims: Claims) -> Self {
        Self(claims)
    }
}

#[async_trait]
impl Reconcile for Keeper {
    fn kind(&self) -> &'static str {
        "claims"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ApiError> {
        let inner = &self.0.0;
        let cached = GetOptions { resource_version: "0".into() };
        let object = match inner.claims.get(&inner.permit, key, &cached).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                inner.waiting.leave(key);
                return inner.clean_up(key).await.map(|()| None);
            }
            Err(error) => return Err(error),
        };
        let claim: SandboxClaim = object.to_typed().map_err(ApiError::internal)?;
        if claim.metadata.deletion_timestamp.is_some() {
            inner.waiting.leave(key);
            return Ok(None);
        }
        let now = inner.clock.now();
        let status = claim.status.clone().unwrap_or_default();
        if status.sandbox.is_none() {
            return inner.keep_waiting(key, &claim, status, now).await;
        }
        inner.waiting.leave(key);
        inner.keep_bound(key, &claim, status, now).await
    }
}

impl Inner {
    async fn keep_waiting(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
        mut status: SandboxClaimStatus,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        let generation = claim.metadata.generation.unwrap_or(1);
        if left(expiry(claim, &status), now).is_some_and(|left| left.is_zero()) {
            return self.expire(key, claim, status, now).await;
        }
        if let Some(since) = bind::binding_since(&status) {
            self.waiting.leave(key);
            let takeover = since.checked_add(self.config.takeover).ok();
            return match left(takeover, now) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => self.take_over(key).await.map(|()| Some(self.config.takeover)),
            };
        }
        let deadline = claim.spec.timeout.as_deref().and_then(duration::parse).and_then(|limit| {
            claim.metadata.creation_timestamp.as_ref()?.0.checked_add(limit).ok()
        });
        let patience = left(deadline, now);
        if patience.is_some_and(|left| left.is_zero()) {
            self.waiting.leave(key);
            let text = "no Sandbox became ready in the time the claim gave";
            let ready = (condition::READY, "False", condition::claim::CLAIM_TIMED_OUT, text);
            bind::set_condition(&mut status, ready, generation, now);
            status.queue_position = None;
            if claim.status.as_ref() != Some(&status) {
                self.write_status(key, claim, &status).await?;
            }
            return self.release_rest(key, claim).await.map(|()| None);
        }
        self.line_up(key, claim);
        let place = self.waiting.position(key).and_then(|place| i64::try_from(place).ok());
        if status.queue_position != place {
            status.queue_position = place;
            self.write_status(key, claim, &status).await?;
        }
        let next = [patience, left(expiry(claim, &status), now), Some(POSITION_PERIOD)];
        Ok(next.into_iter().flatten().min())
    }

    /// Puts a claim that waits for stock into its line.
    pub(super) fn line_up(&self, key: &ObjectKey, claim: &SandboxClaim) {
        let status = claim.status.clone().unwrap_or_default();
        let ended = claim.metadata.deletion_timestamp.is_some();
        if status.sandbox.is_some() || ended || bind::takes_nothing(&status) {
            return;
        }
        let Some(line) = line_of(claim) else { return };
        let since = status.waiting_since.as_ref().map(|time| time.0);
        let created = claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let since = since.or(created).unwrap_or_else(|| self.clock.now());
        self.waiting.join(&line, key.clone(), since, wanted(claim));
    }

    async fn keep_bound(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
        before: SandboxClaimStatus,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        let generation = claim.metadata.generation.unwrap_or(1);
        if left(expiry(claim, &before), now).is_some_and(|left| left.is_zero()) {
            return self.expire(key, claim, before, now).await;
        }
        let mut found = Vec::new();
        for bound in all_bound(&before) {
            if let Some(sandbox) = self.own_sandbox(key, claim, bound).await? {
                found.push((sandbox, bound.launch_type.unwrap_or(LaunchType::Warm)));
            }
        }
        let mut status = before.clone();
        if found.len() == all_bound(&before).len() {
            status = bind::status(&before, generation, &found, now);
        } else {
            status.observed_generation = Some(generation);
            let text = "a Sandbox of the claim no longer exists";
            let ready = (condition::READY, "False", condition::claim::SANDBOX_MISSING, text);
            bind::set_condition(&mut status, ready, generation, now);
        }
        if status != before {
            self.write_status(key, claim, &status).await?;
        }
        Ok(left(expiry(claim, &status), now))
    }

    /// A Sandbox as the cache has it, if that is `enough`, else as it is now: what was bound a moment
    /// ago may not have come to the cache.
    pub(super) async fn sandbox(
        &self,
        key: &ObjectKey,
        enough: impl Fn(&Object) -> bool,
    ) -> Result<Arc<Object>, ApiError> {
        let cached = GetOptions { resource_version: "0".into() };
        match self.sandboxes.get(&self.permit, key, &cached).await {
            Ok(object) if enough(&object) => Ok(object),
            _ => self.sandboxes.get(&self.permit, key, &GetOptions::default()).await,
        }
    }

    /// The Sandbox, if it is still the claim's.
    async fn own_sandbox(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
        bound: &BoundSandbox,
    ) -> Result<Option<Sandbox>, ApiError> {
        let place = ObjectKey { namespace: key.namespace.clone(), name: bound.name.clone() };
        match self.sandbox(&place, |object| is_owned(object, claim)).await {
            Ok(object) if is_owned(&object, claim) => {
                object.to_typed().map(Some).map_err(ApiError::internal)
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The claim's time is over.
    async fn expire(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
        mut status: SandboxClaimStatus,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        self.waiting.leave(key);
        let policy = claim.spec.lifecycle.clone().unwrap_or_default().shutdown_policy();
        let propagation = match policy {
            ClaimShutdownPolicy::Retain => {
                for bound in all_bound(&status) {
                    self.delete_sandbox(key, bound).await?;
                }
                let generation = claim.metadata.generation.unwrap_or(1);
                let text = "the claim's time is over";
                let ready = (condition::READY, "False", condition::claim::CLAIM_EXPIRED, text);
                let before = status.clone();
                bind::set_condition(&mut status, ready, generation, now);
                status.observed_generation = Some(generation);
                status.queue_position = None;
                if let Some(bound) = &mut status.sandbox {
                    bound.pod_ips.clear();
                }
                status.sandboxes.iter_mut().for_each(|bound| bound.pod_ips.clear());
                if status != before {
                    self.write_status(key, claim, &status).await?;
                }
                return self.release_rest(key, claim).await.map(|()| None);
            }
            ClaimShutdownPolicy::Delete => Propagation::Background,
            ClaimShutdownPolicy::DeleteForeground => Propagation::Foreground,
        };
        let options = DeleteOptions {
            preconditions: Preconditions {
                uid: claim.metadata.uid.clone(),
                resource_version: None,
            },
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        match self.claims.delete(&self.permit, key, &options).await {
            Err(error) if !error.is_not_found() => Err(error),
            Err(_) => Ok(None),
            Ok(_) => {
                let note = "deleted: the claim's time is over";
                self.events.tell(story::expired(claim, note));
                Ok(None)
            }
        }
    }

    pub(super) async fn write_status(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
        status: &SandboxClaimStatus,
    ) -> Result<(), ApiError> {
        let value = serde_json::to_value(status).map_err(ApiError::internal)?;
        let resource = self.claims.def().group_resource();
        let (uid, generation) = (claim.metadata.uid.as_deref(), claim.metadata.generation);
        let seen = claim.status.as_ref();
        let seen = seen.map(|it| (it.sandbox.is_some(), bind::binding_since(it)));
        let mut before = None;
        let change = |object: &mut Object| {
            let now: SandboxClaim = object.to_typed().map_err(ApiError::internal)?;
            let found = now.status.map(|it| (it.sandbox.is_some(), bind::binding_since(&it)));
            // What was bound meanwhile must not be unbound by a look at what was before, nor taken
            // from whoever is binding it.
            if Some(object.uid()) != uid || Some(object.generation()) != generation || found != seen
            {
                return Err(ApiError::modified(&resource, &key.name));
            }
            before = object.0.insert("status".into(), value.clone());
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let written =
            self.claims.mutate(&self.permit, key, Part::Status, &options, &warnings, change).await;
        match written {
            Err(error) if !error.is_not_found() => Err(error),
            Err(_) => Ok(()),
            Ok(_) => {
                // Of the replicas that see a turn the one that writes it tells it.
                let turn = story::turn(claim, before.as_ref(), status);
                turn.into_iter().for_each(|event| self.events.tell(event));
                Ok(())
            }
        }
    }
}

/// All Sandboxes of a claim.
pub(super) fn all_bound(status: &SandboxClaimStatus) -> Vec<&BoundSandbox> {
    if status.sandboxes.is_empty() {
        status.sandbox.iter().collect()
    } else {
        status.sandboxes.iter().collect()
    }
}

fn is_owned(object: &Object, claim: &SandboxClaim) -> bool {
    claim_of(object).is_some_and(|(_, uid)| Some(uid) == claim.metadata.uid.as_deref())
}

pub(super) fn line_of(claim: &SandboxClaim) -> Option<Line> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    match (&claim.spec.warm_pool_ref, &claim.spec.sandbox_template_ref) {
        (Some(pool), _) => Some(Line::pool(namespace, &pool.name)),
        (None, Some(template)) => Some(Line::template(namespace, &template.name)),
        (None, None) => None,
    }
}

/// When the claim ends: the earlier of its two moments.
pub(super) fn expiry(claim: &SandboxClaim, status: &SandboxClaimStatus) -> Option<Timestamp> {
    let lifecycle = claim.spec.lifecycle.as_ref()?;
    let shutdown = lifecycle.shutdown_time.as_ref().map(|time| time.0);
    let finished = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == condition::FINISHED && condition.status == "True")
        .map(|condition| condition.last_transition_time.0);
    let ttl = lifecycle.ttl_seconds_after_finished.map(|seconds| i64::from(seconds.max(0)));
    let after = finished.zip(ttl).and_then(|(finished, ttl)| {
        finished.checked_add(jiff::SignedDuration::from_secs(ttl)).ok()
    });
    [shutdown, after].into_iter().flatten().min()
}

/// Zero if the moment has come.
fn left(moment: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    moment.map(|moment| moment.duration_since(now).try_into().unwrap_or_default())
}
