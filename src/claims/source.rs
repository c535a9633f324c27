//! Where a claim's Sandboxes come from: a pool's stock, or the template.

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver::field::FieldError;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::request::ListOptions;
use apiserver::status::{ApiError, Details, Reason};
use apiserver::warnings::Warnings;
use sandbox_api::{
    LaunchType, SandboxClaim, SandboxTemplate, SandboxWarmPool, UpdateStrategyType, condition,
};
use serde_json::{Map, Value, json};

use super::bind;
use super::bound::owner;
use super::policy;
use super::queue::{Line, Seat};
use super::service::{Inner, Share};
use crate::resources::sandbox_template::instance::{instance, revision};

/// Where Sandboxes for a claim come from.
pub(super) struct Source {
    /// With whether their stale stock may be given away.
    pub(super) pools: Vec<(Arc<SandboxWarmPool>, bool)>,
    pub(super) template: Arc<SandboxTemplate>,
    pub(super) revision: String,
    pub(super) line: Line,
}

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
        let promised = if in_line { 0 } else { self.waiting.promised(&source.line) };
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
            for member in members {
                let old = member.item.object()?;
                let new = bind::claimed(&old, &owner, metadata);
                shares.push(Share::Taken { member, old, new });
            }
            return Ok(Some(shares));
        }
        Ok(None)
    }

    /// New Sandboxes for the claim: of its name, or numbered if it asks for several; of other names
    /// than those that are `taken`.
    ///
    /// # Errors
    /// Those of a create.
    pub(super) async fn made(
        &self,
        claim: &SandboxClaim,
        source: &Source,
        count: usize,
        taken: &BTreeSet<String>,
    ) -> Result<Vec<Share>, ApiError> {
        let owner = owner(claim);
        let blueprint = instance(&source.template);
        let mut spec = blueprint.spec;
        policy::apply(&claim.spec, &mut spec);
        let mut labels: Map<String, Value> =
            blueprint.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
        bind::mark(&mut labels, &owner, LaunchType::Cold);
        let scope = Scope::Namespace(claim.metadata.namespace.clone().unwrap_or_default());
        let names = (0..).map(|index| match claim.spec.replicas() {
            1 => owner.name.to_owned(),
            _ => format!("{}-{index}", owner.name),
        });
        let mut shares = Vec::with_capacity(count);
        for name in names.filter(|name| !taken.contains(name)).take(count) {
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

    /// A place for one more in the line.
    ///
    /// # Errors
    /// 429 when too many wait already.
    pub(super) fn seat(&self, source: &Source) -> Result<Seat, ApiError> {
        if let Some(seat) = self.waiting.seat(&source.line, self.config.queue_max) {
            return Ok(seat);
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

    pub(super) fn dangling(&self, claim: &SandboxClaim, field: &str, name: &str) -> ApiError {
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
