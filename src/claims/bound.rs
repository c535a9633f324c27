//! The transaction that stores a claim together with what it is bound to.

use apiserver::auth::Permit;
use apiserver::registry::{Commit, Conflicting, Part, Transaction};
use apiserver::request::GetOptions;
use apiserver::status::{ApiError, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use sandbox_api::{LaunchType, Sandbox, SandboxClaim, SandboxClaimStatus, condition};

use super::bind::{self, Owner};
use super::idempotency::{Record, Records};
use super::queue::Line;
use super::service::{Attempt, Born, Inner, Share};
use super::steps::{unharmed, wanted};

impl Inner {
    /// Stores the claim with what it is bound to, all or nothing. Without shares it waits.
    ///
    /// # Errors
    /// Those of a write; after a 504 nobody knows whether it happened.
    pub(super) async fn bind(
        &self,
        permit: &Permit,
        born: &Born<'_>,
        shares: Vec<Share>,
        before: Option<&Record>,
    ) -> Result<Attempt, ApiError> {
        let status = self.status_at_birth(born, &shares)?;
        let since = status.waiting_since.as_ref().map(|time| time.0);
        match self.store_claim(permit, born, status, &shares, before).await? {
            Commit::Done(objects) => {
                shares.into_iter().for_each(Share::spend);
                let claim = objects.into_iter().next().flatten().unwrap_or_default();
                if let Some(since) = since {
                    self.waiting.join(born.line, claim.key(), since, wanted(born.claim));
                }
                Ok(Attempt::Done(claim))
            }
            Commit::Conflict(parts) => {
                let attempt = self.conflict(born.claim, &shares, &parts);
                drop(unharmed(shares, &parts));
                Ok(attempt)
            }
        }
    }

    pub(super) async fn store_claim(
        &self,
        permit: &Permit,
        born: &Born<'_>,
        status: SandboxClaimStatus,
        shares: &[Share],
        before: Option<&Record>,
    ) -> Result<Commit, ApiError> {
        let status = serde_json::to_value(status).map_err(ApiError::internal)?;
        let mut transaction = Transaction::new();
        transaction.create(permit, &self.claims, born.new.clone().with_status(status))?;
        self.add_shares(&mut transaction, shares)?;
        if let Some(key) = &born.claim.spec.idempotency_key {
            let owner = owner(born.claim);
            let namespace = born.claim.metadata.namespace.as_deref().unwrap_or_default();
            let part = self.records.take(namespace, key, (owner.name, owner.uid), before)?;
            transaction.push(&self.permit, part);
        }
        transaction.commit(&*self.kv).await
    }

    /// Makes the shares the claim's.
    pub(super) fn add_shares(
        &self,
        transaction: &mut Transaction,
        shares: &[Share],
    ) -> Result<(), ApiError> {
        for share in shares {
            match share {
                Share::Taken { old, new, .. } => {
                    let change = (&**old, new.clone());
                    transaction.replace(&self.permit, &self.sandboxes, Part::Main, change)?;
                }
                Share::Made(new) => {
                    transaction.create(&self.permit, &self.sandboxes, new.clone())?;
                }
            }
        }
        Ok(())
    }

    fn status_at_birth(
        &self,
        born: &Born<'_>,
        shares: &[Share],
    ) -> Result<SandboxClaimStatus, ApiError> {
        let mut status = SandboxClaimStatus::default();
        if shares.is_empty() {
            self.waits(&mut status, born.claim, born.line);
            return Ok(status);
        }
        Ok(bind::status(&status, 1, &sandboxes(shares)?, self.clock.now()))
    }

    /// The status of a claim that is to wait in line: at its end, unless it has waited before.
    pub(super) fn waits(&self, status: &mut SandboxClaimStatus, claim: &SandboxClaim, line: &Line) {
        let now = self.clock.now();
        let generation = claim.metadata.generation.unwrap_or(1);
        status.observed_generation = Some(generation);
        status.queue_position = Some(i64::try_from(self.waiting.len(line)).unwrap_or(i64::MAX));
        status.waiting_since.get_or_insert_with(|| MicroTime(self.waiting.moment(now)));
        let (reason, message) = (condition::claim::WAITING_FOR_STOCK, "no Sandbox is ready");
        let ready = (condition::READY, "False", reason, message);
        bind::set_condition(status, ready, generation, now);
    }

    /// What would be stored.
    ///
    /// # Errors
    /// 409 in [`Attempt::NameTaken`] when the name is taken.
    pub(super) async fn dry_run(
        &self,
        born: &Born<'_>,
        shares: Vec<Share>,
    ) -> Result<Attempt, ApiError> {
        let status = self.status_at_birth(born, &shares)?;
        drop(shares);
        let status = serde_json::to_value(status).map_err(ApiError::internal)?;
        let key = born.new.object().key();
        match self.claims.get(&self.permit, &key, &GetOptions::default()).await {
            Ok(_) => {
                let resource = self.claims.def().group_resource();
                Ok(Attempt::NameTaken(ApiError::already_exists(&resource, &key.name)))
            }
            Err(error) if error.is_not_found() => {
                Ok(Attempt::Done(born.new.clone().with_status(status).into_object()))
            }
            Err(error) => Err(error),
        }
    }

    /// Which of the parts was in the way: the claim's name, its key, or a Sandbox.
    pub(super) fn conflict(
        &self,
        claim: &SandboxClaim,
        shares: &[Share],
        parts: &[Conflicting],
    ) -> Attempt {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        // The key first: whoever repeats a request may also repeat its name.
        let record = parts.iter().find(|part| part.part > shares.len());
        if let Some(record) = record.and_then(|part| part.current.as_ref()).and_then(Records::read)
        {
            return Attempt::KeyTaken(record);
        }
        if parts.iter().any(|part| part.part == 0) {
            let resource = self.claims.def().group_resource();
            return Attempt::NameTaken(ApiError::already_exists(&resource, name));
        }
        let made = parts.iter().find_map(|part| match shares.get(part.part.wrapping_sub(1)) {
            Some(Share::Made(new)) => Some(new.object().name().to_owned()),
            _ => None,
        });
        match made {
            Some(name) => {
                let resource = self.sandboxes.def().group_resource();
                Attempt::NameTaken(ApiError::already_exists(&resource, &name))
            }
            None => Attempt::Raced,
        }
    }

    /// Every candidate was somebody else's in the end.
    pub(super) fn raced(&self, claim: &SandboxClaim) -> ApiError {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let text = format!("too many claims at once: SandboxClaim {name:?} was not made");
        ApiError::new(Reason::TooManyRequests, text).with_retry_after(1)
    }
}

pub(super) fn owner(claim: &SandboxClaim) -> Owner<'_> {
    Owner {
        name: claim.metadata.name.as_deref().unwrap_or_default(),
        uid: claim.metadata.uid.as_deref().unwrap_or_default(),
    }
}

pub(super) fn sandboxes(shares: &[Share]) -> Result<Vec<(Sandbox, LaunchType)>, ApiError> {
    shares
        .iter()
        .map(|share| {
            let (object, launch) = match share {
                Share::Taken { new, .. } => (new, LaunchType::Warm),
                Share::Made(new) => (new.object(), LaunchType::Cold),
            };
            object.to_typed().map(|sandbox| (sandbox, launch)).map_err(ApiError::internal)
        })
        .collect()
}
