//! etcd's own order of changes, and the states and events that follow from it.

use std::collections::{BTreeMap, HashMap};

use super::history::{Content, Fact, Filter, Kind, Revision};

/// Every change of the kind's keys.
pub(crate) struct Truth {
    facts: Vec<Fact>,
    /// For each fact, the former one of its key.
    former: Vec<Option<usize>>,
    /// The facts of each key, in order.
    keys: BTreeMap<String, Vec<usize>>,
    /// Where each value was written; more than one place is a violation.
    values: HashMap<String, Vec<usize>>,
    /// Which facts deleted the object of this uid; more than one is a violation: it came back.
    deletions: HashMap<String, Vec<usize>>,
}

/// An object at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live<'t> {
    pub(crate) key: &'t str,
    pub(crate) revision: Revision,
    pub(crate) content: &'t Content,
}

/// What a watch must deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change<'t> {
    pub(crate) kind: Kind,
    pub(crate) object: Live<'t>,
}

/// A stretch of revisions in which a key does not change. `until` is inclusive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'t> {
    pub(crate) since: Revision,
    pub(crate) until: Revision,
    /// `None` = absent.
    pub(crate) object: Option<Live<'t>>,
}

impl Truth {
    /// `facts` in the order of their revisions.
    pub(crate) fn new(facts: Vec<Fact>) -> Self {
        let mut truth = Self {
            former: Vec::with_capacity(facts.len()),
            facts: Vec::new(),
            keys: BTreeMap::new(),
            values: HashMap::new(),
            deletions: HashMap::new(),
        };
        for (index, fact) in facts.iter().enumerate() {
            let of_key = truth.keys.entry(fact.key.clone()).or_default();
            let former = of_key.last().copied();
            of_key.push(index);
            truth.former.push(former);
            match (&fact.content, former.and_then(|former| facts[former].content.as_ref())) {
                (Some(content), _) => {
                    truth.values.entry(content.value.clone()).or_default().push(index);
                }
                (None, Some(gone)) => {
                    truth.deletions.entry(gone.uid.clone()).or_default().push(index);
                }
                (None, None) => {}
            }
        }
        truth.facts = facts;
        truth
    }

    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The facts that wrote `value`.
    pub(crate) fn written(&self, value: &str) -> &[usize] {
        self.values.get(value).map_or(&[], Vec::as_slice)
    }

    /// The facts that deleted the object of this uid.
    pub(crate) fn deleted(&self, uid: &str) -> &[usize] {
        self.deletions.get(uid).map_or(&[], Vec::as_slice)
    }

    /// What the key held before the fact.
    pub(crate) fn before(&self, fact: usize) -> Option<Live<'_>> {
        self.live(self.former[fact]?)
    }

    fn live(&self, fact: usize) -> Option<Live<'_>> {
        let fact = &self.facts[fact];
        let content = fact.content.as_ref()?;
        Some(Live { key: &fact.key, revision: fact.revision, content })
    }

    /// What matches at `revision`, in key order.
    pub(crate) fn state(&self, revision: Revision, filter: &Filter) -> Vec<Live<'_>> {
        self.keys
            .values()
            .filter_map(|facts| {
                let until = facts.partition_point(|fact| self.facts[*fact].revision <= revision);
                self.live(facts[until.checked_sub(1)?])
            })
            .filter(|live| filter.matches(live.key, live.content))
            .collect()
    }

    /// The history of one key, from revision 0 to the end of time.
    pub(crate) fn stretches(&self, key: &str) -> Vec<Stretch<'_>> {
        let facts = self.keys.get(key).map_or(&[][..], Vec::as_slice);
        let starts = facts.iter().map(|fact| self.facts[*fact].revision);
        let ends = starts.clone().map(|start| start - 1).chain([Revision::MAX]);
        let objects = facts.iter().map(|fact| self.live(*fact));
        [0].into_iter()
            .chain(starts)
            .zip(ends)
            .zip([None].into_iter().chain(objects))
            .map(|((since, until), object)| Stretch { since, until, object })
            .collect()
    }

    /// Whether the key was as `wanted` at some revision of `least..=most`.
    pub(crate) fn was(
        &self,
        key: &str,
        (least, most): (Revision, Revision),
        wanted: impl Fn(Option<Live<'_>>) -> bool,
    ) -> bool {
        self.stretches(key).iter().any(|stretch| {
            stretch.since <= most && stretch.until >= least && wanted(stretch.object)
        })
    }

    /// The facts after a revision, as indices.
    pub(crate) fn after(&self, revision: Revision) -> std::ops::Range<usize> {
        self.facts.partition_point(|fact| fact.revision <= revision)..self.facts.len()
    }

    /// What a watch after `revision` must deliver.
    pub(crate) fn changes(
        &self,
        revision: Revision,
        filter: &Filter,
    ) -> impl Iterator<Item = Change<'_>> {
        self.after(revision).filter_map(move |index| {
            let matches = |live: &Live<'_>| filter.matches(live.key, live.content);
            let before = self.before(index).filter(matches);
            let now = self.live(index).filter(matches);
            let (kind, object) = match (before, now) {
                (None, None) => return None,
                (None, Some(now)) => (Kind::Added, now),
                (Some(_), Some(now)) => (Kind::Modified, now),
                // The old content with the revision of what took it away.
                (Some(old), None) => {
                    (Kind::Deleted, Live { revision: self.facts[index].revision, ..old })
                }
            };
            Some(Change { kind, object })
        })
    }
}
