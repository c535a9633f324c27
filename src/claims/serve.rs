//! Serves those who wait for stock, and waits for what a request wants to see.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Commit, Part, Transaction};
use apiserver::request::{DeleteOptions, GetOptions, Preconditions};
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use sandbox_api::{SandboxClaim, condition};

use super::bind;
use super::bound::sandboxes;
use super::queue::Line;
use super::service::{Claims, Inner, Share};
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
        if before.sandbox.is_some() || claim.metadata.deletion_timestamp.is_some() {
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
        let count = usize::try_from(claim.spec.replicas()).unwrap_or(1);
        for _ in 0..self.config.attempts_max {
            let Some(shares) = self.take_stock(&claim, &source, count, true)? else {
                return Ok(false);
            };
            let now = self.clock.now();
            let generation = claim.metadata.generation.unwrap_or(1);
            let status = bind::status(&before, generation, &sandboxes(&shares)?, now);
            let value = serde_json::to_value(&status).map_err(ApiError::internal)?;
            let mut new = (*old).clone();
            new.0.insert("status".into(), value);
            let outcome = self.bind_waiting(&old, new, &shares).await;
            if !matches!(outcome, Ok(Commit::Done(_))) {
                self.return_shares(&shares);
            }
            match outcome? {
                Commit::Done(_) => {
                    let since = claim.metadata.creation_timestamp.as_ref().map_or(now, |it| it.0);
                    let waited = now.duration_since(since).try_into().unwrap_or_default();
                    self.metrics.served(waited);
                    return Ok(true);
                }
                // The claim itself has changed: look again.
                Commit::Conflict(parts) if parts.iter().any(|part| part.part == 0) => {
                    return Ok(false);
                }
                Commit::Conflict(_) => self.metrics.raced(),
            }
        }
        Ok(false)
    }

    async fn bind_waiting(
        &self,
        old: &Object,
        new: Object,
        shares: &[Share],
    ) -> Result<Commit, ApiError> {
        let mut transaction = Transaction::new();
        transaction.replace(&self.permit, &self.claims, Part::Status, (old, new))?;
        for share in shares {
            if let Share::Taken { old, new, .. } = share {
                let change = (old, new.clone());
                transaction.replace(&self.permit, &self.sandboxes, Part::Main, change)?;
            }
        }
        transaction.commit(&*self.kv).await
    }

    async fn say_missing(&self, key: &ObjectKey, claim: &SandboxClaim) -> Result<(), ApiError> {
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
            let found = self.claims.get(&self.permit, &key, &GetOptions::default()).await;
            let claim = match found {
                Ok(claim) if claim.at("status.sandbox").is_none() => claim,
                Ok(_) => continue,
                Err(error) if error.is_not_found() => continue,
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
            match self.claims.delete(&self.permit, &key, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(())
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
