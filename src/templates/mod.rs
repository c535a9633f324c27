//! Templates: their status, and a NetworkPolicy in the cluster for each.
//!
//! ```text
//! watches of templates, pools, claims ─┐
//! watch of NetworkPolicies ────────────┴─ queue ── keeper ─┬─ policy (pure): what is to be done
//!                                                          └─ status (pure)
//! ```
//!
//! A policy is owned by its template, so that the cluster's garbage collector takes it away. One
//! that is not owned by the template is never touched.

mod keeper;
mod policy;
mod status;
mod users;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::ObjectKey;
use apiserver::registry::{Item, Store};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use serde_json::Value;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use self::keeper::Keeper;
use self::policy::policy_name;
use self::users::{UserKind, Users};
use crate::cluster::policies::{NetworkPolicies, PolicyChange};
use crate::follow::{Follower, Source, follow};
use crate::runner::Runner;

/// Templates that are worked on at a time.
const WORKERS: usize = 4;

/// How templates are kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The shortest time between two writes of a status of which only the users have changed.
    pub users_period: Duration,
    /// A policy is looked at again after this time, although nothing was heard of it.
    pub look_after: Duration,
    /// The same of one that is not ours: the watch does not see it.
    pub look_after_foreign: Duration,
    /// The pause after a first failure; it doubles with each.
    pub pause_min: Duration,
    pub pause_max: Duration,
    /// The pause after a first correction of what somebody else has changed; it doubles with each.
    pub correction_min: Duration,
    pub correction_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            users_period: Duration::from_millis(500),
            look_after: Duration::from_secs(600),
            look_after_foreign: Duration::from_secs(10),
            pause_min: Duration::from_millis(100),
            pause_max: Duration::from_secs(60),
            correction_min: Duration::from_secs(1),
            correction_max: Duration::from_secs(10),
        }
    }
}

impl Config {
    fn pause(&self, failures: u32) -> Duration {
        doubled(self.pause_min, failures.saturating_sub(1), self.pause_max)
    }

    fn pause_of_corrections(&self, times: u32) -> Duration {
        doubled(self.correction_min, times, self.correction_max)
    }
}

fn doubled(min: Duration, times: u32, max: Duration) -> Duration {
    min.saturating_mul(2_u32.saturating_pow(times)).min(max)
}

/// What the keeping of templates is made of.
#[derive(Debug)]
pub struct Parts {
    pub templates: Store,
    pub pools: Store,
    pub claims: Store,
    pub policies: Arc<dyn NetworkPolicies>,
    pub clock: Arc<dyn Clock>,
    pub permit: Permit,
    pub config: Config,
}

/// Keeps every template until the tasks stop.
///
/// # Errors
/// None that a caller can cause: the selectors are constants.
pub fn start(parts: Parts, tasks: &Tasks) -> Result<(), ApiError> {
    let permit = parts.permit.clone();
    let source = |store: &Store| -> Result<Source, ApiError> {
        let labels = LabelSelector::parse("")?;
        Ok(Source { store: store.clone(), permit: permit.clone(), labels })
    };
    let templates = source(&parts.templates)?;
    let pools = source(&parts.pools)?;
    let claims = source(&parts.claims)?;
    let clock = Arc::clone(&parts.clock);
    let news = parts.policies.changes();
    let keeper = Arc::new(Keeper {
        templates: parts.templates,
        policies: parts.policies,
        users: Users::default(),
        clock: parts.clock,
        permit: parts.permit,
        config: parts.config,
        memory: Mutex::default(),
    });
    let runner = Runner::new(keeper.clone(), clock);
    runner.start(tasks, WORKERS);
    let known = Arc::new(Known { runner, keeper, by_policy: Mutex::default() });
    let stop = tasks.stopping().clone();
    let follower = known.clone();
    tasks.spawn("template-policies", OnExit::Shutdown, async move {
        follower.follow_policies(news, &stop).await;
    });
    follow(tasks, "templates", templates, Arc::new(TemplateChanges(known.clone())));
    let users = |kind| Arc::new(UserChanges { known: known.clone(), kind });
    follow(tasks, "template-pools", pools, users(UserKind::WarmPool));
    follow(tasks, "template-claims", claims, users(UserKind::Claim));
    Ok(())
}

/// Which templates there are, and whom to tell.
#[derive(Debug)]
struct Known {
    runner: Runner,
    keeper: Arc<Keeper>,
    /// The templates by the keys of their policies.
    by_policy: Mutex<HashMap<ObjectKey, ObjectKey>>,
}

impl Known {
    async fn follow_policies(&self, mut news: Receiver<PolicyChange>, stop: &CancellationToken) {
        loop {
            let change = tokio::select! {
                () = stop.cancelled() => return,
                change = news.recv() => change,
            };
            match change {
                Ok(PolicyChange::One(policy)) => {
                    let template = self.by_policy().get(&policy).cloned();
                    template.into_iter().for_each(|template| self.look_at(template));
                }
                Ok(PolicyChange::All) | Err(RecvError::Lagged(_)) => {
                    self.all().into_iter().for_each(|template| self.look_at(template));
                }
                Err(RecvError::Closed) => return stop.cancelled().await,
            }
        }
    }

    fn look_at(&self, template: ObjectKey) {
        self.keeper.policy_changed(&template);
        self.runner.add(template);
    }

    fn all(&self) -> Vec<ObjectKey> {
        self.by_policy().values().cloned().collect()
    }

    fn by_policy(&self) -> MutexGuard<'_, HashMap<ObjectKey, ObjectKey>> {
        self.by_policy.lock().expect("no holder of this lock panics")
    }
}

fn policy_of(template: &ObjectKey) -> ObjectKey {
    ObjectKey { namespace: template.namespace.clone(), name: policy_name(&template.name) }
}

#[derive(Debug)]
struct TemplateChanges(Arc<Known>);

impl Follower for TemplateChanges {
    fn all(&self, items: &[Arc<Item>]) {
        let new = items.iter().map(|item| (policy_of(&item.key()), item.key())).collect();
        let old = std::mem::replace(&mut *self.0.by_policy(), new);
        // Who is gone is forgotten by a pass that does not find it.
        let keys = old.into_values().chain(items.iter().map(|item| item.key()));
        keys.for_each(|key| self.0.runner.add(key));
    }

    fn changed(&self, item: &Arc<Item>) {
        let key = item.key();
        self.0.by_policy().insert(policy_of(&key), key.clone());
        self.0.runner.add(key);
    }

    fn gone(&self, _item: &Arc<Item>, key: &ObjectKey) {
        self.0.by_policy().remove(&policy_of(key));
        self.0.runner.add(key.clone());
    }
}

#[derive(Debug)]
struct UserChanges {
    known: Arc<Known>,
    kind: UserKind,
}

impl UserChanges {
    fn set(&self, user: ObjectKey, template: Option<String>) {
        let changed = self.known.keeper.users.set(self.kind, user, template);
        changed.into_iter().for_each(|template| self.known.runner.add(template));
    }
}

impl Follower for UserChanges {
    fn all(&self, items: &[Arc<Item>]) {
        let users = items.iter().map(|item| (item.key(), template_of(item)));
        self.known.keeper.users.replace(self.kind, users);
        self.known.all().into_iter().for_each(|template| self.known.runner.add(template));
    }

    fn changed(&self, item: &Arc<Item>) {
        self.set(item.key(), template_of(item));
    }

    fn gone(&self, _item: &Arc<Item>, key: &ObjectKey) {
        self.set(key.clone(), None);
    }
}

/// The template that a pool or a claim names.
fn template_of(item: &Item) -> Option<String> {
    let object = item.object().ok()?;
    object.at("spec.sandboxTemplateRef.name").and_then(Value::as_str).map(str::to_owned)
}
