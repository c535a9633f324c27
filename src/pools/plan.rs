//! What to do for a warm pool: from what is asked and what is there to steps and a status. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sandbox_api::{SandboxWarmPool, SandboxWarmPoolStatus, UpdateStrategyType, condition, keys};

use super::setbacks::Setbacks;
use super::stuck::Stuck;
use crate::bucket::Rate;
use crate::claims::stock::Member;
use crate::conditions;
use crate::hash::name_hash;
use crate::resources::sandbox_warm_pool::pace::Pace;

/// The operator's choices.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Members of one pool that may be on their way to ready at a time.
    pub in_flight_max: usize,
    /// The same over all pools of this process; those that are stuck don't count.
    pub in_flight_total_max: usize,
    /// How fast members may be made, over all pools of this process. Claims know no such bound.
    pub rate: Rate,
    /// Members that are created in one transaction.
    pub batch_max: usize,
    /// The same while claims come in: one that arrives behind such a transaction waits for it.
    pub busy_batch_max: usize,
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
            in_flight_total_max: 400,
            rate: Rate { interval: Duration::from_millis(5), burst: 200 },
            batch_max: 50,
            busy_batch_max: 10,
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
    pub setbacks: &'a Setbacks,
    /// How many the process may make now.
    pub tokens: usize,
    pub others: Others,
    /// Claims have come in just now, for whichever pool.
    pub busy: bool,
}

/// The other pools of this process, as their last passes left them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Others {
    /// Members on their way to ready.
    pub starting: usize,
    /// Pools that would have more of them at once.
    pub short: usize,
}

impl Others {
    /// How many more a pool may have on its way that has so many. What all may have is shared
    /// equally by those that ask for it: who came first gives way as its members become ready.
    fn room(self, starting: usize, total_max: usize) -> usize {
        let share = if self.short == 0 { total_max } else { (total_max / (self.short + 1)).max(1) };
        share
            .saturating_sub(starting)
            .min(total_max.saturating_sub(self.starting.saturating_add(starting)))
    }
}

/// What to do, in this order.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Places among the members.
    pub delete: Vec<(usize, Why)>,
    /// How many to make now.
    pub create: usize,
    /// On their way to ready then, without those that are stuck.
    pub starting: usize,
    /// More could be made at once, were it not for the pace and for other pools.
    pub short: bool,
    pub status: SandboxWarmPoolStatus,
    pub requeue_after: Option<Duration>,
}

/// Why a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its Pod ended.
    Ended,
    /// Somebody suspended it.
    Suspended,
    /// It took too long to become ready.
    Late,
    /// Its node can't start it, and that for too long.
    Stuck,
    /// The template has changed.
    Stale,
    /// There are more than asked for.
    Surplus,
}

impl Why {
    pub(super) const ALL: [Self; 6] =
        [Self::Ended, Self::Suspended, Self::Late, Self::Stuck, Self::Stale, Self::Surplus];

    /// As the metrics name it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Suspended => "suspended",
            Self::Late => "late",
            Self::Stuck => "stuck",
            Self::Stale => "stale",
            Self::Surplus => "surplus",
        }
    }

    /// Whether it says that something is wrong.
    pub(super) fn is_setback(self) -> bool {
        matches!(self, Self::Ended | Self::Late)
    }
}

/// What goes, as far as it is decided.
#[derive(Default)]
struct Removals(Vec<(usize, Why)>);

impl Removals {
    fn contains(&self, place: usize) -> bool {
        self.0.iter().any(|(known, _)| *known == place)
    }

    fn extend(&mut self, places: impl IntoIterator<Item = usize>, why: Why) {
        self.0.extend(places.into_iter().map(|place| (place, why)));
    }
}

/// Members by what they are good for.
struct Counts {
    total: usize,
    ready: usize,
    fresh: usize,
    fresh_ready: usize,
    in_flight: usize,
    starting: usize,
}

impl Counts {
    fn of(members: &[Arc<Member>], gone: &Removals, revision: &str) -> Self {
        let mut counts =
            Self { total: 0, ready: 0, fresh: 0, fresh_ready: 0, in_flight: 0, starting: 0 };
        let there = members.iter().enumerate().filter(|(place, _)| !gone.contains(*place));
        for (_, member) in there {
            counts.total += 1;
            let ready = member.is_available();
            counts.ready += usize::from(ready);
            if member.template == revision && !member.deleting {
                counts.fresh += 1;
                counts.fresh_ready += usize::from(ready);
            }
            counts.in_flight += usize::from(!ready);
            counts.starting += usize::from(!ready && Stuck::of(member) == Stuck::No);
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
    let mut delete = broken(observed, now, policy);
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
    let pause = observed.setbacks.pause(now);
    let create = match observed.revision {
        Some(_) if pause.is_none() => paced(wanted, &counts, observed, policy),
        _ => 0,
    };
    let status = status(observed, &counts, create, now);
    // Where the pool is as far on its way as it may be, its members tell of room.
    let has_room = counts.in_flight + create < policy.in_flight_max;
    let next = [
        (create < wanted && (pause.is_some() || has_room)).then_some(pause.unwrap_or(policy.pause)),
        (counts.in_flight > 0).then_some(policy.recheck),
        // Then fewer were claimed in the last minute.
        (observed.claimed_per_minute > 0).then_some(policy.recheck / 4),
    ];
    let requeue_after = next.into_iter().flatten().min();
    let starting = counts.starting + create;
    let short = create < wanted && has_room && pause.is_none() && observed.revision.is_some();
    Plan { delete: delete.0, create, starting, short, status, requeue_after }
}

/// Members that will not become ready: ended, suspended by somebody, or too long on their way. Who
/// would only be replaced by one that fares no better is kept, except that
///
/// - one in a grace period that can't start on its node gets another chance, perhaps elsewhere;
/// - those that the template's present revision might heal go at once.
fn broken(observed: &Observed<'_>, now: Timestamp, policy: &Policy) -> Removals {
    let grace = policy.readiness_grace;
    let late = |member: &Member| {
        !member.ready
            && member.created.is_some_and(|created| {
                Duration::try_from(now.duration_since(created)).unwrap_or_default() > grace
            })
    };
    let stale =
        |member: &Member| observed.revision.is_some_and(|revision| member.template != revision);
    let why = |member: &Member| {
        if member.deleting {
            return None;
        }
        if member.finished {
            return Some(Why::Ended);
        }
        if member.suspended {
            return Some(Why::Suspended);
        }
        match Stuck::of(member) {
            Stuck::No | Stuck::Failing => late(member).then_some(Why::Late),
            Stuck::Node | Stuck::Cluster => stale(member).then_some(Why::Stale),
        }
    };
    let members = observed.members.iter().enumerate();
    let mut all = Removals(members.filter_map(|(place, it)| Some((place, why(it)?))).collect());
    if observed.setbacks.may_give_up(now, grace) {
        let members = observed.members.iter().enumerate();
        let stuck = members
            .filter(|(place, _)| !all.contains(*place))
            .filter(|(_, member)| late(member) && Stuck::of(member) == Stuck::Node)
            .min_by_key(|(_, member)| member.created);
        all.extend(stuck.map(|(place, _)| place), Why::Stuck);
    }
    all
}

/// Chooses what goes because the template has changed; returns how many there may be above
/// replicas.
fn outdated(
    observed: &Observed<'_>,
    revision: &str,
    replicas: usize,
    delete: &mut Removals,
) -> usize {
    let spec = &observed.pool.spec;
    let stale = |members: &[Arc<Member>], gone: &Removals, ready: bool| -> Vec<usize> {
        let all = members.iter().enumerate();
        all.filter(|(place, member)| !gone.contains(*place) && !member.deleting)
            .filter(|(_, member)| member.template != revision && member.is_available() == ready)
            .map(|(place, _)| place)
            .collect()
    };
    match spec.update_strategy() {
        UpdateStrategyType::OnReplenish => 0,
        UpdateStrategyType::Recreate => {
            delete.extend(stale(observed.members, delete, false), Why::Stale);
            delete.extend(stale(observed.members, delete, true), Why::Stale);
            0
        }
        UpdateStrategyType::RollingUpdate => {
            let rolling =
                spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
            let pace = Pace::of(rolling, spec.replicas());
            let surge = usize::try_from(pace.max_surge).unwrap_or_default();
            let unavailable = usize::try_from(pace.max_unavailable).unwrap_or_default();
            // What nobody could claim anyway goes first and costs nothing.
            delete.extend(stale(observed.members, delete, false), Why::Stale);
            let ready = Counts::of(observed.members, delete, revision).ready;
            let spare = ready.saturating_sub(replicas.saturating_sub(unavailable));
            let stale = stale(observed.members, delete, true);
            delete.extend(stale.into_iter().take(spare), Why::Stale);
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
    delete: &mut Removals,
) {
    let mut there: Vec<usize> = (0..members.len())
        .filter(|place| !delete.contains(*place) && !members[*place].deleting)
        .collect();
    let fresh = there.iter().filter(|place| members[**place].template == revision).count();
    // During a rolling update the stale ones may be there beside the fresh.
    let too_many = there.len().saturating_sub(limit).max(fresh.saturating_sub(replicas));
    there.sort_by_key(|place| {
        let member = &members[*place];
        let age = member.created.map_or(0, |created| created.as_second());
        (member.template == revision, member.is_available(), -age, *place)
    });
    delete.extend(there.into_iter().take(too_many), Why::Surplus);
}

/// As many as there is room for, in the pool and in the process, and as the batch may be large. Few
/// tokens are left to grow to a batch worth its transaction.
fn paced(wanted: usize, counts: &Counts, observed: &Observed<'_>, policy: &Policy) -> usize {
    let room = policy.in_flight_max.saturating_sub(counts.in_flight);
    let batch = if observed.busy { policy.busy_batch_max } else { policy.batch_max };
    let batch = observed.setbacks.batch(batch);
    let shared = observed.others.room(counts.starting, policy.in_flight_total_max);
    let create = wanted.min(room).min(shared).min(batch);
    if observed.tokens < create.min(policy.busy_batch_max) {
        return 0;
    }
    create.min(observed.tokens)
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
    let stuck = observed.members.iter().find(|member| Stuck::of(member) != Stuck::No);
    if let Some(stuck) = stuck {
        let text = format!("Sandbox {:?}: {}", stuck.key.name, stuck.message);
        return ("False", condition::pool::NOT_PROGRESSING, text);
    }
    if let Some(cause) = observed.setbacks.cause() {
        return ("False", condition::pool::NOT_PROGRESSING, cause.to_owned());
    }
    let text = format!("{} of {replicas} ready", counts.ready);
    ("False", condition::pool::REPLENISHING, text)
}

#[cfg(test)]
mod tests;
