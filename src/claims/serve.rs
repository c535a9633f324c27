//! Serves those who wait for stock, and waits for what a request wants to see.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::Commit;
use apiserver::request::{DeleteOptions, GetOptions, Preconditions};
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use sandbox_api::{ClaimsOnDeletion, SandboxClaim, condition};

use super::bind;
use super::bound::sandboxes;
use super::queue::Line;
use super::service::{Claims, Inner, Share};
use super::source::Source;
use super::steps::{Gathered, Gathering, unharmed, wanted};
use super::story::How;
use super::wait::{Until, Wait};
use crate::wait::reached;

/// Between two looks when nothing seems to have happened.
const PERIOD: Duration = Duration::from_secs(5);

impl Claims {
    /// Serves the lines until the tasks stop, in order: who came first gets what comes first.
    pub fn serve_lines(&self, tasks: &Tasks) {
        let (inner, stop) = (Arc::clone(&self.0), tasks.stopping().clone());
        tasks.spawn("claim-lines", OnExit::Shutdown, async move {
            inner.serve_lines(&stop).await;
        });
    }
}

impl Inner {
    async fn serve_lines(&self, stop: &CancellationToken) {
        let (mut restocked, mut joined) = (self.stock.restocked(), self.waiting.joined());
        while !stop.is_cancelled() {
            restocked.mark_unchanged();
            joined.mark_unchanged();
            for (line, key) in self.waiting.heads() {
                self.serve_line(line, key, stop).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = restocked.changed() => {}
                _ = joined.changed() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// As many as there is stock for, from the first.
    async fn serve_line(&self, line: Line, mut key: ObjectKey, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.serve(&key).await {
                Ok(true) => self.waiting.leave(&key),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(claim = %key, %error, "serving a claim that waits failed");
                    return;
                }
            }
            match self.waiting.first(&line) {
                Some(next) => key = next,
                None => return,
            }
        }
    }

    /// Whether the claim waits no longer.
    async fn serve(&self, key: &ObjectKey) -> Result<bool, ApiError> {
        let old = match self.claims.get(&self.permit, key, &GetOptions::default()).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        };
        let claim: SandboxClaim = old.to_typed().map_err(ApiError::internal)?;
        let before = claim.status.clone().unwrap_or_default();
        let ended = claim.metadata.deletion_timestamp.is_some();
        // One that is being bound is somebody's who holds it.
        if before.sandbox.is_some() || ended || bind::takes_nothing(&before) {
            return Ok(true);
        }
        let source = match self.source(key.namespace.as_deref().unwrap_or_default(), &claim).await {
            Ok(source) => source,
            Err(error) if error.code() == 422 => {
                self.say_missing(key, &claim).await?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let bound = if self.takes_steps(&claim) {
            self.serve_in_steps(&old, &claim, &source).await?
        } else {
            self.serve_at_once(&old, &claim, &source).await?
        };
        if let Some(bound) = &bound {
            self.served(&claim, bound);
        }
        Ok(bound.is_some())
    }

    /// A claim that did not get its Sandboxes at once has them now.
    pub(super) fn served(&self, claim: &SandboxClaim, bound: &Object) {
        let now = self.clock.now();
        let since = claim.metadata.creation_timestamp.as_ref().map_or(now, |it| it.0);
        let waited = now.duration_since(since).try_into().unwrap_or_default();
        self.metrics.served(waited);
        self.tell_birth(bound, How::Served(waited));
    }

    /// The claim as it is bound now; `None` if it waits on.
    async fn serve_at_once(
        &self,
        old: &Object,
        claim: &SandboxClaim,
        source: &Source,
    ) -> Result<Option<Object>, ApiError> {
        let before = claim.status.clone().unwrap_or_default();
        for _ in 0..self.config.attempts_max {
            let Some(shares) = self.take_stock(claim, source, wanted(claim), true)? else {
                return Ok(None);
            };
            let generation = claim.metadata.generation.unwrap_or(1);
            let now = self.clock.now();
            let status = bind::status(&before, generation, &sandboxes(&shares)?, now);
            match self.replace_status(old, &status, &shares).await? {
                Commit::Done(objects) => {
                    shares.into_iter().for_each(Share::spend);
                    return Ok(objects.into_iter().next().flatten());
                }
                // The claim itself has changed: look again.
                Commit::Conflict(parts) if parts.iter().any(|part| part.part == 0) => {
                    return Ok(None);
                }
                Commit::Conflict(parts) => {
                    self.metrics.raced();
                    drop(unharmed(shares, &parts));
                }
            }
        }
        Ok(None)
    }

    async fn serve_in_steps(
        &self,
        old: &Object,
        claim: &SandboxClaim,
        source: &Source,
    ) -> Result<Option<Object>, ApiError> {
        // Somebody who did not finish may have left it some.
        let had = self.gathered(&old.key(), old.uid()).await?.len();
        let Some(shares) = self.missing_stock(claim, source, had)? else { return Ok(None) };
        let Some(held) = self.begin(old, claim).await? else { return Ok(None) };
        // Only now it is certain that nobody adds to it.
        let have = self.gathered(&held.key(), held.uid()).await?;
        if have.len() != had {
            self.wait_on(&held, claim, source).await?;
            return Ok(None);
        }
        let gathering = Gathering { held: &held, claim, source, have };
        match self.gather(gathering, shares).await? {
            Gathered::Bound(bound) => Ok(Some(bound)),
            Gathered::Lost => Ok(None),
            Gathered::Short => self.wait_on(&held, claim, source).await.map(|_| None),
        }
    }

    pub(super) async fn say_missing(
        &self,
        key: &ObjectKey,
        claim: &SandboxClaim,
    ) -> Result<(), ApiError> {
        let mut status = claim.status.clone().unwrap_or_default();
        let (reason, text) = match &claim.spec.warm_pool_ref {
            Some(_) => (
                condition::claim::WARM_POOL_NOT_FOUND,
                "the SandboxWarmPool or its SandboxTemplate does not exist",
            ),
            None => (condition::claim::TEMPLATE_NOT_FOUND, "the SandboxTemplate does not exist"),
        };
        let generation = claim.metadata.generation.unwrap_or(1);
        let ready = (condition::READY, "False", reason, text);
        bind::set_condition(&mut status, ready, generation, self.clock.now());
        if Some(&status) != claim.status.as_ref() {
            self.write_status(key, claim, &status).await?;
        }
        Ok(())
    }

    /// Deletes the claims that wait for a pool that is gone.
    pub(super) async fn end_waiting(&self, pool: &ObjectKey) -> Result<(), ApiError> {
        for key in self.waiting.of_pool(pool) {
            // One that is written meanwhile is looked at again.
            while !self.end_one(&key, pool).await? {}
        }
        Ok(())
    }

    /// Deletes a claim of a pool unless it is bound. False if it has changed meanwhile.
    async fn end_one(&self, key: &ObjectKey, pool: &ObjectKey) -> Result<bool, ApiError> {
        // A line may still have the name of a claim that is gone, and another may have it by now.
        let of_pool = |claim: &Object| {
            claim.at("spec.warmPoolRef.name").is_some_and(|name| *name == *pool.name)
        };
        let claim = match self.claims.get(&self.permit, key, &GetOptions::default()).await {
            Ok(claim) if claim.at("status.sandbox").is_none() && of_pool(&claim) => claim,
            Ok(_) => return Ok(true),
            Err(error) if error.is_not_found() => return Ok(true),
            Err(error) => return Err(error),
        };
        let options = DeleteOptions {
            preconditions: Preconditions {
                uid: Some(claim.uid().to_owned()),
                // One that was bound since stays.
                resource_version: claim.resource_version().map(str::to_owned),
            },
            ..DeleteOptions::default()
        };
        match self.claims.delete(&self.permit, key, &options).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The pool may have been deleted, and those who waited with it, before this claim joined them.
    ///
    /// # Errors
    /// 422 when it was, and the claim is gone too.
    pub(super) async fn leave_if_pool_is_gone(
        &self,
        stored: &Object,
        claim: &SandboxClaim,
        source: &Source,
    ) -> Result<(), ApiError> {
        let Some(name) = claim.spec.warm_pool_ref.as_ref().map(|pool| &pool.name) else {
            return Ok(());
        };
        let Some((pool, _)) = source.pools.first() else { return Ok(()) };
        if pool.spec.claims_on_deletion() != ClaimsOnDeletion::Delete {
            return Ok(());
        }
        let key = ObjectKey { namespace: stored.key().namespace, name: name.clone() };
        // The store's present: whoever deletes the pool from now on finds the claim in the line.
        let found = self.pools.store().get(&self.permit, &key, &GetOptions::default()).await;
        match found {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => {
                self.end_waiting(&key).await?;
                Err(self.dangling(claim, "spec.warmPoolRef.name", name))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until the claim is as far as the request wants to see it.
    ///
    /// # Errors
    /// 504 when that takes too long: the claim goes on. 404 when it is deleted, 410 when it ends.
    pub(super) async fn wait(
        &self,
        permit: &Permit,
        claim: Object,
        wait: Wait,
        started: tokio::time::Instant,
    ) -> Result<Object, ApiError> {
        let name = claim.name().to_owned();
        let deadline = started + wait.patience();
        let reached = reached(&self.claims, permit, claim, |it| is_reached(it, wait.until));
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(result) => result,
            Err(_) => Err(ApiError::timeout(&format!(
                "SandboxClaim {name:?} was not {} within {:?}; it is stored and goes on",
                wait.until.as_str(),
                wait.limit
            ))),
        }
    }
}

fn is_reached(claim: &Object, until: Until) -> bool {
    let bound = claim.at("status.sandbox").is_some();
    match until {
        Until::Bound => bound,
        Until::Ready => {
            let conditions = claim.at("status.conditions").and_then(|all| all.as_array());
            bound
                && conditions.into_iter().flatten().any(|condition| {
                    condition["type"] == condition::READY && condition["status"] == "True"
                })
        }
    }
}
