//! What a claim leaves behind is removed: its Sandboxes and the record of its idempotency key.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Item, Transaction};
use apiserver::request::{DeleteOptions, GetOptions, Preconditions};
use apiserver::status::ApiError;
use async_trait::async_trait;
use sandbox_api::{BoundSandbox, SandboxClaim};

use super::keeper::all_bound;
use super::service::{Claims, Inner};
use crate::follow::Follower;
use crate::runner::{Reconcile, Runner};

/// Tells the keeper of changed claims.
#[derive(Debug)]
pub(super) struct ClaimChanges {
    pub runner: Runner,
    pub released: Runner,
    pub claims: Claims,
}

impl Follower for ClaimChanges {
    fn all(&self, items: &[Arc<Item>]) {
        for item in items {
            // At once: whoever claims from now on comes after those who wait already.
            if let Some(claim) = item.object().ok().and_then(|object| object.to_typed().ok()) {
                self.claims.0.line_up(&item.key(), &claim);
            }
            self.runner.add(item.key());
        }
        self.claims.0.waiting.fill();
    }

    fn changed(&self, item: &Arc<Item>) {
        self.runner.add(item.key());
    }

    fn gone(&self, item: &Arc<Item>, key: &ObjectKey) {
        let inner = &self.claims.0;
        if let Ok(object) = item.object() {
            let claim: SandboxClaim = object.to_typed().unwrap_or_default();
            for bound in claim.status.iter().flat_map(all_bound) {
                let name = bound.name.clone();
                self.released.add(ObjectKey { namespace: key.namespace.clone(), name });
            }
            if inner.takes_steps(&claim) || claim.spec.idempotency_key.is_some() {
                inner.ended().insert(key.clone(), object);
            }
        }
        self.runner.add(key.clone());
    }
}

impl Inner {
    /// Deleted claims whose idempotency records are still to be removed.
    fn ended(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<Object>>> {
        self.ended.lock().expect("no holder of this lock panics")
    }

    /// Removes what a deleted claim leaves: the record of its idempotency key, and what was
    /// gathered for it if it was never bound.
    pub(super) async fn clean_up(&self, key: &ObjectKey) -> Result<(), ApiError> {
        let Some(claim) = self.ended().get(key).cloned() else { return Ok(()) };
        if claim.at("spec.idempotencyKey").is_some() {
            self.remove_record(key, &claim).await?;
        }
        let typed: SandboxClaim = claim.to_typed().map_err(ApiError::internal)?;
        self.release_rest(key, &typed).await?;
        // Only now: a failure is tried again.
        let mut ended = self.ended();
        if ended.get(key).is_some_and(|other| other.uid() == claim.uid()) {
            ended.remove(key);
        }
        Ok(())
    }

    /// Deletes what was gathered for a claim that takes nothing any more.
    pub(super) async fn release_rest(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
    ) -> Result<(), ApiError> {
        match &claim.metadata.uid {
            Some(uid) if self.takes_steps(claim) => self.release_gathered(key, uid).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn delete_sandbox(
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
        // Once bound, bound for good: whom it was bound to the cache may say. That it was not only the
        // store: the claim's end may be known before its beginning has come to the cache, and nobody
        // looks again.
        let sandbox = match inner.sandbox(key, |sandbox| claim_of(sandbox).is_some()).await {
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

/// Name and uid of the claim that controls an object.
pub(super) fn claim_of(object: &Object) -> Option<(&str, &str)> {
    let owner = object.controller()?;
    if owner["kind"] != "SandboxClaim" {
        return None;
    }
    Some((owner.get("name")?.as_str()?, owner.get("uid")?.as_str()?))
}
