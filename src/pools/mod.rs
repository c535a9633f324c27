//! Warm pools: a stock of started Sandboxes, kept at the size and the template that are asked for.
//!
//! [`plan`](mod@plan) decides (pure), [`keeper`] does, at the pace that [`Policy`] gives. Who made a
//! member, a claim takes without asking the pool: see `claims`.

mod keeper;
mod members;
mod metrics;
mod plan;
mod setbacks;
mod story;
mod stuck;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::ObjectKey;
use apiserver::registry::{Item, Store};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use apiserver::storage::Kv;
use apiserver::tasks::Tasks;
use sandbox_api::{ClaimsOnDeletion, SandboxWarmPool, keys};
use serde_json::Value;

use self::keeper::Keeper;
pub use self::metrics::PoolMetrics;
pub use self::plan::Policy;
use crate::bucket::Bucket;
use crate::claims::{Claims, Lookup};
use crate::events::Events;
use crate::follow::{Follower, Source, follow};
use crate::resources::sandbox_warm_pool::pool_of;
use crate::runner::Runner;

/// Pools that are worked on at a time.
const WORKERS: usize = 4;

/// What the keeping of pools is made of.
#[derive(Debug)]
pub struct Parts {
    pub pools: Store,
    pub sandboxes: Store,
    pub templates: Store,
    pub claim_store: Store,
    pub claims: Claims,
    pub kv: Arc<dyn Kv>,
    pub clock: Arc<dyn Clock>,
    pub permit: Permit,
    pub policy: Policy,
    pub events: Events,
}

/// Keeps every pool until the tasks stop; returns its figures.
///
/// # Errors
/// None that a caller can cause: the selectors are constants.
pub fn start(parts: Parts, tasks: &Tasks) -> Result<PoolMetrics, ApiError> {
    let permit = parts.permit.clone();
    let source = |store: &Store, labels: &str| -> Result<Source, ApiError> {
        let labels = LabelSelector::parse(labels)?;
        Ok(Source { store: store.clone(), permit: permit.clone(), labels })
    };
    let pools = source(&parts.pools, "")?;
    let templates = source(&parts.templates, "")?;
    let members = source(&parts.sandboxes, keys::WARM_POOL_SANDBOX)?;
    let claims = source(&parts.claim_store, "")?;
    let clock = Arc::clone(&parts.clock);
    let keeper = Arc::new(Keeper {
        pools: parts.pools,
        sandboxes: parts.sandboxes,
        templates: Lookup::new(parts.templates, parts.permit.clone()),
        stock: parts.claims.stock().clone(),
        foreground: parts.claims.foreground().clone(),
        kv: parts.kv,
        clock: parts.clock,
        permit: parts.permit,
        tokens: Mutex::new(Bucket::new(parts.policy.rate)),
        policy: parts.policy,
        events: parts.events,
        memory: Mutex::default(),
        last_claim: Mutex::default(),
        claims: parts.claims,
        ended: Mutex::default(),
    });
    let metrics = PoolMetrics::new(keeper.clone());
    let runner = Runner::new(keeper.clone(), clock);
    runner.start(tasks, WORKERS);
    let known = Arc::new(Known { runner, keeper, pools: Mutex::default() });
    follow(tasks, "warm-pools", pools, Arc::new(PoolChanges(known.clone())));
    follow(tasks, "pool-templates", templates, Arc::new(TemplateChanges(known.clone())));
    follow(tasks, "pool-members", members, Arc::new(MemberChanges(known.clone())));
    follow(tasks, "pool-claims", claims, Arc::new(ClaimChanges(known)));
    Ok(metrics)
}

/// Which pools there are, and whom to tell.
#[derive(Debug)]
struct Known {
    runner: Runner,
    keeper: Arc<Keeper>,
    pools: Mutex<HashMap<ObjectKey, Pool>>,
}

#[derive(Debug)]
struct Pool {
    template: String,
    /// Whether who waits for it goes with it.
    strict: bool,
}

impl Known {
    fn pools(&self) -> MutexGuard<'_, HashMap<ObjectKey, Pool>> {
        self.pools.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug)]
struct PoolChanges(Arc<Known>);

impl Follower for PoolChanges {
    fn all(&self, items: &[Arc<Item>]) {
        items.iter().for_each(|item| self.changed(item));
    }

    fn changed(&self, item: &Arc<Item>) {
        let typed = item.object().ok().and_then(|object| object.to_typed::<SandboxWarmPool>().ok());
        if let Some(typed) = typed {
            let pool = Pool {
                template: typed.spec.sandbox_template_ref.name.clone(),
                strict: typed.spec.claims_on_deletion() == ClaimsOnDeletion::Delete,
            };
            self.0.pools().insert(item.key(), pool);
        }
        self.0.runner.add(item.key());
    }

    fn gone(&self, _item: &Arc<Item>, key: &ObjectKey) {
        let pool = self.0.pools().remove(key);
        if pool.is_some_and(|pool| pool.strict) {
            self.0.keeper.is_gone(key);
        }
        self.0.runner.add(key.clone());
    }
}

#[derive(Debug)]
struct TemplateChanges(Arc<Known>);

impl TemplateChanges {
    fn tell(&self, key: &ObjectKey) {
        let pools = self.0.pools();
        let users = pools
            .iter()
            .filter(|(pool, facts)| pool.namespace == key.namespace && facts.template == key.name);
        users.for_each(|(pool, _)| self.0.runner.add(pool.clone()));
    }
}

impl Follower for TemplateChanges {
    fn all(&self, items: &[Arc<Item>]) {
        items.iter().for_each(|item| self.tell(&item.key()));
    }

    fn changed(&self, item: &Arc<Item>) {
        self.tell(&item.key());
    }

    fn gone(&self, _item: &Arc<Item>, key: &ObjectKey) {
        self.tell(key);
    }
}

#[derive(Debug)]
struct MemberChanges(Arc<Known>);

impl MemberChanges {
    fn tell(&self, item: &Item) {
        let Ok(object) = item.object() else { return };
        if let Some(pool) = pool_of(&object) {
            let pause = self.0.keeper.breath(&pool);
            self.0.runner.add_after(pool, pause);
        }
    }
}

impl Follower for MemberChanges {
    // The pools are told of by themselves, and look at all members then.
    fn all(&self, items: &[Arc<Item>]) {
        _ = items;
    }

    fn changed(&self, item: &Arc<Item>) {
        self.tell(item);
    }

    fn gone(&self, item: &Arc<Item>, _key: &ObjectKey) {
        self.tell(item);
    }
}

/// Counts what is claimed.
#[derive(Debug)]
struct ClaimChanges(Arc<Known>);

impl Follower for ClaimChanges {
    fn all(&self, items: &[Arc<Item>]) {
        items.iter().for_each(|item| self.changed(item));
    }

    fn changed(&self, item: &Arc<Item>) {
        let Ok(object) = item.object() else { return };
        let text = |path: &str| object.at(path).and_then(Value::as_str);
        if text("status.sandbox.launchType") != Some("Warm") {
            return;
        }
        let bound = text("status.boundTime").and_then(|time| time.parse().ok());
        if let (Some(pool), Some(at)) = (text("spec.warmPoolRef.name"), bound) {
            let pool = ObjectKey { namespace: item.key().namespace, name: pool.to_owned() };
            // Of a pool that is gone nothing is to be remembered: a look finds out.
            if self.0.keeper.claimed(&pool, object.uid(), at) {
                self.0.runner.add(pool);
            }
        }
    }

    fn gone(&self, _item: &Arc<Item>, _key: &ObjectKey) {}
}
