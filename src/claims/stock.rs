//! The stock: every Sandbox that a warm pool owns and nobody has claimed, in memory, fed by a watch.
//!
//! A claim takes a member out, so that no other claim of this process tries it, and either binds it
//! in the store or lets it go back, even if it is itself given up in the middle. What the watch says
//! always wins: a member that was bound leaves with the event of its binding, one that changed comes
//! anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::Item;
use apiserver::status::ApiError;
use jiff::Timestamp;
use sandbox_api::{condition, keys};
use serde_json::Value;
use tokio::sync::{SetOnce, watch};

/// A Sandbox in stock, as of one revision.
#[derive(Debug)]
pub struct Member {
    pub item: Arc<Item>,
    pub key: ObjectKey,
    pub uid: String,
    pub pool_uid: String,
    /// The revision of the template it was made from.
    pub template: String,
    /// Empty while it is not scheduled.
    pub node: String,
    pub ready: bool,
    pub deleting: bool,
    pub finished: bool,
    pub suspended: bool,
    /// `False` of the Pod's condition PodScheduled: nowhere to go.
    pub unschedulable: bool,
    /// Why it is not ready: reason and message of its condition Ready.
    pub reason: String,
    pub message: String,
    pub created: Option<Timestamp>,
}

impl Member {
    /// The Sandbox as a member of a pool; `None` if no pool controls it.
    ///
    /// # Errors
    /// 500 when the stored object can't be read.
    pub fn read(item: &Arc<Item>) -> Result<Option<Self>, ApiError> {
        Ok(Self::of(item, &*item.object()?))
    }

    fn of(item: &Arc<Item>, object: &Object) -> Option<Self> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
        let owner = object.controller()?;
        if owner["kind"] != "SandboxWarmPool" {
            return None;
        }
        let condition = |kind: &str| {
            let all = object.at("status.conditions").and_then(Value::as_array)?;
            all.iter().find(|condition| condition["type"] == kind)
        };
        let is = |kind: &str, status: &str| {
            condition(kind).is_some_and(|condition| condition["status"] == status)
        };
        Some(Self {
            item: Arc::clone(item),
            key: object.key(),
            uid: object.uid().to_owned(),
            pool_uid: text(owner.get("uid")),
            template: object.label(keys::SANDBOX_TEMPLATE_HASH).unwrap_or_default().to_owned(),
            node: text(object.at("status.nodeName")),
            ready: is(condition::READY, "True"),
            deleting: object.deletion_timestamp().is_some(),
            finished: is(condition::FINISHED, "True"),
            suspended: object.at("spec.operatingMode").is_some_and(|mode| mode == "Suspended"),
            unschedulable: is(condition::POD_SCHEDULED, "False"),
            reason: text(condition(condition::READY).and_then(|ready| ready.get("reason"))),
            message: text(condition(condition::READY).and_then(|ready| ready.get("message"))),
            created: object.meta_str("creationTimestamp").and_then(|time| time.parse().ok()),
        })
    }

    /// Whether a claim can have it.
    pub fn is_available(&self) -> bool {
        self.ready && !self.deleting && !self.finished && !self.suspended
    }
}

/// A member that was taken for one claim. When it is dropped it goes back into stock, unless it was
/// spent or has changed since.
#[derive(Debug)]
pub struct Held {
    member: Arc<Member>,
    stock: Stock,
    spent: bool,
}

impl Held {
    /// It is not to go back: it was bound, or somebody else has changed it. The watch tells what
    /// has become of it.
    pub fn spend(mut self) {
        self.spent = true;
    }
}

impl Deref for Held {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.member
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.spent {
            self.stock.put_back(&self.member);
        }
    }
}

/// The members of all pools. Clones share it.
#[derive(Debug, Clone)]
pub struct Stock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shelves: Mutex<Shelves>,
    /// Counts changes after which a claim may find something.
    restocked: watch::Sender<u64>,
    /// Set once everything there was at the start is known.
    filled: SetOnce<()>,
}

#[derive(Debug, Default)]
struct Shelves {
    members: HashMap<ObjectKey, Arc<Member>>,
    /// What can be taken now, by pool and template revision.
    shelves: BTreeMap<(String, String), Shelf>,
    /// Orders a shelf differently in every process, so that replicas seldom try the same member.
    salt: RandomState,
}

/// By node; the order is the salt's.
type Shelf = HashMap<String, BTreeSet<(u64, ObjectKey)>>;

impl Default for Stock {
    fn default() -> Self {
        let (restocked, _) = watch::channel(0);
        Self(Arc::new(Inner { shelves: Mutex::default(), restocked, filled: SetOnce::new() }))
    }
}

impl Stock {
    /// What is stored of a Sandbox now.
    ///
    /// # Errors
    /// 500 when the stored object can't be read; it is no longer in stock then.
    pub fn apply(&self, item: &Arc<Item>) -> Result<(), ApiError> {
        let member = Member::read(item);
        let mut shelves = self.lock();
        shelves.remove(&item.key());
        if let Some(member) = member? {
            let available = member.is_available();
            shelves.add(Arc::new(member), available);
            drop(shelves);
            if available {
                self.0.restocked.send_modify(|count| *count += 1);
            }
        }
        Ok(())
    }

    pub fn remove(&self, key: &ObjectKey) {
        self.lock().remove(key);
    }

    /// Everything there is, in place of what was.
    ///
    /// # Errors
    /// 500 when one of them can't be read; the rest is in stock.
    pub fn replace(&self, items: &[Arc<Item>]) -> Result<(), ApiError> {
        let keys: BTreeSet<_> = items.iter().map(|item| item.key()).collect();
        let gone: Vec<_> =
            self.lock().members.keys().filter(|key| !keys.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
        let mut outcome = Ok(());
        for item in items {
            if let Err(error) = self.apply(item) {
                outcome = Err(error);
            }
        }
        // It may be set already.
        _ = self.0.filled.set(());
        outcome
    }

    /// Returns once everything there was at the start is known.
    pub async fn filled(&self) {
        self.0.filled.wait().await;
    }

    pub fn is_filled(&self) -> bool {
        self.0.filled.initialized()
    }

    /// Takes `count` members of the pool, or none: from the node with the most stock, of the fresh
    /// revision first, stale ones only if `stale_too`.
    pub fn take(
        &self,
        pool_uid: &str,
        fresh: &str,
        stale_too: bool,
        count: usize,
    ) -> Option<Vec<Held>> {
        let mut shelves = self.lock();
        let mut taken: Vec<Arc<Member>> = Vec::new();
        while taken.len() < count {
            let Some(member) = shelves.next(pool_uid, fresh, stale_too) else {
                taken.iter().for_each(|member| shelves.shelve(member));
                return None;
            };
            taken.push(member);
        }
        drop(shelves);
        let held = |member| Held { member, stock: self.clone(), spent: false };
        Some(taken.into_iter().map(held).collect())
    }

    fn put_back(&self, member: &Arc<Member>) {
        let mut shelves = self.lock();
        let unchanged = shelves
            .members
            .get(&member.key)
            .is_some_and(|known| known.item.revision() == member.item.revision());
        if unchanged {
            shelves.shelve(member);
            drop(shelves);
            self.0.restocked.send_modify(|count| *count += 1);
        }
    }

    /// How many could be taken.
    pub fn available(&self, pool_uid: &str, fresh: &str, stale_too: bool) -> usize {
        let shelves = self.lock();
        let shelves = shelves.of(pool_uid).filter(|((_, hash), _)| stale_too || hash == fresh);
        shelves.flat_map(|(_, shelf)| shelf.values()).map(BTreeSet::len).sum()
    }

    /// What is known of a Sandbox, if a pool owns it.
    pub fn member(&self, key: &ObjectKey) -> Option<Arc<Member>> {
        self.lock().members.get(key).cloned()
    }

    /// Changes whenever something can be taken that could not before.
    pub fn restocked(&self) -> watch::Receiver<u64> {
        self.0.restocked.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.shelves.lock().expect("no holder of this lock panics")
    }
}

impl Shelves {
    fn add(&mut self, member: Arc<Member>, available: bool) {
        if available {
            self.shelve(&member);
        }
        self.members.insert(member.key.clone(), member);
    }

    fn shelve(&mut self, member: &Member) {
        let place = (member.pool_uid.clone(), member.template.clone());
        let order = self.salt.hash_one(&member.key);
        let shelf = self.shelves.entry(place).or_default();
        shelf.entry(member.node.clone()).or_default().insert((order, member.key.clone()));
    }

    fn unshelve(&mut self, member: &Member) {
        let place = (member.pool_uid.clone(), member.template.clone());
        let Some(shelf) = self.shelves.get_mut(&place) else { return };
        if let Some(node) = shelf.get_mut(&member.node) {
            node.remove(&(self.salt.hash_one(&member.key), member.key.clone()));
            if node.is_empty() {
                shelf.remove(&member.node);
            }
        }
        if shelf.is_empty() {
            self.shelves.remove(&place);
        }
    }

    fn remove(&mut self, key: &ObjectKey) {
        if let Some(member) = self.members.remove(key) {
            self.unshelve(&member);
        }
    }

    fn of(&self, pool_uid: &str) -> impl Iterator<Item = (&(String, String), &Shelf)> {
        let first = (pool_uid.to_owned(), String::new());
        self.shelves.range(first..).take_while(move |((uid, _), _)| uid == pool_uid)
    }

    fn next(&mut self, pool_uid: &str, fresh: &str, stale_too: bool) -> Option<Arc<Member>> {
        let place = self
            .of(pool_uid)
            .filter(|((_, hash), _)| stale_too || hash == fresh)
            .max_by_key(|((_, hash), _)| hash == fresh)
            .map(|(place, _)| place.clone())?;
        let shelf = self.shelves.get(&place)?;
        let fullest = shelf.values().max_by_key(|node| node.len())?;
        let (_, key) = fullest.first()?;
        let member = self.members.get(key)?.clone();
        self.unshelve(&member);
        Some(member)
    }
}

#[cfg(test)]
mod tests;
