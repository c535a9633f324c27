//! What happens to a claim after its answer: its status follows its Sandboxes, it ends in time, and
//! what a claim leaves behind is removed.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Item, Part, Transaction};
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
use super::service::{Claims, Inner};
use crate::follow::Follower;
use crate::runner::{Reconcile, Runner};

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
                return inner.forget_record(key).await.map(|()| None);
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
            self.write_status(key, claim, &status).await?;
            return Ok(None);
        }
        if let Some(line) = line_of(claim) {
            self.waiting.join(&line, key.clone());
        }
        let place = self.waiting.position(key).and_then(|place| i64::try_from(place).ok());
        if status.queue_position != place {
            status.queue_position = place;
            self.write_status(key, claim, &status).await?;
        }
        let next = [patience, left(expiry(claim, &status), now), Some(POSITION_PERIOD)];
        Ok(next.into_iter().flatten().min())
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

    /// The Sandbox, if it is still the claim's.
    async fn own_sandbox(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
        bound: &BoundSandbox,
    ) -> Result<Option<Sandbox>, ApiError> {
        let place = ObjectKey { namespace: key.namespace.clone(), name: bound.name.clone() };
        // What was bound a moment ago may not have come to the cache: ask for what is now.
        let cached = GetOptions { resource_version: "0".into() };
        let mut object = self.sandboxes.get(&self.permit, &place, &cached).await;
        if object.as_ref().map_or(true, |object| !is_owned(object, claim)) {
            object = self.sandboxes.get(&self.permit, &place, &GetOptions::default()).await;
        }
        match object {
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
                return Ok(None);
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
            _ => Ok(None),
        }
    }

    async fn delete_sandbox(
        &self,
        claim: &ObjectKey,
        bound: &BoundSandbox,
    ) -> Result<(), ApiError> {
        let key = ObjectKey { namespace: claim.namespace.clone(), name: bound.name.clone() };
        let options = DeleteOptions {
            preconditions: Preconditions { uid: bound.uid.clone(), resource_version: None },
            ..DeleteOptions::default()
        };
        match self.sandboxes.delete(&self.permit, &key, &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
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
        let was = claim.status.as_ref().is_some_and(|status| status.sandbox.is_some());
        let change = |object: &mut Object| {
            let bound = object.at("status.sandbox").is_some();
            // What was bound meanwhile must not be unbound by a look at what was before.
            if Some(object.uid()) != uid || Some(object.generation()) != generation || bound != was
            {
                return Err(ApiError::modified(&resource, &key.name));
            }
            object.0.insert("status".into(), value.clone());
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let written =
            self.claims.mutate(&self.permit, key, Part::Status, &options, &warnings, change).await;
        match written {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// All Sandboxes of a claim.
fn all_bound(status: &SandboxClaimStatus) -> Vec<&BoundSandbox> {
    if status.sandboxes.is_empty() {
        status.sandbox.iter().collect()
    } else {
        status.sandboxes.iter().collect()
    }
}

fn is_owned(object: &Object, claim: &SandboxClaim) -> bool {
    claim_of(object).is_some_and(|(_, uid)| Some(uid) == claim.metadata.uid.as_deref())
}

/// Name and uid of the claim that controls an object.
pub(super) fn claim_of(object: &Object) -> Option<(&str, &str)> {
    let owners = object.metadata()?.get("ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    if owner["kind"] != "SandboxClaim" {
        return None;
    }
    Some((owner.get("name")?.as_str()?, owner.get("uid")?.as_str()?))
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

/// Tells the keeper of changed claims.
#[derive(Debug)]
pub(super) struct ClaimChanges {
    pub runner: Runner,
    pub released: Runner,
    pub claims: Claims,
}

impl Follower for ClaimChanges {
    fn all(&self, items: &[Arc<Item>]) {
        // Who waits came in this order, as far as it is still known.
        let mut waiting: Vec<(String, i64, ObjectKey)> = Vec::new();
        for item in items {
            self.runner.add(item.key());
            let Ok(object) = item.object() else { continue };
            if object.at("status.sandbox").is_none() {
                let created = object.meta_str("creationTimestamp").unwrap_or_default().to_owned();
                let place = object.at("status.queuePosition").and_then(serde_json::Value::as_i64);
                waiting.push((created, place.unwrap_or(i64::MAX), item.key()));
            }
        }
        waiting.sort();
        for (_, _, key) in waiting {
            self.runner.add(key);
        }
    }

    fn changed(&self, item: &Arc<Item>) {
        self.runner.add(item.key());
    }

    fn gone(&self, item: &Arc<Item>, key: &ObjectKey) {
        self.runner.add(key.clone());
        let inner = &self.claims.0;
        if let Ok(object) = item.object() {
            for name in sandbox_names(&object) {
                self.released.add(ObjectKey { namespace: key.namespace.clone(), name });
            }
            if object.at("spec.idempotencyKey").is_some() {
                inner.ended().insert(key.clone(), object);
            }
        }
        self.runner.add(key.clone());
    }
}

/// Names of the Sandboxes in a claim's status.
fn sandbox_names(claim: &Object) -> Vec<String> {
    let status: SandboxClaimStatus = claim
        .0
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default();
    all_bound(&status).into_iter().map(|bound| bound.name.clone()).collect()
}

impl Inner {
    /// Deleted claims whose idempotency records are still to be removed.
    fn ended(&self) -> MutexGuard<'_, HashMap<ObjectKey, Object>> {
        self.ended.lock().expect("no holder of this lock panics")
    }

    /// Removes the record of a deleted claim's idempotency key.
    async fn forget_record(&self, key: &ObjectKey) -> Result<(), ApiError> {
        let Some(claim) = self.ended().get(key).cloned() else { return Ok(()) };
        self.remove_record(key, &claim).await?;
        // Only now: a failure is tried again.
        let mut ended = self.ended();
        if ended.get(key).is_some_and(|other| other.uid() == claim.uid()) {
            ended.remove(key);
        }
        Ok(())
    }

    async fn remove_record(&self, key: &ObjectKey, claim: &Object) -> Result<(), ApiError> {
        let used = claim.at("spec.idempotencyKey").and_then(|key| key.as_str()).unwrap_or_default();
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let Some(record) = self.records.find(namespace, used).await? else { return Ok(()) };
        if record.uid != claim.uid() {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        transaction.push(&self.permit, self.records.forget(namespace, used, &record)?);
        transaction.commit(&*self.kv).await.map(drop)
    }
}

/// Deletes Sandboxes whose claim is gone: sooner than the cluster's garbage collector would.
#[derive(Debug)]
pub struct Releaser(pub Claims);

#[async_trait]
impl Reconcile for Releaser {
    fn kind(&self) -> &'static str {
        "released-sandboxes"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ApiError> {
        let inner = &self.0.0;
        // The store's own word: the claim's end may be known before its beginning has come to the
        // cache, and nobody looks again.
        let now = GetOptions::default();
        let sandbox = match inner.sandboxes.get(&inner.permit, key, &now).await {
            Ok(sandbox) => sandbox,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((name, uid)) = claim_of(&sandbox) else { return Ok(None) };
        if sandbox.deletion_timestamp().is_some() {
            return Ok(None);
        }
        let claim = ObjectKey { namespace: key.namespace.clone(), name: name.to_owned() };
        // Of an absence only the store itself may tell.
        let found = inner.claims.get(&inner.permit, &claim, &GetOptions::default()).await;
        let gone = match found {
            Ok(claim) => claim.uid() != uid,
            Err(error) if error.is_not_found() => true,
            Err(error) => return Err(error),
        };
        if gone {
            let bound = BoundSandbox {
                name: key.name.clone(),
                uid: Some(sandbox.uid().to_owned()),
                ..BoundSandbox::default()
            };
            inner.delete_sandbox(key, &bound).await?;
        }
        Ok(None)
    }
}

/// Tells the keeper of changed Sandboxes of claims, and the releaser of all of them.
#[derive(Debug)]
pub(super) struct SandboxChanges {
    pub claims: Runner,
    pub released: Runner,
}

impl SandboxChanges {
    fn tell(&self, item: &Item) {
        let Ok(object) = item.object() else { return };
        if let Some((name, _)) = claim_of(&object) {
            let namespace = item.key().namespace;
            self.claims.add(ObjectKey { namespace, name: name.to_owned() });
        }
    }
}

impl Follower for SandboxChanges {
    fn all(&self, items: &[Arc<Item>]) {
        for item in items {
            self.tell(item);
            self.released.add(item.key());
        }
    }

    fn changed(&self, item: &Arc<Item>) {
        self.tell(item);
    }

    fn gone(&self, item: &Arc<Item>, _key: &ObjectKey) {
        self.tell(item);
    }
}
