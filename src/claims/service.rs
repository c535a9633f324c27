//! The claim: one request, one transaction.
//!
//! A claim is judged like any object, then by its template's policies, and stored together with
//! what it is bound to: a Sandbox from stock that becomes its own, or a new one. Nothing is written
//! to the cluster before the answer; the loop brings the Pod's labels up to date afterwards.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{NewObject, Store};
use apiserver::request::GetOptions;
use apiserver::status::ApiError;
use apiserver::storage::Kv;
use apiserver::warnings::Warnings;
use sandbox_api::{OnEmptyPool, SandboxClaim, SandboxTemplate, SandboxWarmPool};

use super::idempotency::{Record, Records};
use super::lookup::Lookup;
use super::metrics::ClaimMetrics;
use super::policy;
use super::queue::{Line, Waiting};
use super::steps::wanted;
use super::stock::{Held, Stock};
use super::story::{self, How};
use super::wait::Wait;
use crate::events::Events;
use crate::foreground::Foreground;

/// Bounds of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Claims that may wait for the stock of one pool or template.
    pub queue_max: usize,
    /// Candidates that are tried before a claim is treated as if there were no stock.
    pub attempts_max: usize,
    /// Sandboxes that are bound in one transaction: what every store takes, with the claim itself
    /// and its idempotency record. A claim of more is bound in steps.
    pub transaction_max: usize,
    /// How long whoever binds a claim in steps may take before another goes on with it; at least a
    /// second.
    pub takeover: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_max: 1_000,
            attempts_max: 16,
            transaction_max: 120,
            takeover: Duration::from_secs(10),
        }
    }
}

/// How long a claim waits right after the start until it is known what there is.
const FILLING_MAX: Duration = Duration::from_secs(10);

/// Names that are tried for a claim that leaves its name to us.
const NAMES_MAX: usize = 8;

/// Answers claims. Clones share everything.
#[derive(Debug, Clone)]
pub struct Claims(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) claims: Store,
    pub(super) sandboxes: Store,
    pub(super) pools: Lookup<SandboxWarmPool>,
    pub(super) templates: Lookup<SandboxTemplate>,
    pub(super) stock: Stock,
    pub(super) waiting: Waiting,
    pub(super) records: Records,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) clock: Arc<dyn Clock>,
    /// For what a claimant has no right to by itself.
    pub(super) permit: Permit,
    pub(super) config: Config,
    pub(super) metrics: ClaimMetrics,
    pub(super) events: Events,
    foreground: Foreground,
    /// Deleted claims that leave something to be removed; lost with the process, for a record
    /// without its claim counts as absent, and Sandboxes are looked through at the start.
    pub(super) ended: Mutex<HashMap<ObjectKey, Arc<Object>>>,
}

/// A claim that somebody makes.
#[derive(Debug)]
pub struct Request<'a> {
    pub permit: &'a Permit,
    pub namespace: String,
    pub claim: Object,
    pub dry_run: bool,
    pub wait: Option<Wait>,
    /// A repeated claim of the same name gets the claim that is there.
    pub known_by_name: bool,
    pub warnings: &'a Warnings,
}

/// The claim as it is stored.
#[derive(Debug)]
pub struct Answer {
    /// Whether this request made it.
    pub created: bool,
    pub claim: Object,
}

/// What a claim gets.
pub(super) enum Share {
    /// As it was in stock, and as it will be.
    Taken {
        member: Held,
        old: Arc<Object>,
        new: Object,
    },
    Made(NewObject),
}

impl Share {
    /// It is the claim's: nothing goes back into stock.
    pub(super) fn spend(self) {
        if let Self::Taken { member, .. } = self {
            member.spend();
        }
    }
}

/// A claim that is about to be stored.
pub(super) struct Born<'a> {
    pub(super) new: NewObject,
    pub(super) claim: &'a SandboxClaim,
    pub(super) line: &'a Line,
}

/// What came of one transaction.
pub(super) enum Attempt {
    Done(Object),
    /// A Sandbox was no longer as it was in stock.
    Raced,
    NameTaken(ApiError),
    KeyTaken(Record),
}

/// What claims are made of.
#[derive(Debug)]
pub struct Parts {
    pub claims: Store,
    pub sandboxes: Store,
    pub pools: Store,
    pub templates: Store,
    /// Where all of them are stored; claims may have a way of their own to it.
    pub kv: Arc<dyn Kv>,
    pub store_prefix: String,
    pub clock: Arc<dyn Clock>,
    pub permit: Permit,
    pub events: Events,
    /// Where it is said that a claim is being answered.
    pub foreground: Foreground,
}

impl Claims {
    pub fn new(parts: Parts, config: Config) -> Self {
        let permit = parts.permit;
        Self(Arc::new(Inner {
            claims: parts.claims,
            sandboxes: parts.sandboxes,
            pools: Lookup::new(parts.pools, permit.clone()),
            templates: Lookup::new(parts.templates, permit.clone()),
            stock: Stock::default(),
            waiting: Waiting::default(),
            records: Records::new(Arc::clone(&parts.kv), &parts.store_prefix),
            kv: parts.kv,
            clock: parts.clock,
            permit,
            config,
            metrics: ClaimMetrics::default(),
            events: parts.events,
            foreground: parts.foreground,
            ended: Mutex::default(),
        }))
    }

    /// What warm pools have to give.
    pub fn stock(&self) -> &Stock {
        &self.0.stock
    }

    /// The claims under way, and what is left for the next.
    pub fn foreground(&self) -> &Foreground {
        &self.0.foreground
    }

    /// Deletes the claims that wait for a pool that is gone.
    ///
    /// # Errors
    /// Those of a delete; the rest still waits.
    pub async fn end_waiting(&self, pool: &ObjectKey) -> Result<(), ApiError> {
        self.0.end_waiting(pool).await
    }

    /// Claims that wait for stock.
    pub fn waiting(&self) -> usize {
        self.0.waiting.total()
    }

    /// Figures for `/metrics`.
    pub fn metrics(&self) -> &ClaimMetrics {
        &self.0.metrics
    }

    /// Whether it is known what is in stock and who waits; until then claims wait.
    pub fn is_filled(&self) -> bool {
        self.0.stock.is_filled() && self.0.waiting.is_filled()
    }

    /// Without this a server that has just started would take every pool for empty.
    async fn filled(&self) -> Result<(), ApiError> {
        let filled = async {
            self.0.stock.filled().await;
            self.0.waiting.filled().await;
        };
        tokio::time::timeout(FILLING_MAX, filled).await.map_err(|_| {
            let text = "the server is starting and does not know yet what is in stock";
            ApiError::service_unavailable(text).with_retry_after(1)
        })
    }

    /// Makes a claim and binds it as far as it can be bound now.
    ///
    /// # Errors
    /// Those of a create; 422 for what the references or the template's policies do not allow; 503
    /// `PoolExhausted`, or when the server is starting; 429 when too many wait; 409 when the
    /// idempotency key belongs to another request; 504 when it is not so far in time, and then it
    /// goes on by itself.
    pub async fn create(&self, request: Request<'_>) -> Result<Answer, ApiError> {
        let started = tokio::time::Instant::now();
        self.filled().await?;
        let answering = self.0.foreground.enter(&*self.0.clock);
        let answer = self.0.make(&request).await;
        drop(answering);
        self.0.metrics.answered(started.elapsed(), &answer);
        let answer = answer?;
        if answer.created && !request.dry_run {
            self.0.tell_birth(&answer.claim, How::AtOnce(started.elapsed()));
        }
        match request.wait {
            Some(wait) if !request.dry_run => {
                let claim = self.0.wait(request.permit, answer.claim, wait, started).await?;
                Ok(Answer { claim, ..answer })
            }
            _ => Ok(answer),
        }
    }
}

impl Inner {
    async fn make(&self, request: &Request<'_>) -> Result<Answer, ApiError> {
        let Request { permit, claim, warnings, .. } = request;
        let scope = Scope::Namespace(request.namespace.clone());
        let generated = claim.name().is_empty();
        let mut attempt = 1;
        loop {
            let new = self.claims.prepare(permit, &scope, claim.clone(), warnings).await?;
            let typed: SandboxClaim = new.object().to_typed().map_err(ApiError::internal)?;
            match self.admit(request, new, &typed).await? {
                Attempt::Done(claim) => return Ok(Answer { created: true, claim }),
                Attempt::KeyTaken(record) => {
                    let claim = self.known(request, &typed, &record.claim, true).await?;
                    return Ok(Answer { created: false, claim });
                }
                Attempt::NameTaken(_) if generated && attempt < NAMES_MAX => attempt += 1,
                Attempt::NameTaken(_) if request.known_by_name && !generated => {
                    let name = typed.metadata.name.clone().unwrap_or_default();
                    let claim = self.known(request, &typed, &name, false).await?;
                    return Ok(Answer { created: false, claim });
                }
                Attempt::NameTaken(error) => return Err(error),
                Attempt::Raced => return Err(self.raced(&typed)),
            }
        }
    }

    /// Tells of a claim that was just stored as this replica has made it.
    pub(super) fn tell_birth(&self, claim: &Object, how: How) {
        let Ok(claim) = claim.to_typed::<SandboxClaim>() else { return };
        let status = claim.status.clone().unwrap_or_default();
        story::born(&claim, &status, how).into_iter().for_each(|event| self.events.tell(event));
    }

    /// The claim that an earlier request with the same name or key made.
    async fn known(
        &self,
        request: &Request<'_>,
        asked: &SandboxClaim,
        name: &str,
        by_key: bool,
    ) -> Result<Object, ApiError> {
        let key = ObjectKey::namespaced(request.namespace.as_str(), name);
        let known = self.claims.get(&self.permit, &key, &GetOptions::default()).await?;
        let typed: SandboxClaim = known.to_typed().map_err(ApiError::internal)?;
        let same = |claim: &SandboxClaim| {
            let spec = &claim.spec;
            (
                spec.warm_pool_ref.clone(),
                spec.sandbox_template_ref.clone(),
                spec.replicas(),
                spec.env.clone(),
            )
        };
        if same(&typed) == same(asked) {
            return Ok(Arc::unwrap_or_clone(known));
        }
        let resource = self.claims.def().group_resource();
        Err(if by_key {
            let cause = "spec.idempotencyKey was used by a claim that asked for something else";
            ApiError::conflict(&resource, name, cause)
        } else {
            ApiError::already_exists(&resource, name)
        })
    }

    /// Binds a new claim, or lets it wait.
    async fn admit(
        &self,
        request: &Request<'_>,
        new: NewObject,
        claim: &SandboxClaim,
    ) -> Result<Attempt, ApiError> {
        let source = self.source(&request.namespace, claim).await?;
        let errors = policy::check(&claim.spec, &source.template.spec);
        if !errors.is_empty() {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            return Err(ApiError::invalid(&self.claims.def().gvk, name, &errors));
        }
        let count = wanted(claim);
        let mut before = None;
        for _ in 0..self.config.attempts_max {
            let mut seat = None;
            let shares = match self.take_stock(claim, &source, count, false)? {
                Some(shares) => shares,
                None => match claim.spec.on_empty_pool() {
                    OnEmptyPool::ColdStart => {
                        self.made(claim, &source, count, &BTreeSet::new()).await?
                    }
                    OnEmptyPool::Fail => return Err(self.exhausted(&source)),
                    OnEmptyPool::Wait => {
                        seat = Some(self.seat(&source)?);
                        Vec::new()
                    }
                },
            };
            let born = Born { new: new.clone(), claim, line: &source.line };
            if request.dry_run {
                return self.dry_run(&born, shares).await;
            }
            let (permit, before_it) = (request.permit, before.as_ref());
            let attempt = if shares.len() > self.config.transaction_max {
                self.bind_in_steps(permit, &born, &source, shares, before_it).await?
            } else {
                self.bind(permit, &born, shares, before_it).await?
            };
            if let (Some(_), Attempt::Done(stored)) = (&seat, &attempt) {
                self.leave_if_pool_is_gone(stored, claim, &source).await?;
            }
            // By now it stands in the line itself.
            drop(seat);
            match attempt {
                Attempt::Raced => {
                    self.metrics.raced();
                    // The record may have been removed since it was read.
                    before = None;
                }
                Attempt::KeyTaken(record)
                    if !self.is_alive(&request.namespace, &record).await? =>
                {
                    before = Some(record);
                }
                other => return Ok(other),
            }
        }
        Ok(Attempt::Raced)
    }

    /// Whether the claim of a record still exists.
    async fn is_alive(&self, namespace: &str, record: &Record) -> Result<bool, ApiError> {
        let key = ObjectKey::namespaced(namespace, record.claim.as_str());
        match self.claims.get(&self.permit, &key, &GetOptions::default()).await {
            Ok(claim) => Ok(claim.uid() == record.uid),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
