//! Keeps a template: looks at its policy, corrects it, writes the status.
//!
//! The policy is looked at only when there is a reason: the template or the policy has changed, the
//! last try has failed, or it was long ago. Who uses the template changes all the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::{Clock, random_fraction};
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Part, Store};
use apiserver::request::{GetOptions, WriteOptions};
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use jiff::Timestamp;
use sandbox_api::{NetworkPolicyManagement, SandboxTemplate};
use tracing::{debug, warn};

use super::Config;
use super::policy::{Step, plan, policy_name};
use super::status::{Verdict, only_users_differ, status};
use super::users::Users;
use crate::cluster::policies::{NetworkPolicies, PolicyError};
use crate::runner::Reconcile;

/// Failures before it is warned of.
const FAILURES_WORTH_A_WARNING: u32 = 3;

/// Keeps templates, one after the other.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) templates: Store,
    pub(super) policies: Arc<dyn NetworkPolicies>,
    pub(super) users: Users,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) permit: Permit,
    pub(super) config: Config,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
}

/// What is remembered of a template between passes; lost with the process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// How often there was news of the policy.
    news: u64,
    looked: Option<Looked>,
    failures: u32,
    corrected: Option<Corrected>,
    /// When the status was last written.
    written: Option<Timestamp>,
}

/// What came of the last look at the policy, and for whom it holds.
#[derive(Debug, Clone)]
struct Looked {
    uid: Option<String>,
    generation: Option<i64>,
    news: u64,
    verdict: Verdict,
    until: Timestamp,
}

/// The last correction of a policy that was not the template's own change.
#[derive(Debug, Clone, Copy)]
struct Corrected {
    generation: Option<i64>,
    at: Timestamp,
    /// Corrections before it, each soon after the other.
    times: u32,
}

#[async_trait]
impl Reconcile for Keeper {
    fn kind(&self) -> &'static str {
        "templates"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, ApiError> {
        let object = match self.templates.get(&self.permit, key, &GetOptions::default()).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                self.memory().remove(key);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let template: SandboxTemplate = object.to_typed().map_err(ApiError::internal)?;
        if template.metadata.deletion_timestamp.is_some() {
            // The policy protects who still runs; the garbage collector takes it with the template.
            return Ok(None);
        }
        let now = self.clock.now();
        let (verdict, look_after) = self.verdict(key, &template, now).await;
        let write_after = self.write_status(key, &template, &verdict, now).await?;
        Ok([Some(look_after), write_after].into_iter().flatten().min())
    }
}

impl Keeper {
    /// There is news of the policy of a template.
    pub(super) fn policy_changed(&self, template: &ObjectKey) {
        self.memory().entry(template.clone()).or_default().news += 1;
    }

    /// From memory, or from a look; and when to look again.
    async fn verdict(
        &self,
        key: &ObjectKey,
        template: &SandboxTemplate,
        now: Timestamp,
    ) -> (Verdict, Duration) {
        let (uid, generation) = (template.metadata.uid.clone(), template.metadata.generation);
        let news = {
            let mut memory = self.memory();
            let memory = memory.entry(key.clone()).or_default();
            let valid = |looked: &&Looked| {
                looked.uid == uid && looked.generation == generation && looked.news == memory.news
            };
            if let Some(looked) = memory.looked.as_ref().filter(valid)
                && let Some(rest) = remaining(looked.until, now)
            {
                return (looked.verdict.clone(), rest);
            }
            memory.news
        };
        let result = self.look(key, template, now).await;
        let mut memory = self.memory();
        let memory = memory.entry(key.clone()).or_default();
        let (verdict, wait) = match result {
            Ok(looked) => {
                memory.failures = 0;
                looked
            }
            Err(error) => {
                memory.failures = memory.failures.saturating_add(1);
                let wait =
                    self.config.pause(memory.failures).mul_f64(1.0 - random_fraction() / 2.0);
                if memory.failures < FAILURES_WORTH_A_WARNING {
                    debug!(%key, %error, ?wait, "keeping a NetworkPolicy failed");
                } else {
                    warn!(%key, %error, ?wait, "keeping a NetworkPolicy failed");
                }
                (Verdict::failed(error.to_string()), wait)
            }
        };
        let until = now.saturating_add(wait).unwrap_or(now);
        memory.looked = Some(Looked { uid, generation, news, verdict: verdict.clone(), until });
        (verdict, wait)
    }

    /// Looks at the policy and does what is to be done; twice, if it changes meanwhile.
    async fn look(
        &self,
        key: &ObjectKey,
        template: &SandboxTemplate,
        now: Timestamp,
    ) -> Result<(Verdict, Duration), PolicyError> {
        let policy = ObjectKey { namespace: key.namespace.clone(), name: policy_name(&key.name) };
        for last in [false, true] {
            let found = self.policies.get(&policy).await?;
            let step = plan(template, found.as_ref());
            match self.take(key, &policy, template, step, now).await {
                Err(PolicyError::Changed(_)) if !last => {}
                result => return result,
            }
        }
        Err(PolicyError::Changed(policy))
    }

    async fn take(
        &self,
        key: &ObjectKey,
        policy: &ObjectKey,
        template: &SandboxTemplate,
        step: Step,
        now: Timestamp,
    ) -> Result<(Verdict, Duration), PolicyError> {
        let wait = match step {
            Step::Nothing => self.config.look_after,
            Step::Create(new) => {
                self.policies.create(*new).await?;
                self.config.look_after
            }
            Step::Replace(new) => {
                let generation = template.metadata.generation;
                if let Err(rest) = self.may_correct(key, generation, now) {
                    return Ok((Verdict::contested(&policy.name), rest));
                }
                self.policies.replace(*new).await?;
                self.corrected(key, generation, now);
                self.config.look_after
            }
            Step::Delete { uid } => {
                self.policies.delete(policy, &uid).await?;
                self.config.look_after
            }
            Step::Wait => {
                let message = format!("NetworkPolicy {:?} is being deleted", policy.name);
                return Ok((Verdict::failed(message), self.config.look_after_foreign));
            }
            Step::Foreign { message } => {
                return Ok((Verdict::taken(message), self.config.look_after_foreign));
            }
        };
        let message = match template.spec.network_policy_management() {
            NetworkPolicyManagement::Managed => format!("NetworkPolicy {:?} is kept", policy.name),
            NetworkPolicyManagement::Unmanaged => "NetworkPolicies are left to others".into(),
        };
        Ok((Verdict::accepted(message), wait))
    }

    /// A change of the template is brought at once; who fights over a policy gets ever more time.
    fn may_correct(
        &self,
        key: &ObjectKey,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let memory = self.memory();
        let last = memory.get(key).and_then(|memory| memory.corrected);
        let Some(last) = last.filter(|last| last.generation == generation) else { return Ok(()) };
        let until = last.at.saturating_add(self.config.pause_of_corrections(last.times));
        until.ok().and_then(|until| remaining(until, now)).map_or(Ok(()), Err)
    }

    fn corrected(&self, key: &ObjectKey, generation: Option<i64>, now: Timestamp) {
        let mut memory = self.memory();
        let memory = memory.entry(key.clone()).or_default();
        let times = match memory.corrected {
            Some(last) if last.generation == generation => {
                let calm = self.config.pause_of_corrections(last.times) * 2;
                let over = last.at.saturating_add(calm).is_ok_and(|over| over <= now);
                if over { 0 } else { last.times.saturating_add(1) }
            }
            _ => 0,
        };
        memory.corrected = Some(Corrected { generation, at: now, times });
    }

    /// Only if it changes, and not too often for the sake of the users alone; when to try again.
    async fn write_status(
        &self,
        key: &ObjectKey,
        template: &SandboxTemplate,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApiError> {
        let before = template.status.as_ref();
        let status = status(template, self.users.of(key), verdict, now);
        if before == Some(&status) {
            return Ok(None);
        }
        if only_users_differ(before, &status) {
            let last = self.memory().get(key).and_then(|memory| memory.written);
            let next = last.and_then(|last| last.saturating_add(self.config.users_period).ok());
            if let Some(wait) = next.and_then(|next| remaining(next, now)) {
                return Ok(Some(wait));
            }
        }
        let value = serde_json::to_value(&status).map_err(ApiError::internal)?;
        let resource = self.templates.def().group_resource();
        let (uid, generation) = (template.metadata.uid.as_deref(), template.metadata.generation);
        let change = |object: &mut Object| {
            if Some(object.uid()) != uid || Some(object.generation()) != generation {
                return Err(ApiError::modified(&resource, &key.name));
            }
            object.0.insert("status".into(), value.clone());
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        self.templates.mutate(&self.permit, key, Part::Status, &options, &warnings, change).await?;
        self.memory().entry(key.clone()).or_default().written = Some(now);
        Ok(None)
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        self.memory.lock().expect("no holder of this lock panics")
    }
}

/// The time from `now` to `until`, if that lies ahead.
fn remaining(until: Timestamp, now: Timestamp) -> Option<Duration> {
    let rest = Duration::try_from(until.duration_since(now)).ok()?;
    (!rest.is_zero()).then_some(rest)
}
