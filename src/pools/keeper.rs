//! Keeps the stock of warm pools.
//!
//! Creations are decided and recorded in one transaction: it makes the members and writes the
//! pool's status, guarded by the pool's revision. A decision is made on a list of the members that
//! is no older than that revision, so it knows of every creation before it; and if somebody else
//! created since, the revision has moved and the transaction fails. So there are never more than
//! were asked for, however many servers keep the pool and however late their memory is.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{Commit, DeleteOutcome, Item, Part, Store, Transaction};
use apiserver::request::{
    DeleteOptions, GetOptions, ListOptions, Preconditions, ResourceVersionMatch, WriteOptions,
};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use apiserver::storage::Kv;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use sandbox_api::{API_VERSION, SandboxTemplate, SandboxWarmPool, SandboxWarmPoolStatus, keys};
use serde_json::{Map, Value, json};

use super::plan::{Observed, Plan, Policy, plan};
use crate::claims::stock::{Member, Stock};
use crate::claims::{Claims, Lookup};
use crate::hash::name_hash;
use crate::resources::sandbox_template::instance::{instance, revision};
use crate::runner::Reconcile;

/// The shortest time between two writes of a status that creates nothing.
const STATUS_PERIOD: Duration = Duration::from_millis(500);

/// Claims are counted for a minute.
const COUNTED_SECONDS: i64 = 60;

/// Keeps pools, one after the other.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) pools: Store,
    pub(super) sandboxes: Store,
    pub(super) templates: Lookup<SandboxTemplate>,
    pub(super) stock: Stock,
    pub(super) kv: Arc<dyn Kv>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) permit: Permit,
    pub(super) policy: Policy,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
    pub(super) claims: Claims,
    /// Deleted pools that take with them who waits for them.
    pub(super) ended: Mutex<HashSet<ObjectKey>>,
}

/// What is remembered of a pool between passes; lost with the process.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    failures: u32,
    /// When a status was last written for its own sake.
    written: Option<jiff::Timestamp>,
    /// Claims of the last minute by uid.
    claimed: HashMap<String, jiff::Timestamp>,
}

#[async_trait]
impl Reconcile for Keeper {
    fn kind(&self) -> &'static str {
        "warm-pools"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ApiError> {
        let object = match self.pools.get(&self.permit, key, &GetOptions::default()).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                self.memory().remove(key);
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
        let (failures, claimed_per_minute) = self.remembered(key, now);
        let observed = Observed {
            pool: &pool,
            revision: revision.as_deref(),
            members: &members,
            claimed_per_minute,
            failures,
        };
        let plan = plan(&observed, now, &self.policy);
        let mut all_gone = true;
        for place in &plan.delete {
            all_gone &= self.delete(&members[*place]).await?;
        }
        // The plan replaces what it deletes; what is still there takes up room.
        if !all_gone && plan.create > 0 {
            return Ok(Some(self.policy.pause));
        }
        match template {
            Some(template) if plan.create > 0 => {
                let made = self.create(&object, &pool, &template, &plan).await;
                let mut memory = self.memory();
                let memory = memory.entry(key.clone()).or_default();
                match made {
                    Ok(true) => memory.failures = 0,
                    // Somebody else was faster: look again.
                    Ok(false) => return Ok(Some(Duration::ZERO)),
                    Err(error) => {
                        memory.failures = memory.failures.saturating_add(1);
                        return Err(error);
                    }
                }
                Ok(plan.requeue_after)
            }
            _ => self.write_status(key, &pool, plan, now).await,
        }
    }
}

impl Keeper {
    /// The members, from a list that knows of everything that happened before the pool was last
    /// written.
    async fn members(
        &self,
        key: &ObjectKey,
        pool: &SandboxWarmPool,
        object: &Object,
    ) -> Result<Vec<Arc<Member>>, ApiError> {
        let label = format!("{}={}", keys::WARM_POOL_SANDBOX, name_hash(&key.name));
        let options = ListOptions {
            label_selector: LabelSelector::parse(&label)?,
            resource_version: object.resource_version().unwrap_or_default().to_owned(),
            resource_version_match: Some(ResourceVersionMatch::NotOlderThan),
            ..ListOptions::default()
        };
        let scope = Scope::Namespace(key.namespace.clone().unwrap_or_default());
        let list = self.sandboxes.list(&self.permit, &scope, &options).await?;
        let uid = pool.metadata.uid.as_deref().unwrap_or_default();
        let mut members = Vec::with_capacity(list.items.len());
        for item in &list.items {
            let member = self.member(item)?;
            members.extend(member.filter(|member| member.pool_uid == uid));
        }
        Ok(members)
    }

    /// Decoded already, if the stock knows the same revision.
    fn member(&self, item: &Arc<Item>) -> Result<Option<Arc<Member>>, ApiError> {
        let known = self.stock.member(&item.key());
        if let Some(known) = known.filter(|known| known.item.revision() == item.revision()) {
            return Ok(Some(known));
        }
        Ok(Member::read(item)?.map(Arc::new))
    }

    /// A member as it was seen: one that was claimed since stays. Whether it is gone.
    async fn delete(&self, member: &Member) -> Result<bool, ApiError> {
        let options = DeleteOptions {
            preconditions: Preconditions {
                uid: Some(member.uid.clone()),
                resource_version: Some(member.item.revision().to_string()),
            },
            ..DeleteOptions::default()
        };
        match self.sandboxes.delete(&self.permit, &member.key, &options).await {
            // It waits for its finalizers.
            Ok(DeleteOutcome::Pending(_)) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes members and records it. False if the pool has changed meanwhile.
    async fn create(
        &self,
        object: &Object,
        pool: &SandboxWarmPool,
        template: &SandboxTemplate,
        plan: &Plan,
    ) -> Result<bool, ApiError> {
        let mut transaction = Transaction::new();
        let mut new = object.clone();
        new.0.insert("status".into(), status_value(&plan.status)?);
        transaction.replace(&self.permit, &self.pools, Part::Status, (object, new))?;
        let member = member_object(pool, template);
        let scope = Scope::Namespace(object.namespace().unwrap_or_default().to_owned());
        for _ in 0..plan.create {
            let warnings = Warnings::new();
            let new =
                self.sandboxes.prepare(&self.permit, &scope, member.clone(), &warnings).await?;
            transaction.create(&self.permit, &self.sandboxes, new)?;
        }
        Ok(matches!(transaction.commit(&*self.kv).await?, Commit::Done(_)))
    }

    async fn write_status(
        &self,
        key: &ObjectKey,
        pool: &SandboxWarmPool,
        plan: Plan,
        now: jiff::Timestamp,
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
        let change = |object: &mut Object| {
            if Some(object.uid()) != uid || Some(object.generation()) != generation {
                return Err(ApiError::modified(&resource, &key.name));
            }
            object.0.insert("status".into(), value.clone());
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        self.pools.mutate(&self.permit, key, Part::Status, &options, &warnings, change).await?;
        self.memory().entry(key.clone()).or_default().written = Some(now);
        Ok(plan.requeue_after)
    }

    /// The pool is gone, and who waits for it is to go too.
    pub(super) fn is_gone(&self, pool: &ObjectKey) {
        self.ended.lock().expect("no holder of this lock panics").insert(pool.clone());
    }

    /// A claim of the pool was bound at a moment; may be told repeatedly.
    pub(super) fn claimed(&self, pool: &ObjectKey, claim_uid: &str, at: jiff::Timestamp) {
        if self.clock.now().duration_since(at).as_secs() < COUNTED_SECONDS {
            let mut memory = self.memory();
            memory.entry(pool.clone()).or_default().claimed.insert(claim_uid.to_owned(), at);
        }
    }

    fn remembered(&self, key: &ObjectKey, now: jiff::Timestamp) -> (u32, i32) {
        let mut memory = self.memory();
        let Some(memory) = memory.get_mut(key) else { return (0, 0) };
        memory.claimed.retain(|_, at| now.duration_since(*at).as_secs() < COUNTED_SECONDS);
        (memory.failures, i32::try_from(memory.claimed.len()).unwrap_or(i32::MAX))
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        self.memory.lock().expect("no holder of this lock panics")
    }
}

fn status_value(status: &SandboxWarmPoolStatus) -> Result<Value, ApiError> {
    serde_json::to_value(status).map_err(ApiError::internal)
}

/// A member of the pool, with a name of its own to come.
fn member_object(pool: &SandboxWarmPool, template: &SandboxTemplate) -> Object {
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let blueprint = instance(template);
    let mut labels: Map<String, Value> =
        blueprint.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
    labels.insert(keys::WARM_POOL_SANDBOX.into(), name_hash(name).into());
    let mut metadata = json!({
        "generateName": format!("{name}-"),
        "labels": labels,
        "annotations": blueprint.annotations,
    });
    metadata["ownerReferences"] = json!([{
        "apiVersion": API_VERSION,
        "kind": "SandboxWarmPool",
        "name": name,
        "uid": pool.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let object = json!({ "metadata": metadata, "spec": blueprint.spec });
    Object::from_value(object).unwrap_or_default()
}
