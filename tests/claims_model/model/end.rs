//! What must hold when everything has come to rest, and what it all came to.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::AddAssign;

use super::facts::Controller;
use super::{Check, Model};

/// What clients heard and did.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) answers: Vec<Answer>,
    /// Uids of claims of which somebody asked the deletion, before they asked.
    pub(crate) released: HashSet<String>,
    pub(crate) requests: usize,
    /// Requests of which nobody knows what became.
    pub(crate) unknown: usize,
}

/// A claim as it was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) uid: String,
    pub(crate) sandboxes: Vec<String>,
}

/// What a round came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Totals {
    pub(crate) requests: usize,
    pub(crate) unknown: usize,
    pub(crate) answers: usize,
    pub(crate) claims: usize,
    pub(crate) warm: usize,
    pub(crate) cold: usize,
    pub(crate) gangs: usize,
    pub(crate) releases: usize,
    pub(crate) races: usize,
    pub(crate) refused: usize,
    pub(crate) lost: usize,
    pub(crate) kills: usize,
    pub(crate) store_kills: usize,
    pub(crate) stale_records: usize,
    pub(crate) violations: usize,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        for (own, add) in [
            (&mut self.requests, other.requests),
            (&mut self.unknown, other.unknown),
            (&mut self.answers, other.answers),
            (&mut self.claims, other.claims),
            (&mut self.warm, other.warm),
            (&mut self.cold, other.cold),
            (&mut self.gangs, other.gangs),
            (&mut self.releases, other.releases),
            (&mut self.races, other.races),
            (&mut self.refused, other.refused),
            (&mut self.lost, other.lost),
            (&mut self.kills, other.kills),
            (&mut self.store_kills, other.store_kills),
            (&mut self.stale_records, other.stale_records),
            (&mut self.violations, other.violations),
        ] {
            *own += add;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} answered, {} with an unknown end; {} claims, {} bound warm, {} cold, \
             {} gangs, {} releases, {} lost races; {} transactions refused, {} answers lost, {} \
             replicas and {} stores killed, {} stale records; {} violations",
            self.requests,
            self.answers,
            self.unknown,
            self.claims,
            self.warm,
            self.cold,
            self.gangs,
            self.releases,
            self.races,
            self.refused,
            self.lost,
            self.kills,
            self.store_kills,
            self.stale_records,
            self.violations,
        )
    }
}

impl Model {
    /// What is not as it should be in the end: one line for each.
    pub(crate) fn unsettled(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, pool) in &self.pools {
            let members = self.members.get(&pool.uid);
            let ready = members
                .into_iter()
                .flatten()
                .filter(|member| self.sandboxes.get(*member).is_some_and(|sandbox| sandbox.ready));
            let (count, ready) = (members.map_or(0, BTreeSet::len), ready.count());
            if [count, ready, pool.ready_replicas] != [pool.replicas; 3] {
                found.push(format!("pool {name}: {count} members, {ready} ready: {pool:?}"));
            }
        }
        for (name, claim) in &self.claims {
            let pool = claim.pool.as_ref().is_some_and(|pool| self.pools.contains_key(pool));
            // It waits for any pool of the template.
            let template = claim.template.as_ref().is_some_and(|template| {
                self.templates.contains(template)
                    && self.pools.values().any(|pool| pool.template == *template)
            });
            if claim.sandboxes.is_empty() && !claim.over && (pool || template) {
                found.push(format!("claim {name} waits: {claim:?}"));
            }
        }
        let expired = self.claims.values().filter(|claim| claim.expired);
        let over: HashSet<_> = expired.map(|claim| claim.uid.as_str()).collect();
        for (name, sandbox) in &self.sandboxes {
            let left = match &sandbox.controller {
                Controller::Claim(uid) => {
                    self.listed.get(&sandbox.uid) != Some(uid) || over.contains(uid.as_str())
                }
                Controller::Pool(uid) => self.pools.values().all(|pool| pool.uid != *uid),
                Controller::Nobody => true,
            };
            if left {
                found.push(format!("Sandbox {name} is left behind: {sandbox:?}"));
            }
        }
        found
    }

    /// Members of pools that are gone: the host cluster's garbage collector's.
    pub(crate) fn orphans(&self) -> Vec<(String, String)> {
        let live: HashSet<_> = self.pools.values().map(|pool| pool.uid.as_str()).collect();
        let orphaned = self.members.iter().filter(|(pool, _)| !live.contains(pool.as_str()));
        let names = orphaned.flat_map(|(_, members)| members);
        names
            .filter_map(|name| Some((name.clone(), self.sandboxes.get(name)?.uid.clone())))
            .collect()
    }

    /// What clients were told against what happened.
    pub(crate) fn judge_end(&mut self, journal: &Journal) {
        for answer in &journal.answers {
            let Answer { code, uid, sandboxes } = answer;
            let Some(told) = self.told.get(uid) else {
                self.violation(Check::Answer, format!("{code} for claim {uid}: never stored"));
                continue;
            };
            if !sandboxes.is_empty() && *sandboxes != told.listed {
                let text = format!("{code} for claim {uid} named {sandboxes:?}, not {told:?}");
                self.violation(Check::Answer, text);
            }
        }
        let mut absent: Vec<_> = Vec::new();
        for (uid, told) in &self.told {
            match told.gone {
                Some((revision, false)) if !journal.released.contains(uid) => {
                    absent.push(format!("claim {uid} is gone since {revision}, nobody asked"));
                }
                _ => {}
            }
        }
        absent.into_iter().for_each(|text| self.violation(Check::Absence, text));
        for text in self.unsettled() {
            self.violation(Check::Rest, text);
        }
    }

    pub(crate) fn totals(&self, journal: &Journal) -> Totals {
        let bound = |warm: bool| {
            let all = self.told.values().filter(|told| !told.listed.is_empty());
            all.filter(|told| told.warm == warm).count()
        };
        let all = || self.told.values();
        let live: HashSet<_> = self.claims.values().map(|claim| &claim.uid).collect();
        Totals {
            requests: journal.requests,
            unknown: journal.unknown,
            answers: journal.answers.len(),
            claims: self.told.len(),
            warm: bound(true),
            cold: bound(false),
            gangs: all().filter(|told| told.listed.len() > 1).count(),
            releases: all().filter(|told| told.gone.is_some()).count(),
            stale_records: self.records.values().filter(|uid| !live.contains(uid)).count(),
            violations: self.violations.len(),
            ..Totals::default()
        }
    }
}
