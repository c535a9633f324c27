//! What must hold at every revision. It is told the store's changes in their order, and nothing
//! else: what replicas believe is of no interest. Pure.

pub(crate) mod end;
pub(crate) mod facts;
pub(crate) mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use apiserver::storage::{KvEvent, Revision};
use jiff::Timestamp;
use serde_json::Value;

use self::facts::{Claim, Controller, Pool, Sandbox};
use crate::lab::TRANSACTION_MAX;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Check {
    /// A Sandbox belongs to one claim for ever.
    Binding,
    /// A claim has all of its Sandboxes or none, and keeps them; what is gathered for it is no more
    /// than it asks for, and it is bound to just that.
    Gang,
    /// One live claim for an idempotency key.
    Key,
    /// No more members than the pool allows.
    Members,
    /// What was answered is what is stored.
    Answer,
    /// Nobody but its owner or its time ends a claim.
    Absence,
    /// Everything comes to rest where it should.
    Rest,
}

#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) check: Check,
    revision: Revision,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at revision {}: {}", self.check, self.revision, self.text)
    }
}

/// All that ever was of a claim.
#[derive(Debug)]
struct Told {
    replicas: usize,
    /// Those of its status.
    listed: Vec<String>,
    /// Those that it controls or controlled.
    bound: BTreeSet<String>,
    warm: bool,
    /// Gone, and whether that explains itself.
    gone: Option<(Revision, bool)>,
}

/// The state of the store, and what was wrong with it so far.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) revision: Revision,
    /// By key, as all of the following.
    sandboxes: HashMap<String, Sandbox>,
    claims: HashMap<String, Claim>,
    pools: HashMap<String, Pool>,
    templates: HashSet<String>,
    records: HashMap<String, String>,
    /// Pool uid to keys of its members.
    members: HashMap<String, BTreeSet<String>>,
    /// Sandbox uid to the uid of the claim it was bound to, for ever.
    bindings: HashMap<String, String>,
    /// Sandbox uid to the uid of the live claim that lists it.
    listed: HashMap<String, String>,
    /// Idempotency key to the uid of the live claim.
    keys: HashMap<String, String>,
    told: HashMap<String, Told>,
    /// Names of pools that once took those with them who waited.
    strict_ends: HashSet<String>,
    pub(crate) violations: Vec<Violation>,
}

/// What a change was about: kind and name.
fn place(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.rsplit('/');
    let name = parts.next()?;
    Some((parts.nth(1)?, name))
}

/// What one revision asks to be judged.
#[derive(Default)]
struct Step {
    /// Pools that got a member.
    grown: BTreeSet<String>,
    /// Claims that changed or got a Sandbox.
    claims: BTreeSet<String>,
    /// New Sandboxes: their names.
    born: Vec<String>,
}

impl Model {
    /// What the store did, in order; returns the names of new Sandboxes.
    pub(crate) fn apply(&mut self, events: &[KvEvent], now: Timestamp) -> Vec<String> {
        let mut born = Vec::new();
        for of_one in events.chunk_by(|a, b| a.revision == b.revision) {
            let Some(first) = of_one.first() else { continue };
            self.revision = first.revision;
            let mut step = Step::default();
            for event in of_one {
                self.change(event, now, &mut step);
            }
            step.grown.iter().for_each(|pool| self.judge_members(pool));
            step.claims.iter().for_each(|claim| self.judge_claim(claim));
            born.append(&mut step.born);
        }
        born
    }

    fn change(&mut self, event: &KvEvent, now: Timestamp, step: &mut Step) {
        let Some((kind, name)) = place(&event.key) else { return };
        let Some(value) = &event.value else {
            return self.gone(kind, name, now);
        };
        let Ok(object) = serde_json::from_slice::<Value>(value) else {
            return self.violation(Check::Answer, format!("{} can't be read", event.key));
        };
        match kind {
            "sandboxes" => self.put_sandbox(name, Sandbox::of(&object), step),
            "sandboxclaims" => self.put_claim(name, Claim::of(&object), step),
            "sandboxwarmpools" => {
                self.pools.insert(name.to_owned(), Pool::of(&object));
            }
            "sandboxtemplates" => {
                self.templates.insert(name.to_owned());
            }
            "claimidempotencyrecords" => {
                let claim = object["claim"]["uid"].as_str().unwrap_or_default();
                self.records.insert(name.to_owned(), claim.to_owned());
            }
            _ => {}
        }
    }

    fn put_sandbox(&mut self, name: &str, new: Sandbox, step: &mut Step) {
        let old = self.sandboxes.insert(name.to_owned(), new.clone());
        let old = old.filter(|old| old.uid == new.uid);
        let uid = &new.uid;
        if old.is_none() {
            step.born.push(name.to_owned());
        }
        let before = old.map(|old| old.controller);
        if before.as_ref() != Some(&new.controller) {
            match &before {
                Some(Controller::Pool(pool)) => self.leave(pool, name),
                Some(Controller::Claim(claim)) => {
                    let text = format!("Sandbox {name} ({uid}) was of claim {claim}, now {new:?}");
                    self.violation(Check::Binding, text);
                }
                _ => {}
            }
            if let Controller::Pool(pool) = &new.controller {
                self.members.entry(pool.clone()).or_default().insert(name.to_owned());
                step.grown.insert(pool.clone());
            }
        }
        if let Controller::Claim(claim) = &new.controller {
            let first = self.bindings.entry(uid.clone()).or_insert_with(|| claim.clone()).clone();
            if first != *claim {
                let text = format!("Sandbox {name} ({uid}) is bound to {claim} and was to {first}");
                self.violation(Check::Binding, text);
            }
            if let Some(told) = self.told.get_mut(claim) {
                told.bound.insert(uid.clone());
            } else {
                // Its claim comes with the same revision or not at all.
                self.told.insert(claim.clone(), Told::of_sandbox(uid));
            }
            step.claims.insert(claim.clone());
        }
    }

    fn put_claim(&mut self, name: &str, new: Claim, step: &mut Step) {
        let uid = new.uid.clone();
        if self.claims.get(name).is_some_and(|old| old.uid != uid) {
            self.violation(Check::Absence, format!("claim {name} was replaced by {uid}"));
        }
        if let Some(key) = &new.key {
            let owner = self.keys.entry(key.clone()).or_insert_with(|| uid.clone()).clone();
            if owner != uid {
                self.violation(Check::Key, format!("{owner} and {uid} both have key {key:?}"));
            }
        }
        for sandbox in &new.sandboxes {
            let owner = self.listed.entry(sandbox.clone()).or_insert_with(|| uid.clone()).clone();
            if owner != uid {
                let text = format!("claims {owner} and {uid} both list Sandbox {sandbox}");
                self.violation(Check::Binding, text);
            }
        }
        let told = self.told.entry(uid.clone()).or_default();
        told.replicas = new.replicas;
        if told.listed.is_empty() {
            told.listed.clone_from(&new.sandboxes);
            told.warm = new.warm;
        } else if told.listed != new.sandboxes {
            let text = format!("claim {name} had {:?}, has {:?}", told.listed, new.sandboxes);
            self.violation(Check::Gang, text);
        }
        self.claims.insert(name.to_owned(), new);
        step.claims.insert(uid);
    }

    fn gone(&mut self, kind: &str, name: &str, now: Timestamp) {
        match kind {
            "sandboxes" => {
                if let Some(Controller::Pool(pool)) =
                    self.sandboxes.remove(name).map(|old| old.controller)
                {
                    self.leave(&pool, name);
                }
            }
            "sandboxclaims" => {
                let Some(old) = self.claims.remove(name) else { return };
                self.keys.retain(|_, uid| *uid != old.uid);
                for sandbox in &old.sandboxes {
                    if self.listed.get(sandbox) == Some(&old.uid) {
                        self.listed.remove(sandbox);
                    }
                }
                let strict = old.sandboxes.is_empty()
                    && old.pool.as_ref().is_some_and(|pool| self.strict_ends.contains(pool));
                // Nobody was told of it: it was given up before it was bound.
                let explained = strict || old.binding || old.deletes_at.is_some_and(|at| at <= now);
                if let Some(told) = self.told.get_mut(&old.uid) {
                    told.gone = Some((self.revision, explained));
                }
            }
            "sandboxwarmpools" => {
                let strict = self.pools.remove(name).is_some_and(|pool| pool.strict);
                if strict {
                    self.strict_ends.insert(name.to_owned());
                }
            }
            "sandboxtemplates" => drop(self.templates.remove(name)),
            "claimidempotencyrecords" => drop(self.records.remove(name)),
            _ => {}
        }
    }

    fn leave(&mut self, pool: &str, name: &str) {
        if let Some(members) = self.members.get_mut(pool) {
            members.remove(name);
            if members.is_empty() {
                self.members.remove(pool);
            }
        }
    }

    /// After a revision in which the pool got a member.
    fn judge_members(&mut self, uid: &str) {
        let members = self.members.get(uid).map_or(0, BTreeSet::len);
        let pool = self.pools.iter().find(|(_, pool)| pool.uid == uid);
        let text = match pool {
            None => format!("pool {uid} got a member and is not there"),
            Some((_, pool)) if members <= pool.replicas + pool.surge => return,
            Some((name, pool)) => format!(
                "pool {name} has {members} members, wants {} and at most {} more",
                pool.replicas, pool.surge
            ),
        };
        self.violation(Check::Members, text);
    }

    /// After a revision in which the claim or one of its Sandboxes changed.
    fn judge_claim(&mut self, uid: &str) {
        let Some(told) = self.told.get(uid) else { return };
        // What it leaves behind may change still.
        if told.gone.is_some() {
            return;
        }
        let listed: BTreeSet<_> = told.listed.iter().cloned().collect();
        // One that needs several transactions has some before it is bound.
        let gathers = told.listed.is_empty() && told.replicas > TRANSACTION_MAX;
        let whole = match gathers {
            true => told.bound.len() <= told.replicas,
            false => listed == told.bound,
        };
        let count = [0, told.replicas].contains(&told.listed.len());
        if !whole || !count || listed.len() != told.listed.len() {
            let text = format!("claim {uid} is not all or nothing: {told:?}");
            self.violation(Check::Gang, text);
        }
    }

    fn violation(&mut self, check: Check, text: String) {
        self.violations.push(Violation { check, revision: self.revision, text });
    }
}

impl Default for Told {
    fn default() -> Self {
        let (listed, bound) = (Vec::new(), BTreeSet::new());
        Self { replicas: 0, listed, bound, warm: false, gone: None }
    }
}

impl Told {
    fn of_sandbox(uid: &str) -> Self {
        Self { bound: BTreeSet::from([uid.to_owned()]), ..Self::default() }
    }
}
