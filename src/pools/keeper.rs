//! Keeps the stock of warm pools.
//!
//! Creations are decided and recorded in one transaction: it makes the members and writes the
//! pool's status, guarded by the pool's revision. A decision is made on a list of the members that
//! is no older than that revision, so it knows of every creation before it; and if somebody else
//! created since, the revision has moved and the transaction fails. So there are never more than
//! were asked for, however many servers keep the pool and however late their memory is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Part, Store};
use apiserver::request::{GetOptions, WriteOptions};
use apiserver::status::ApiError;
use apiserver::storage::Kv;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use jiff::Timestamp;
use sandbox_api::{SandboxTemplate, SandboxWarmPool, SandboxWarmPoolStatus};
use serde_json::Value;

use super::metrics::Figures;
use super::plan::{Observed, Others, Plan, Policy, Why, plan};
use super::setbacks::Setbacks;
use super::story;
use crate::bucket::Bucket;
use crate::claims::stock::{Member, Stock};
use crate::claims::{Claims, Lookup};
use crate::events::Events;
use crate::foreground::Foreground;
use crate::resources::sandbox_template::instance::revision;
use crate::runner::Reconcile;

/// The shortest time between two writes of a status that creates nothing.
const STATUS_PERIOD: Duration = Duration::from_millis(500);

/// Between something that happens to a member and the pass that it leads to, by how full the pool is:
/// some fifty times what the pass takes where nothing is ready, ten times that where all is.
const BREATH_OF_MEMBER: Duration = Duration::from_micros(100);
const BREATH_OF_READY_MEMBER: Duration = Duration::from_micros(900);
const BREATH_MIN: Duration = Duration::from_millis(5);
const BREATH_MAX: Duration = Duration::from_secs(1);

/// Claims are counted for a minute.
const COUNTED_SECONDS: i64 = 60;

/// How long after a claim more are expected. The moment of a claim is known to the second.
const BUSY_SECONDS: i64 = 2;

/// Keeps pools, one after the other.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) pools: Store,
    pub(super) sandboxes: Store,
    pub(super) templates: Lookup<SandboxTemplate>,
    pub(super) stock: Stock,
    /// Is told how much is left for the next claims.
    pub(super) foreground: Foreground,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) permit: Permit,
    pub(super) policy: Policy,
    pub(super) events: Events,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
    /// What all pools may make.
    pub(super) tokens: Mutex<Bucket>,
    /// When a claim was last bound from any pool.
    pub(super) last_claim: Mutex<Option<Timestamp>>,
    pub(super) claims: Claims,
    /// Deleted pools that take with them who waits for them.
    pub(super) ended: Mutex<HashSet<ObjectKey>>,
}

/// What is remembered of a pool between passes; lost with the process.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    pub(super) setbacks: Setbacks,
    /// Members on their way to ready, after the last pass.
    starting: usize,
    /// It would have had more of them.
    short: bool,
    /// Members at the last pass.
    members: usize,
    /// The pool's revision as far as it is known from here; `None` = ask the store.
    known: Option<String>,
    /// When a status was last written for its own sake.
    written: Option<Timestamp>,
    /// Claims of the last minute by uid.
    claimed: HashMap<String, Timestamp>,
    /// `None` = it has not been looked at, or there is no such pool.
    pub(super) figures: Option<Figures>,
}

#[async_trait]
impl Reconcile for Keeper {
    fn kind(&self) -> &'static str {
        "warm-pools"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ApiError> {
        // From the cache, but not from before our own last write. Whatever is written by it is guarded
        // by its revision.
        let known = self.memory().get(key).and_then(|memory| memory.known.clone());
        let least = GetOptions { resource_version: known.unwrap_or_default() };
        let object = match self.pools.get(&self.permit, key, &least).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                self.memory().remove(key);
                self.foreground.forget_stock(key);
                let strict = self.ended.lock().expect("no holder of this lock panics").remove(key);
                if strict {
                    self.claims.end_waiting(key).await?;
                }
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let pool: SandboxWarmPool = object.to_typed().map_err(ApiError::internal)?;
        if pool.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let members = self.members(key, &pool, &object).await?;
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let name = &pool.spec.sandbox_template_ref.name;
        let template = self.templates.get(&ObjectKey::namespaced(namespace, name.as_str())).await?;
        let revision = template.as_ref().map(|template| revision(&template.spec));
        let now = self.clock.now();
        let plan = self.plan(key, &pool, revision.as_deref(), &members, now);
        let all_gone = self.remove(key, &pool, &members, &plan.delete, now).await?;
        // The plan replaces what it deletes; what is still there takes up room.
        if !all_gone && plan.create > 0 {
            return Ok(Some(self.policy.pause));
        }
        let done = match template {
            Some(template) if plan.create > 0 => {
                self.refill(key, &object, (&pool, &template), plan, now).await
            }
            _ => self.write_status(key, &pool, plan, now).await,
        };
        if done.is_err() {
            self.know(key, None);
        }
        done
    }
}

impl Keeper {
    /// The pool as it was just stored; `None` = what is stored may be newer than what the cache has.
    fn know(&self, key: &ObjectKey, stored: Option<&Object>) {
        let revision = stored.and_then(Object::resource_version).map(str::to_owned);
        self.memory().entry(key.clone()).or_default().known = revision;
    }

    fn plan(
        &self,
        key: &ObjectKey,
        pool: &SandboxWarmPool,
        revision: Option<&str>,
        members: &[Arc<Member>],
        now: Timestamp,
    ) -> Plan {
        let tokens = self.tokens().available(now);
        let busy = self.is_busy(now);
        let mut memories = self.memory();
        let mut others = Others::default();
        for (_, memory) in memories.iter().filter(|(other, _)| *other != key) {
            others.starting += memory.starting;
            others.short += usize::from(memory.short);
        }
        let memory = memories.entry(key.clone()).or_default();
        memory.claimed.retain(|_, at| now.duration_since(*at).as_secs() < COUNTED_SECONDS);
        let ready = members.iter().filter(|member| member.is_available()).count();
        memory.setbacks.seen(ready, revision);
        let observed = Observed {
            pool,
            revision,
            members,
            claimed_per_minute: i32::try_from(memory.claimed.len()).unwrap_or(i32::MAX),
            setbacks: &memory.setbacks,
            tokens,
            others,
            busy,
        };
        let plan = plan(&observed, now, &self.policy);
        (memory.starting, memory.short) = (plan.starting, plan.short);
        memory.members = members.len();
        memory.known.clone_from(&pool.metadata.resource_version);
        let figures = memory.figures.get_or_insert_default();
        (figures.ready, figures.desired) = (plan.status.ready_replicas, pool.spec.replicas());
        self.foreground.set_stock(key, figures.ready, figures.desired);
        plan
    }

    /// Whether all of them are gone.
    async fn remove(
        &self,
        key: &ObjectKey,
        pool: &SandboxWarmPool,
        members: &[Arc<Member>],
        places: &[(usize, Why)],
        now: Timestamp,
    ) -> Result<bool, ApiError> {
        self.remember_losses(key, members, places, now);
        let mut all_gone = true;
        let mut removed: Vec<(&Member, Why)> = Vec::new();
        let mut outcome = Ok(());
        for (place, why) in places {
            let member = &members[*place];
            match self.delete(member).await {
                Ok(deletion) => {
                    all_gone &= deletion.gone;
                    removed.extend(deletion.ours.then_some((&**member, *why)));
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if !removed.is_empty() {
            self.events.tell(story::deleted(pool, &removed));
            let mut memory = self.memory();
            let memory = memory.entry(key.clone()).or_default();
            let figures = memory.figures.get_or_insert_default();
            removed.iter().for_each(|(_, why)| figures.deleted[*why as usize] += 1);
        }
        outcome.map(|()| all_gone)
    }

    /// Whichever replica deletes them: each of them may make the next ones.
    fn remember_losses(
        &self,
        key: &ObjectKey,
        members: &[Arc<Member>],
        places: &[(usize, Why)],
        now: Timestamp,
    ) {
        let lost = places.iter().filter(|(_, why)| why.is_setback());
        let lost: Vec<&Member> = lost.map(|(place, _)| &*members[*place]).collect();
        let gives_up = places.iter().any(|(_, why)| *why == Why::Stuck);
        let mut memory = self.memory();
        let setbacks = &mut memory.entry(key.clone()).or_default().setbacks;
        if gives_up {
            setbacks.gave_up(now);
        }
        if let Some(member) = lost.first() {
            let cause = format!("Sandbox {:?}: {}", member.key.name, member.message);
            let uids = lost.iter().map(|member| member.uid.clone()).collect();
            setbacks.lost(uids, cause, now, self.policy.readiness_grace);
        }
    }

    /// Makes what the plan says, if nobody has taken the tokens for it meanwhile.
    async fn refill(
        &self,
        key: &ObjectKey,
        object: &Object,
        (pool, template): (&SandboxWarmPool, &SandboxTemplate),
        plan: Plan,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        if !self.tokens().take(plan.create, now) {
            return Ok(Some(self.policy.pause));
        }
        let made = self.create(object, pool, template, &plan).await;
        match made {
            Ok(Some(stored)) => {
                self.know(key, Some(&stored));
                self.events.tell(story::created(pool, plan.create));
                self.tell_progress(pool, object.at("status"), &plan.status);
                let mut memory = self.memory();
                let memory = memory.entry(key.clone()).or_default();
                memory.setbacks.created(self.policy.batch_max);
                let made = u64::try_from(plan.create).unwrap_or_default();
                memory.figures.get_or_insert_default().created += made;
                Ok(plan.requeue_after)
            }
            // Somebody else was faster: look again.
            Ok(None) => {
                self.know(key, None);
                self.tokens().put_back(plan.create);
                Ok(Some(Duration::ZERO))
            }
            Err(error) => {
                self.memory().entry(key.clone()).or_default().setbacks.failed();
                Err(error)
            }
        }
    }

    async fn write_status(
        &self,
        key: &ObjectKey,
        pool: &SandboxWarmPool,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        if pool.status.as_ref() == Some(&plan.status) {
            return Ok(plan.requeue_after);
        }
        let last = self.memory().get(key).and_then(|memory| memory.written);
        let since = last.and_then(|last| Duration::try_from(now.duration_since(last)).ok());
        // A pool in use changes all the time; nobody reads that often.
        if let Some(wait) = since.and_then(|since| STATUS_PERIOD.checked_sub(since)) {
            let next = [Some(wait), plan.requeue_after].into_iter().flatten().min();
            return Ok(next);
        }
        let value = status_value(&plan.status)?;
        let resource = self.pools.def().group_resource();
        let uid = pool.metadata.uid.as_deref();
        let generation = pool.metadata.generation;
        let mut before = None;
        let change = |object: &mut Object| {
            if Some(object.uid()) != uid || Some(object.generation()) != generation {
                return Err(ApiError::modified(&resource, &key.name));
            }
            before = object.0.insert("status".into(), value.clone());
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let stored =
            self.pools.mutate(&self.permit, key, Part::Status, &options, &warnings, change).await?;
        self.know(key, Some(&stored));
        self.tell_progress(pool, before.as_ref(), &plan.status);
        self.memory().entry(key.clone()).or_default().written = Some(now);
        Ok(plan.requeue_after)
    }

    /// Whoever writes that a pool makes no progress tells it.
    fn tell_progress(
        &self,
        pool: &SandboxWarmPool,
        before: Option<&Value>,
        status: &SandboxWarmPoolStatus,
    ) {
        if let Some(event) = story::not_progressing(pool, before, status) {
            self.events.tell(event);
        }
    }

    /// The pool is gone, and who waits for it is to go too.
    pub(super) fn is_gone(&self, pool: &ObjectKey) {
        self.ended.lock().expect("no holder of this lock panics").insert(pool.clone());
    }

    /// A claim of the pool was bound at a moment; may be told repeatedly. Whether it is the first
    /// that is known of the pool.
    pub(super) fn claimed(&self, pool: &ObjectKey, claim_uid: &str, at: Timestamp) -> bool {
        if self.clock.now().duration_since(at).as_secs() >= COUNTED_SECONDS {
            return false;
        }
        let mut last = self.last_claim.lock().expect("no holder of this lock panics");
        *last = Some(at);
        drop(last);
        let mut memories = self.memory();
        let new = !memories.contains_key(pool);
        memories.entry(pool.clone()).or_default().claimed.insert(claim_uid.to_owned(), at);
        new
    }

    /// How long to collect what happens to members before a pass: it looks at all of them, so that
    /// without it every claim from a large pool would cost as much as the pool is large.
    pub(super) fn breath(&self, pool: &ObjectKey) -> Duration {
        let memories = self.memory();
        let Some(memory) = memories.get(pool) else { return BREATH_MIN };
        breath(memory.members, memory.figures.as_ref().map_or(0, |figures| figures.ready))
    }

    fn is_busy(&self, now: Timestamp) -> bool {
        let last = *self.last_claim.lock().expect("no holder of this lock panics");
        last.is_some_and(|at| now.duration_since(at).as_secs().abs() < BUSY_SECONDS)
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        self.memory.lock().expect("no holder of this lock panics")
    }

    fn tokens(&self) -> MutexGuard<'_, Bucket> {
        self.tokens.lock().expect("no holder of this lock panics")
    }
}

fn breath(members: usize, ready: i32) -> Duration {
    let members = u32::try_from(members).unwrap_or(u32::MAX);
    let of_ready = BREATH_OF_READY_MEMBER.saturating_mul(u32::try_from(ready).unwrap_or(0));
    BREATH_OF_MEMBER.saturating_mul(members).saturating_add(of_ready).clamp(BREATH_MIN, BREATH_MAX)
}

pub(super) fn status_value(status: &SandboxWarmPoolStatus) -> Result<Value, ApiError> {
    serde_json::to_value(status).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_takes_its_time() {
        let table = [
            (0, 0, 5),
            (10, 0, 5),
            (10, 10, 10),
            (250, 0, 25),
            (250, 250, 250),
            (1000, 1000, 1000),
            (5000, 5000, 1000),
            (usize::MAX, i32::MAX, 1000),
            (10, -1, 5),
        ];
        for (members, ready, milliseconds) in table {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(breath(members, ready), expected, "{members} members, {ready} ready");
        }
    }
}
