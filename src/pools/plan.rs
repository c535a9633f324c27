//! What to do for a warm pool: from what is asked and what is there to steps and a status. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sandbox_api::{SandboxWarmPool, SandboxWarmPoolStatus, UpdateStrategyType, condition, keys};

use crate::claims::stock::Member;
use crate::conditions;
use crate::hash::name_hash;
use crate::resources::sandbox_warm_pool::pace::Pace;

/// The operator's choices.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Members of one pool that may be on their way to ready at a time.
    pub in_flight_max: usize,
    /// Members that are created in one transaction.
    pub batch_max: usize,
    /// How long a member may take to become ready before it is replaced.
    pub readiness_grace: Duration,
    /// Between two batches.
    pub pause: Duration,
    /// When to look again at what only somebody else can resolve.
    pub recheck: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            in_flight_max: 100,
            batch_max: 50,
            readiness_grace: Duration::from_secs(300),
            pause: Duration::from_millis(100),
            recheck: Duration::from_secs(60),
        }
    }
}

/// What is known of a pool.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    pub pool: &'a SandboxWarmPool,
    /// The template's revision; `None` = there is no such template.
    pub revision: Option<&'a str>,
    /// Every member, the terminating ones included.
    pub members: &'a [Arc<Member>],
    /// Claims that took from the pool in the last minute.
    pub claimed_per_minute: i32,
    /// Failed creations in a row.
    pub failures: u32,
}

/// What to do, in this order.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Places among the members.
    pub delete: Vec<usize>,
    /// How many to make now.
    pub create: usize,
    pub status: SandboxWarmPoolStatus,
    pub requeue_after: Option<Duration>,
}

/// Members by what they are good for.
struct Counts {
    total: usize,
    ready: usize,
    fresh: usize,
    fresh_ready: usize,
    in_flight: usize,
}

impl Counts {
    fn of(members: &[Arc<Member>], gone: &[usize], revision: &str) -> Self {
        let mut counts = Self { total: 0, ready: 0, fresh: 0, fresh_ready: 0, in_flight: 0 };
        let there = members.iter().enumerate().filter(|(place, _)| !gone.contains(place));
        for (_, member) in there {
            counts.total += 1;
            let ready = member.is_available();
            counts.ready += usize::from(ready);
            if member.template == revision && !member.deleting {
                counts.fresh += 1;
                counts.fresh_ready += usize::from(ready);
            }
            counts.in_flight += usize::from(!ready);
        }
        counts
    }
}

/// Plans for one pool.
pub(super) fn plan(observed: &Observed<'_>, now: Timestamp, policy: &Policy) -> Plan {
    let pool = observed.pool;
    let replicas = usize::try_from(pool.spec.replicas()).unwrap_or_default();
    // Without a template nothing is stale, and nothing can be made.
    let revision = observed.revision.unwrap_or_default();
    let mut delete = broken(observed.members, now, policy);
    let mut limit = replicas;
    if observed.revision.is_some() {
        limit += outdated(observed, revision, replicas, &mut delete);
    }
    surplus(observed.members, revision, replicas, limit, &mut delete);
    let counts = Counts::of(observed.members, &delete, revision);
    let wanted = match pool.spec.update_strategy() {
        UpdateStrategyType::OnReplenish => replicas.saturating_sub(counts.total),
        // Stale ones are on their way out: the fresh are to be as many as asked for.
        UpdateStrategyType::Recreate | UpdateStrategyType::RollingUpdate => {
            replicas.saturating_sub(counts.fresh).min(limit.saturating_sub(counts.total))
        }
    };
    let create = match observed.revision {
        None => 0,
        Some(_) => paced(wanted, &counts, observed.failures, policy),
    };
    let status = status(observed, &counts, create, now);
    let next = [
        (create < wanted).then_some(policy.pause),
        (counts.in_flight > 0).then_some(policy.recheck),
        // Then fewer were claimed in the last minute.
        (observed.claimed_per_minute > 0).then_some(policy.recheck / 4),
    ];
    let requeue_after = next.into_iter().flatten().min();
    Plan { delete, create, status, requeue_after }
}

/// Members that will never be ready: ended, suspended by somebody, or too long on their way. Who
/// has nowhere to go is kept: another would have nowhere to go either.
fn broken(members: &[Arc<Member>], now: Timestamp, policy: &Policy) -> Vec<usize> {
    let late = |member: &Member| {
        !member.ready
            && !member.unschedulable
            && member.created.is_some_and(|created| {
                Duration::try_from(now.duration_since(created)).unwrap_or_default()
                    > policy.readiness_grace
            })
    };
    members
        .iter()
        .enumerate()
        .filter(|(_, member)| !member.deleting)
        .filter(|(_, member)| member.finished || member.suspended || late(member))
        .map(|(place, _)| place)
        .collect()
}

/// Chooses what goes because the template has changed; returns how many there may be above
/// replicas.
fn outdated(
    observed: &Observed<'_>,
    revision: &str,
    replicas: usize,
    delete: &mut Vec<usize>,
) -> usize {
    let spec = &observed.pool.spec;
    let stale = |members: &[Arc<Member>], gone: &[usize], ready: bool| -> Vec<usize> {
        let all = members.iter().enumerate();
        all.filter(|(place, member)| !gone.contains(place) && !member.deleting)
            .filter(|(_, member)| member.template != revision && member.is_available() == ready)
            .map(|(place, _)| place)
            .collect()
    };
    match spec.update_strategy() {
        UpdateStrategyType::OnReplenish => 0,
        UpdateStrategyType::Recreate => {
            delete.extend(stale(observed.members, delete, false));
            delete.extend(stale(observed.members, delete, true));
            0
        }
        UpdateStrategyType::RollingUpdate => {
            let rolling =
                spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
            let pace = Pace::of(rolling, spec.replicas());
            let surge = usize::try_from(pace.max_surge).unwrap_or_default();
            let unavailable = usize::try_from(pace.max_unavailable).unwrap_or_default();
            // What nobody could claim anyway goes first and costs nothing.
            delete.extend(stale(observed.members, delete, false));
            let ready = Counts::of(observed.members, delete, revision).ready;
            let spare = ready.saturating_sub(replicas.saturating_sub(unavailable));
            delete.extend(stale(observed.members, delete, true).into_iter().take(spare));
            surge
        }
    }
}

/// Chooses what is too much: stale before fresh, unready before ready, young before old.
fn surplus(
    members: &[Arc<Member>],
    revision: &str,
    replicas: usize,
    limit: usize,
    delete: &mut Vec<usize>,
) {
    let mut there: Vec<usize> = (0..members.len())
        .filter(|place| !delete.contains(place) && !members[*place].deleting)
        .collect();
    let fresh = there.iter().filter(|place| members[**place].template == revision).count();
    // During a rolling update the stale ones may be there beside the fresh.
    let too_many = there.len().saturating_sub(limit).max(fresh.saturating_sub(replicas));
    there.sort_by_key(|place| {
        let member = &members[*place];
        let age = member.created.map_or(0, |created| created.as_second());
        (member.template == revision, member.is_available(), -age, *place)
    });
    delete.extend(there.into_iter().take(too_many));
}

/// At most so many on their way at a time; after failures one, then two, then four.
fn paced(wanted: usize, counts: &Counts, failures: u32, policy: &Policy) -> usize {
    let room = policy.in_flight_max.saturating_sub(counts.in_flight);
    let batch = if failures == 0 { policy.batch_max } else { 1 };
    wanted.min(room).min(batch)
}

fn status(
    observed: &Observed<'_>,
    counts: &Counts,
    create: usize,
    now: Timestamp,
) -> SandboxWarmPoolStatus {
    let pool = observed.pool;
    let before = pool.status.clone().unwrap_or_default();
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let generation = pool.metadata.generation;
    let (value, reason, message) = verdict(observed, counts);
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let mut status = SandboxWarmPoolStatus {
        replicas: number(counts.total + create),
        ready_replicas: number(counts.ready),
        updated_replicas: number(counts.fresh + create),
        updated_ready_replicas: number(counts.fresh_ready),
        claimed_per_minute: observed.claimed_per_minute,
        template_revision: observed.revision.map(str::to_owned).or(before.template_revision),
        selector: Some(format!("{}={}", keys::WARM_POOL_SANDBOX, name_hash(name))),
        observed_generation: generation,
        conditions: before.conditions,
    };
    let verdict = (value, reason, message.as_str());
    conditions::set(&mut status.conditions, condition::READY, verdict, generation, now);
    status
}

fn verdict(observed: &Observed<'_>, counts: &Counts) -> (&'static str, &'static str, String) {
    let spec = &observed.pool.spec;
    let replicas = usize::try_from(spec.replicas()).unwrap_or_default();
    if observed.revision.is_none() {
        let text = format!("SandboxTemplate {:?} does not exist", spec.sandbox_template_ref.name);
        return ("False", condition::pool::TEMPLATE_NOT_FOUND, text);
    }
    if counts.ready >= replicas {
        return ("True", condition::pool::STOCK_FULL, format!("{} ready", counts.ready));
    }
    let held = observed.members.iter().find(|member| member.unschedulable && !member.deleting);
    if let Some(held) = held {
        let text = format!("Sandbox {:?}: {}", held.key.name, held.message);
        return ("False", condition::pool::NOT_PROGRESSING, text);
    }
    let text = format!("{} of {replicas} ready", counts.ready);
    ("False", condition::pool::REPLENISHING, text)
}

#[cfg(test)]
mod tests;
