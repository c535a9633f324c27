//! Claims of more Sandboxes than one transaction can bind, in two steps.
//!
//! ```text
//! begin   the claim is stored (or written) as `Binding`, with nothing in its status
//! gather  transactions of a bounded size make Sandboxes the claim's, each guarded by the claim as
//!         it was written by `begin`
//! finish  one write lists them all in the claim's status: now it is bound
//! ```
//!
//! Until `finish` the claim is bound to nothing. Whoever begins holds the claim: any other write to
//! it, its deletion included, makes the guards of an earlier one fail. So when the process ends in
//! the middle, or loses the store, another begins anew after [`Config::takeover`]: it finds what was
//! gathered by its label, and gathers the rest. What is gathered and not to be bound after all is
//! deleted, never given back: its pool may have replaced it.
//!
//! [`Config::takeover`]: super::service::Config::takeover

use std::collections::BTreeSet;
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{Commit, Conflicting, Part, Transaction};
use apiserver::request::{DeleteOptions, GetOptions, ListOptions, Preconditions};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sandbox_api::{LaunchType, OnEmptyPool, Sandbox, SandboxClaim, SandboxClaimStatus, keys};

use super::bind;
use super::bound::sandboxes;
use super::idempotency::Record;
use super::service::{Attempt, Born, Inner, Share};
use super::source::Source;

/// Deletions of gathered Sandboxes that are under way at a time.
const DELETIONS: usize = 16;

/// What has come of gathering.
pub(super) enum Gathered {
    /// The claim is bound.
    Bound(Object),
    /// Somebody else wrote the claim or deleted it: it is theirs to go on with.
    Lost,
    /// There is no more stock, and the claim wants nothing made for it. What was gathered stays the
    /// claim's.
    Short,
}

/// A claim that is held, and what is gathered for it so far.
pub(super) struct Gathering<'a> {
    /// As it was written when it was begun.
    pub held: &'a Object,
    pub claim: &'a SandboxClaim,
    pub source: &'a Source,
    pub have: Vec<(Sandbox, LaunchType)>,
}

impl Inner {
    /// Whether the claim is for more than one transaction can bind.
    pub(super) fn takes_steps(&self, claim: &SandboxClaim) -> bool {
        usize::try_from(claim.spec.replicas()).is_ok_and(|it| it > self.config.transaction_max)
    }

    /// Stores a new claim and binds it.
    ///
    /// # Errors
    /// Those of a write. If it is not known whether the claim was stored, or how far it came, it is
    /// gone on with later.
    pub(super) async fn bind_in_steps(
        &self,
        permit: &Permit,
        born: &Born<'_>,
        source: &Source,
        shares: Vec<Share>,
        before: Option<&Record>,
    ) -> Result<Attempt, ApiError> {
        let status = bind::binding(&SandboxClaimStatus::default(), born.claim, self.clock.now());
        let held = match self.store_claim(permit, born, status, &[], before).await? {
            Commit::Done(objects) => objects.into_iter().next().flatten().unwrap_or_default(),
            Commit::Conflict(parts) => return Ok(self.conflict(born.claim, &[], &parts)),
        };
        let gathering = Gathering { held: &held, claim: born.claim, source, have: Vec::new() };
        match self.gather(gathering, shares).await? {
            Gathered::Bound(claim) => Ok(Attempt::Done(claim)),
            Gathered::Lost => self.as_it_is(&held).await.map(Attempt::Done),
            Gathered::Short if born.claim.spec.on_empty_pool() == OnEmptyPool::Wait => {
                self.wait_on(&held, born.claim, source).await.map(Attempt::Done)
            }
            Gathered::Short if self.abandon(&held).await? => Err(self.exhausted(source)),
            Gathered::Short => self.as_it_is(&held).await.map(Attempt::Done),
        }
    }

    /// What somebody else has made of a claim.
    async fn as_it_is(&self, held: &Object) -> Result<Object, ApiError> {
        let now = GetOptions::default();
        self.claims.get(&self.permit, &held.key(), &now).await.map(|it| (*it).clone())
    }

    /// Takes hold of a stored claim: of all who try, one succeeds. `None` = somebody else wrote it.
    ///
    /// # Errors
    /// Those of a write.
    pub(super) async fn begin(
        &self,
        stored: &Object,
        claim: &SandboxClaim,
    ) -> Result<Option<Object>, ApiError> {
        let before = claim.status.clone().unwrap_or_default();
        let status = bind::binding(&before, claim, self.clock.now());
        self.replace_status(stored, &status, &[]).await.map(written)
    }

    /// Makes Sandboxes the claim's until it has as many as it asks for, then binds it.
    ///
    /// # Errors
    /// Those of a write; then nobody knows how far it came.
    pub(super) async fn gather(
        &self,
        mut it: Gathering<'_>,
        mut shares: Vec<Share>,
    ) -> Result<Gathered, ApiError> {
        let mut attempts = 0;
        // Of Sandboxes that are there and not the claim's: others are made under other names.
        let mut foreign = BTreeSet::new();
        while !shares.is_empty() {
            let rest = shares.split_off(shares.len().min(self.config.transaction_max));
            let parts = match self.gather_some(it.held, &shares).await? {
                Commit::Done(_) => {
                    it.have.extend(sandboxes(&shares)?);
                    shares.into_iter().for_each(Share::spend);
                    shares = rest;
                    continue;
                }
                Commit::Conflict(parts) => parts,
            };
            if parts.iter().any(|part| part.part == 0) {
                return Ok(Gathered::Lost);
            }
            foreign.extend(harmed_names(&shares, &parts));
            self.metrics.raced();
            attempts += 1;
            shares = unharmed(shares, &parts);
            shares.extend(rest);
            let missing = wanted(it.claim).saturating_sub(it.have.len() + shares.len());
            let more = match attempts < self.config.attempts_max {
                true => self.take_stock(it.claim, it.source, missing, true)?,
                false => None,
            };
            match more {
                Some(more) => shares.extend(more),
                None if it.claim.spec.on_empty_pool() == OnEmptyPool::ColdStart => {
                    let mut taken = names(&it.have, &shares);
                    taken.extend(foreign.iter().cloned());
                    shares.extend(self.made(it.claim, it.source, missing, &taken).await?);
                }
                None => return Ok(Gathered::Short),
            }
        }
        let generation = it.claim.metadata.generation.unwrap_or(1);
        let before = it.claim.status.clone().unwrap_or_default();
        let status = bind::status(&before, generation, &it.have, self.clock.now());
        let bound = self.replace_status(it.held, &status, &[]).await.map(written)?;
        Ok(bound.map_or(Gathered::Lost, Gathered::Bound))
    }

    async fn gather_some(&self, held: &Object, shares: &[Share]) -> Result<Commit, ApiError> {
        let mut transaction = Transaction::new();
        transaction.guard(&self.permit, &self.claims, held)?;
        self.add_shares(&mut transaction, shares)?;
        transaction.commit(&*self.kv).await
    }

    /// Goes on with a claim that nobody has finished: what was gathered is kept.
    ///
    /// # Errors
    /// Those of reads and writes.
    pub(super) async fn take_over(&self, key: &ObjectKey) -> Result<(), ApiError> {
        let stored = match self.claims.get(&self.permit, key, &GetOptions::default()).await {
            Ok(stored) => stored,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let claim: SandboxClaim = stored.to_typed().map_err(ApiError::internal)?;
        let status = claim.status.clone().unwrap_or_default();
        let due = bind::binding_since(&status).is_some_and(|since| {
            let since = Duration::try_from(self.clock.now().duration_since(since));
            since.unwrap_or_default() >= self.config.takeover
        });
        if !due || claim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let source = match self.source(namespace, &claim).await {
            Ok(source) => source,
            Err(error) if error.code() == 422 => return self.say_missing(key, &claim).await,
            Err(error) => return Err(error),
        };
        let Some(held) = self.begin(&stored, &claim).await? else { return Ok(()) };
        tracing::info!(claim = %key, "going on with a claim that was left half bound");
        let have = self.gathered(&held.key(), held.uid()).await?;
        let shares = match self.missing_stock(&claim, &source, have.len())? {
            Some(shares) => shares,
            None if claim.spec.on_empty_pool() == OnEmptyPool::ColdStart => {
                let missing = wanted(&claim).saturating_sub(have.len());
                self.made(&claim, &source, missing, &names(&have, &[])).await?
            }
            None => {
                self.wait_on(&held, &claim, &source).await?;
                return Ok(());
            }
        };
        let gathering = Gathering { held: &held, claim: &claim, source: &source, have };
        match self.gather(gathering, shares).await? {
            Gathered::Bound(bound) => {
                self.served(&claim, &bound);
                Ok(())
            }
            Gathered::Lost => Ok(()),
            Gathered::Short => self.wait_on(&held, &claim, &source).await.map(drop),
        }
    }

    /// Takes out of stock what a claim that stands in line lacks, if it has `had`.
    ///
    /// # Errors
    /// As [`Inner::take_stock`].
    pub(super) fn missing_stock(
        &self,
        claim: &SandboxClaim,
        source: &Source,
        had: usize,
    ) -> Result<Option<Vec<Share>>, ApiError> {
        match wanted(claim).saturating_sub(had) {
            0 => Ok(Some(Vec::new())),
            missing => self.take_stock(claim, source, missing, true),
        }
    }

    /// Lets a claim wait in line with what it has.
    ///
    /// # Errors
    /// Those of a write.
    pub(super) async fn wait_on(
        &self,
        held: &Object,
        claim: &SandboxClaim,
        source: &Source,
    ) -> Result<Object, ApiError> {
        let mut status = claim.status.clone().unwrap_or_default();
        self.waits(&mut status, claim, &source.line);
        let since = status.waiting_since.as_ref().map(|time| time.0);
        match self.replace_status(held, &status, &[]).await.map(written)? {
            Some(stored) => {
                let since = since.unwrap_or_else(|| self.clock.now());
                self.waiting.join(&source.line, held.key(), since, wanted(claim));
                Ok(stored)
            }
            None => self.as_it_is(held).await,
        }
    }

    /// Deletes a claim that could not be bound, and what was gathered for it. False if somebody else
    /// has written it meanwhile: then it is theirs, and what was gathered too.
    async fn abandon(&self, held: &Object) -> Result<bool, ApiError> {
        let options = DeleteOptions {
            preconditions: Preconditions {
                uid: Some(held.uid().to_owned()),
                resource_version: held.resource_version().map(str::to_owned),
            },
            ..DeleteOptions::default()
        };
        match self.claims.delete(&self.permit, &held.key(), &options).await {
            Err(error) if error.is_conflict() => return Ok(false),
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        self.release_gathered(&held.key(), held.uid()).await.map(|()| true)
    }

    /// What is the claim's by its label. It is a read of the store's present.
    ///
    /// # Errors
    /// Those of a list.
    pub(super) async fn gathered(
        &self,
        claim: &ObjectKey,
        uid: &str,
    ) -> Result<Vec<(Sandbox, LaunchType)>, ApiError> {
        let label = format!("{}={uid}", keys::CLAIM_UID);
        let options =
            ListOptions { label_selector: LabelSelector::parse(&label)?, ..ListOptions::default() };
        let scope = Scope::Namespace(claim.namespace.clone().unwrap_or_default());
        let list = self.sandboxes.list(&self.permit, &scope, &options).await?;
        let mut found = Vec::with_capacity(list.items.len());
        for item in &list.items {
            let object = item.object()?;
            if object.deletion_timestamp().is_some() {
                continue;
            }
            let launch = match object.label(keys::LAUNCH_TYPE) {
                Some("cold") => LaunchType::Cold,
                _ => LaunchType::Warm,
            };
            found.push((object.to_typed().map_err(ApiError::internal)?, launch));
        }
        Ok(found)
    }

    /// Deletes what was gathered for a claim that will never be bound.
    ///
    /// # Errors
    /// The first of a deletion's.
    pub(super) async fn release_gathered(
        &self,
        claim: &ObjectKey,
        uid: &str,
    ) -> Result<(), ApiError> {
        let gathered = self.gathered(claim, uid).await?;
        stream::iter(&gathered)
            .map(Ok::<_, ApiError>)
            .try_for_each_concurrent(DELETIONS, |(sandbox, launch)| {
                let bound = bind::bound(sandbox, *launch);
                async move { self.delete_sandbox(claim, &bound).await }
            })
            .await
    }

    /// Writes a claim's status where it is stored as `old`, and makes the shares the claim's with it.
    ///
    /// # Errors
    /// Those of a write; after a 504 nobody knows whether it happened.
    pub(super) async fn replace_status(
        &self,
        old: &Object,
        status: &SandboxClaimStatus,
        shares: &[Share],
    ) -> Result<Commit, ApiError> {
        let mut new = old.clone();
        new.0.insert("status".into(), serde_json::to_value(status).map_err(ApiError::internal)?);
        let mut transaction = Transaction::new();
        transaction.replace(&self.permit, &self.claims, Part::Status, (old, new))?;
        self.add_shares(&mut transaction, shares)?;
        transaction.commit(&*self.kv).await
    }
}

/// The claim as it was written; `None` if it was no longer stored as expected.
fn written(commit: Commit) -> Option<Object> {
    match commit {
        Commit::Done(objects) => objects.into_iter().next().flatten(),
        Commit::Conflict(_) => None,
    }
}

/// How many Sandboxes a claim asks for.
pub(super) fn wanted(claim: &SandboxClaim) -> usize {
    usize::try_from(claim.spec.replicas()).unwrap_or(1)
}

/// The shares that were as they were expected to be. The others are nobody's stock any more, until
/// the watch tells of them.
pub(super) fn unharmed(shares: Vec<Share>, parts: &[Conflicting]) -> Vec<Share> {
    // The claim itself is part 0.
    let harmed: BTreeSet<_> = parts.iter().map(|part| part.part).collect();
    let mut whole = Vec::with_capacity(shares.len());
    for (place, share) in shares.into_iter().enumerate() {
        if harmed.contains(&(place + 1)) {
            share.spend();
        } else {
            whole.push(share);
        }
    }
    whole
}

/// Names of the new ones among those that were not as they were expected to be.
fn harmed_names(shares: &[Share], parts: &[Conflicting]) -> Vec<String> {
    let harmed = parts.iter().filter_map(|part| shares.get(part.part.checked_sub(1)?));
    let made = harmed.filter_map(|share| match share {
        Share::Made(new) => Some(new.object().name().to_owned()),
        Share::Taken { .. } => None,
    });
    made.collect()
}

fn names(have: &[(Sandbox, LaunchType)], shares: &[Share]) -> BTreeSet<String> {
    let had = have.iter().filter_map(|(sandbox, _)| sandbox.metadata.name.clone());
    let coming = shares.iter().map(|share| match share {
        Share::Taken { new, .. } => new.name().to_owned(),
        Share::Made(new) => new.object().name().to_owned(),
    });
    had.chain(coming).collect()
}
