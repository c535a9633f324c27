//! The cached objects with their indexes, history and watchers. Changes are applied one revision
//! at a time, and told in the same step: who looks under the lock sees all of a revision or none.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Item, Revision};
use super::CacheOptions;
use super::history::{Change, History, Objects};
use super::watch::Lent;
use super::watchers::Watchers;

#[derive(Debug)]
pub(super) struct State {
    pub(super) objects: Objects,
    pub(super) objects_bytes: usize,
    /// Everything up to here has been applied and told.
    pub(super) revision: Revision,
    pub(super) history: History,
    pub(super) watchers: Watchers,
    /// Per declared field, then per indexed label: value -> paths of the objects that have it.
    by_value: Vec<HashMap<Box<str>, BTreeSet<Arc<str>>>>,
    /// Paths of what can't be read: such objects are found by every selector.
    broken: BTreeSet<Arc<str>>,
    /// What readers of the current state keep in memory, and since when.
    pub(super) lent: VecDeque<(Instant, Weak<Lent>)>,
    /// `None` = ready.
    unready_since: Option<Instant>,
    /// Counts the fillings; a reader that has begun in another one must begin again.
    pub(super) generation: u64,
}

/// A change as the store tells it.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) path: Arc<str>,
    /// `None` = deleted.
    pub(super) item: Option<Arc<Item>>,
    /// Whether the store had the object before.
    pub(super) existed: bool,
}

/// The cache and the store disagree about what was there before.
#[derive(Debug, thiserror::Error)]
#[error("the cache and the store disagree about {path} before revision {revision}")]
pub(super) struct Inconsistent {
    path: Arc<str>,
    revision: Revision,
}

impl State {
    pub(super) fn new(fields: usize, labels: usize, options: &CacheOptions) -> Self {
        Self {
            objects: Objects::new(),
            objects_bytes: 0,
            revision: 0,
            history: History::new(options.history, options.history_bytes_max),
            watchers: Watchers::new(fields, options),
            by_value: vec![HashMap::new(); fields + labels],
            broken: BTreeSet::new(),
            lent: VecDeque::new(),
            unready_since: Some(Instant::now()),
            generation: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.unready_since.is_none()
    }

    /// How long there has been nothing to serve; `None` = there is.
    pub(super) fn unready_for(&self, now: Instant) -> Option<Duration> {
        self.unready_since.map(|since| now.duration_since(since))
    }

    /// Begins anew with these objects as of `revision`. Watchers are ended: what happened since
    /// their last event is unknown.
    pub(super) fn fill(&mut self, objects: Objects, revision: Revision) {
        self.watchers.end_all();
        self.by_value.iter_mut().for_each(HashMap::clear);
        self.broken.clear();
        self.objects_bytes = 0;
        for item in objects.values() {
            self.index(item);
        }
        self.objects = objects;
        self.revision = revision;
        self.history.restart(revision, &self.objects);
        self.unready_since = None;
        self.generation += 1;
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self) {
        self.unready_since.get_or_insert_with(Instant::now);
        self.watchers.end_all();
    }

    /// The cache is not to be trusted until it has been filled again.
    pub(super) fn distrust(&mut self) {
        self.close();
        self.generation += 1;
    }

    /// All changes of one revision. Revisions that were applied already change nothing.
    pub(super) fn apply(
        &mut self,
        revision: Revision,
        updates: Vec<Update>,
    ) -> Result<(), Inconsistent> {
        if revision <= self.revision {
            return Ok(());
        }
        let mut changes = Vec::with_capacity(updates.len());
        for Update { path, item, existed } in updates {
            let before = match &item {
                Some(item) => self.objects.insert(path.clone(), item.clone()),
                None => self.objects.remove(&path),
            };
            if before.is_some() != existed {
                return Err(Inconsistent { path, revision });
            }
            if let Some(before) = &before {
                self.unindex(before);
            }
            if let Some(item) = &item {
                self.index(item);
            }
            changes.push(Arc::new(Change::new(revision, path, before, item)));
        }
        self.revision = revision;
        self.history.push(&changes, revision, &self.objects);
        self.watchers.tell(&changes);
        Ok(())
    }

    /// Nothing of this kind has changed up to `revision`.
    pub(super) fn progress(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// The objects with `value` in the declared field `place`, or in the indexed label that many
    /// places behind the fields, and all that can't be read.
    pub(super) fn with_value(&self, place: usize, value: &str) -> Vec<Arc<Item>> {
        let found = self.by_value[place].get(value);
        let paths: BTreeSet<&Arc<str>> =
            found.into_iter().flatten().chain(self.broken.iter()).collect();
        paths.into_iter().filter_map(|path| self.objects.get(path).cloned()).collect()
    }

    fn index(&mut self, item: &Arc<Item>) {
        self.objects_bytes += item.size_bytes();
        if item.broken().is_some() {
            self.broken.insert(item.path().clone());
        }
        for (index, value) in self.by_value.iter_mut().zip(item.indexed()) {
            if !value.is_empty() {
                match index.get_mut(value) {
                    Some(paths) => _ = paths.insert(item.path().clone()),
                    None => {
                        _ = index.insert(value.into(), BTreeSet::from([item.path().clone()]));
                    }
                }
            }
        }
    }

    fn unindex(&mut self, item: &Item) {
        self.objects_bytes = self.objects_bytes.saturating_sub(item.size_bytes());
        self.broken.remove(item.path());
        for (index, value) in self.by_value.iter_mut().zip(item.indexed()) {
            let Some(paths) = index.get_mut(value) else { continue };
            paths.remove(item.path());
            if paths.is_empty() {
                index.remove(value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
