//! From a claim to Sandboxes: where they come from, and the transaction that binds them.

use std::sync::Arc;

use apiserver::auth::Permit;
use apiserver::field::FieldError;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{Commit, Conflicting, Part, Transaction};
use apiserver::request::{GetOptions, ListOptions};
use apiserver::status::{ApiError, Details, Reason};
use apiserver::warnings::Warnings;
use sandbox_api::{
    LaunchType, Sandbox, SandboxClaim, SandboxClaimStatus, SandboxWarmPool, UpdateStrategyType,
    condition,
};
use serde_json::{Map, Value, json};

use super::bind::{self, Owner};
use super::idempotency::{Record, Records};
use super::policy;
use super::queue::Line;
use super::service::{Attempt, Born, Inner, Request, Share, Source};
use crate::resources::sandbox_template::instance::{instance, revision};

impl Inner {
    /// # Errors
    /// 422 for a pool or template that does not exist.
    pub(super) async fn source(
        &self,
        namespace: &str,
        claim: &SandboxClaim,
    ) -> Result<Source, ApiError> {
        let spec = &claim.spec;
        let key = |name: &str| ObjectKey::namespaced(namespace, name);
        let (pool, template, line) = match (&spec.warm_pool_ref, &spec.sandbox_template_ref) {
            (Some(pool), _) => {
                let found = self.pools.get(&key(&pool.name)).await?;
                let alive = found.filter(|pool| pool.metadata.deletion_timestamp.is_none());
                let Some(found) = alive else {
                    return Err(self.dangling(claim, "spec.warmPoolRef.name", &pool.name));
                };
                let template = found.spec.sandbox_template_ref.name.clone();
                (Some(found), template, Line::pool(namespace, &pool.name))
            }
            (None, Some(template)) => {
                (None, template.name.clone(), Line::template(namespace, &template.name))
            }
            (None, None) => return Err(ApiError::internal("a claim of nothing was admitted")),
        };
        let Some(found) = self.templates.get(&key(&template)).await? else {
            return Err(match &pool {
                None => self.dangling(claim, "spec.sandboxTemplateRef.name", &template),
                Some(pool) => {
                    let name = pool.metadata.name.as_deref().unwrap_or_default();
                    let detail = format!("its SandboxTemplate {template:?} does not exist");
                    let field = "spec.warmPoolRef.name";
                    self.invalid(claim, &[FieldError::invalid(field, &json!(name), &detail)])
                }
            });
        };
        let pools = match pool {
            Some(pool) => vec![pool],
            None => self.pools_of(namespace, &template).await?,
        };
        let pools = pools.into_iter().map(|pool| (Arc::clone(&pool), gives_stale(&pool))).collect();
        Ok(Source { pools, revision: revision(&found.spec), template: found, line })
    }

    async fn pools_of(
        &self,
        namespace: &str,
        template: &str,
    ) -> Result<Vec<Arc<SandboxWarmPool>>, ApiError> {
        let cached = ListOptions { resource_version: "0".into(), ..ListOptions::default() };
        let scope = Scope::Namespace(namespace.into());
        let list = self.pools.store().list(&self.permit, &scope, &cached).await?;
        let mut pools = Vec::new();
        for item in &list.items {
            let pool = self.pools.decode(item)?;
            if pool.spec.sandbox_template_ref.name == template
                && pool.metadata.deletion_timestamp.is_none()
            {
                pools.push(pool);
            }
        }
        Ok(pools)
    }

    /// Takes what the claim asks for out of stock, if it can come from there and is not promised to
    /// others who wait for it.
    ///
    /// # Errors
    /// 500 when a stored Sandbox can't be read.
    pub(super) fn take_stock(
        &self,
        claim: &SandboxClaim,
        source: &Source,
        count: usize,
        in_line: bool,
    ) -> Result<Option<Vec<Share>>, ApiError> {
        if claim.spec.needs_cold_start() {
            return Ok(None);
        }
        let promised = if in_line { 0 } else { self.waiting.len(&source.line) };
        for (pool, stale_too) in &source.pools {
            let uid = pool.metadata.uid.as_deref().unwrap_or_default();
            if promised > 0
                && self.stock.available(uid, &source.revision, *stale_too) < promised + count
            {
                continue;
            }
            let Some(members) = self.stock.take(uid, &source.revision, *stale_too, count) else {
                continue;
            };
            let owner = owner(claim);
            let metadata = claim.spec.additional_pod_metadata.as_ref();
            let mut shares = Vec::with_capacity(members.len());
            for member in &members {
                match member.item.object() {
                    Ok(old) => {
                        let new = bind::claimed(&old, &owner, metadata);
                        shares.push(Share::Taken { member: Arc::clone(member), old, new });
                    }
                    Err(error) => {
                        members.iter().for_each(|member| self.stock.put_back(member));
                        return Err(error);
                    }
                }
            }
            return Ok(Some(shares));
        }
        Ok(None)
    }

    /// New Sandboxes for the claim: of its name, or numbered if there are several.
    ///
    /// # Errors
    /// Those of a create.
    pub(super) async fn made(
        &self,
        request: &Request<'_>,
        claim: &SandboxClaim,
        source: &Source,
        count: usize,
    ) -> Result<Vec<Share>, ApiError> {
        let owner = owner(claim);
        let blueprint = instance(&source.template);
        let mut spec = blueprint.spec;
        policy::apply(&claim.spec, &mut spec);
        let mut labels: Map<String, Value> =
            blueprint.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        bind::mark(&mut labels, &owner, LaunchType::Cold);
        let scope = Scope::Namespace(request.namespace.clone());
        let mut shares = Vec::with_capacity(count);
        for index in 0..count {
            let name = match count {
                1 => owner.name.to_owned(),
                _ => format!("{}-{index}", owner.name),
            };
            let object = Object::from_value(json!({
                "metadata": {
                    "name": name,
                    "labels": labels,
                    "annotations": blueprint.annotations,
                    "ownerReferences": [owner.reference()],
                },
                "spec": spec,
            }))
            .unwrap_or_default();
            let warnings = Warnings::new();
            let new = self.sandboxes.prepare(&self.permit, &scope, object, &warnings).await?;
            shares.push(Share::Made(new));
        }
        Ok(shares)
    }

    /// Stores the claim with what it is bound to, all or nothing. Without shares it waits.
    ///
    /// # Errors
    /// Those of a write; after a 504 nobody knows whether it happened.
    pub(super) async fn bind(
        &self,
        permit: &Permit,
        born: Born<'_>,
        shares: Vec<Share>,
        before: Option<&Record>,
    ) -> Result<Attempt, ApiError> {
        let outcome = self.transact(permit, &born, &shares, before).await;
        if !matches!(outcome, Ok(Commit::Done(_))) {
            self.return_shares(&shares);
        }
        match outcome? {
            Commit::Done(objects) => {
                let claim = objects.into_iter().next().flatten().unwrap_or_default();
                if shares.is_empty() {
                    self.waiting.join(born.line, claim.key());
                }
                Ok(Attempt::Done(claim))
            }
            Commit::Conflict(parts) => Ok(self.conflict(born.claim, &shares, &parts)),
        }
    }

    async fn transact(
        &self,
        permit: &Permit,
        born: &Born<'_>,
        shares: &[Share],
        before: Option<&Record>,
    ) -> Result<Commit, ApiError> {
        let status = self.status_at_birth(born, shares)?;
        let mut transaction = Transaction::new();
        transaction.create(permit, &self.claims, born.new.clone().with_status(status))?;
        for share in shares {
            match share {
                Share::Taken { old, new, .. } => {
                    let change = (old, new.clone());
                    transaction.replace(&self.permit, &self.sandboxes, Part::Main, change)?;
                }
                Share::Made(new) => {
                    transaction.create(&self.permit, &self.sandboxes, new.clone())?;
                }
            }
        }
        if let Some(key) = &born.claim.spec.idempotency_key {
            let owner = owner(born.claim);
            let namespace = born.claim.metadata.namespace.as_deref().unwrap_or_default();
            let part = self.records.take(namespace, key, (owner.name, owner.uid), before)?;
            transaction.push(&self.permit, part);
        }
        transaction.commit(&*self.kv).await
    }

    fn status_at_birth(&self, born: &Born<'_>, shares: &[Share]) -> Result<Value, ApiError> {
        let now = self.clock.now();
        let mut status = SandboxClaimStatus::default();
        if shares.is_empty() {
            let place = i64::try_from(self.waiting.len(born.line)).unwrap_or(i64::MAX);
            status.observed_generation = Some(1);
            status.queue_position = Some(place);
            let (reason, message) = (condition::claim::WAITING_FOR_STOCK, "no Sandbox is ready");
            let ready = (condition::READY, "False", reason, message);
            bind::set_condition(&mut status, ready, 1, now);
        } else {
            status = bind::status(&status, 1, &sandboxes(shares)?, now);
        }
        serde_json::to_value(status).map_err(ApiError::internal)
    }

    /// What would be stored.
    ///
    /// # Errors
    /// 409 in [`Attempt::NameTaken`] when the name is taken.
    pub(super) async fn dry_run(
        &self,
        born: Born<'_>,
        shares: Vec<Share>,
    ) -> Result<Attempt, ApiError> {
        let status = self.status_at_birth(&born, &shares);
        self.return_shares(&shares);
        let key = born.new.object().key();
        match self.claims.get(&self.permit, &key, &GetOptions::default()).await {
            Ok(_) => {
                let resource = self.claims.def().group_resource();
                Ok(Attempt::NameTaken(ApiError::already_exists(&resource, &key.name)))
            }
            Err(error) if error.is_not_found() => {
                Ok(Attempt::Done(born.new.with_status(status?).into_object()))
            }
            Err(error) => Err(error),
        }
    }

    /// Back into stock: what nobody else has changed can be claimed again.
    pub(super) fn return_shares(&self, shares: &[Share]) {
        for share in shares {
            if let Share::Taken { member, .. } = share {
                self.stock.put_back(member);
            }
        }
    }

    /// Which of the parts was in the way: the claim's name, its key, or a Sandbox.
    fn conflict(&self, claim: &SandboxClaim, shares: &[Share], parts: &[Conflicting]) -> Attempt {
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

    /// # Errors
    /// 429 when too many wait already.
    pub(super) fn may_wait(&self, source: &Source) -> Result<(), ApiError> {
        if self.waiting.len(&source.line) < self.config.queue_max {
            return Ok(());
        }
        let text = format!("{} claims wait for {} already", self.config.queue_max, source.line);
        Err(ApiError::new(Reason::TooManyRequests, text).with_retry_after(5))
    }

    pub(super) fn exhausted(&self, source: &Source) -> ApiError {
        let pool = source.pools.first().map(|(pool, _)| pool.as_ref());
        let name = pool.and_then(|pool| pool.metadata.name.clone()).unwrap_or_default();
        let group = sandbox_api::GROUP.to_owned();
        let details =
            Details { name, group, kind: "sandboxwarmpools".into(), ..Details::default() };
        let text = format!("no Sandbox of {} is ready", source.line);
        ApiError::new(Reason::Other(condition::claim::POOL_EXHAUSTED, 503), text)
            .with_details(details)
            .with_retry_after(1)
    }

    /// Every candidate was somebody else's in the end.
    pub(super) fn raced(&self, claim: &SandboxClaim) -> ApiError {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let text = format!("too many claims at once: SandboxClaim {name:?} was not made");
        ApiError::new(Reason::TooManyRequests, text).with_retry_after(1)
    }

    fn dangling(&self, claim: &SandboxClaim, field: &str, name: &str) -> ApiError {
        self.invalid(claim, &[FieldError::not_found(field, &json!(name))])
    }

    fn invalid(&self, claim: &SandboxClaim, errors: &[FieldError]) -> ApiError {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        ApiError::invalid(&self.claims.def().gvk, name, errors)
    }
}

/// Stock made from an older revision of the template is given away only where it is to be used up.
fn gives_stale(pool: &SandboxWarmPool) -> bool {
    pool.spec.update_strategy() == UpdateStrategyType::OnReplenish
}

fn owner(claim: &SandboxClaim) -> Owner<'_> {
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
