//! The window of remembered events, and the objects as of any revision in it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use imbl::OrdMap;
use tokio::time::Instant;

use super::super::watch::SharedItem;
use super::super::{Item, Revision};

/// The objects of a kind by path. A clone is a snapshot and costs nothing.
pub(super) type Objects = OrdMap<Arc<str>, Arc<Item>>;

/// One object's change at one revision.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) path: Arc<str>,
    /// `None` = created.
    pub(super) before: Option<Arc<Item>>,
    /// `None` = deleted.
    pub(super) now: Option<Arc<Item>>,
    at: Instant,
    /// What those are told for whom the object is no more. Made when the first one needs it.
    gone: OnceLock<Arc<SharedItem>>,
}

impl Change {
    pub(super) fn new(
        revision: Revision,
        path: Arc<str>,
        before: Option<Arc<Item>>,
        now: Option<Arc<Item>>,
    ) -> Self {
        Self { revision, path, before, now, at: Instant::now(), gone: OnceLock::new() }
    }

    /// The last content, as of the revision of this change; `None` if there was none.
    pub(super) fn gone(&self) -> Option<Arc<SharedItem>> {
        let before = self.before.as_ref()?;
        let make = || SharedItem::new(Arc::new(before.deleted_at(self.revision)));
        Some(self.gone.get_or_init(make).clone())
    }

    /// What only the window keeps alive: the new content is in the map or in the next change.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.path.len() + self.before.as_ref().map_or(0, |it| it.size_bytes())
    }
}

/// Events in the order of their revisions, without a hole.
#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// All changes after this revision are here.
    complete_after: Revision,
    /// What was written at that very revision and is known.
    edge: Vec<Arc<Item>>,
    /// Every so many changes. What lies between is found by undoing.
    snapshots: VecDeque<(Revision, Objects)>,
    since_snapshot: usize,
    span: Duration,
    bytes_max: usize,
}

impl History {
    pub(super) fn new(span: Duration, bytes_max: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            complete_after: 0,
            edge: Vec::new(),
            snapshots: VecDeque::new(),
            since_snapshot: 0,
            span,
            bytes_max,
        }
    }

    /// Forgets everything: what comes next comes after `revision`, as of which there are `objects`.
    pub(super) fn restart(&mut self, revision: Revision, objects: &Objects) {
        *self = Self::new(self.span, self.bytes_max);
        self.complete_after = revision;
        let written = objects.values().filter(|item| item.revision() == revision);
        self.edge = written.cloned().collect();
    }

    /// Whether several objects were written at `revision`, so that who has heard of one of them may
    /// not have heard of all.
    pub(super) fn is_shared(&self, revision: Revision) -> bool {
        let first = self.changes.partition_point(|change| change.revision < revision);
        let second = self.changes.get(first + 1);
        second.is_some_and(|change| change.revision == revision)
    }

    /// The objects of a revision of which the changes are forgotten, if it wrote several.
    pub(super) fn shared_edge(&self, revision: Revision) -> Option<Vec<Arc<Item>>> {
        (revision == self.complete_after && self.edge.len() > 1).then(|| self.edge.clone())
    }

    /// Adds the changes of one revision, of which `objects` is the outcome.
    pub(super) fn push(&mut self, changes: &[Arc<Change>], revision: Revision, objects: &Objects) {
        for change in changes {
            self.bytes += change.bytes();
            self.changes.push_back(change.clone());
        }
        self.since_snapshot += changes.len();
        if self.since_snapshot >= SNAPSHOT_EVERY {
            self.since_snapshot = 0;
            self.snapshots.push_back((revision, objects.clone()));
        }
        self.trim(Instant::now());
    }

    /// Forgets what is too old or too much, whole revisions at a time.
    pub(super) fn trim(&mut self, now: Instant) {
        while let Some(first) = self.changes.front() {
            let old = now.duration_since(first.at) > self.span;
            let part_of_forgotten = first.revision == self.complete_after;
            if !old && !part_of_forgotten && self.bytes <= self.bytes_max {
                break;
            }
            self.bytes = self.bytes.saturating_sub(first.bytes());
            if first.revision != self.complete_after {
                self.edge.clear();
            }
            self.edge.extend(first.now.clone());
            self.complete_after = first.revision;
            self.changes.pop_front();
        }
        while self.snapshots.front().is_some_and(|(revision, _)| *revision < self.complete_after) {
            self.snapshots.pop_front();
        }
    }

    /// The oldest revision that can be followed from, or listed as of.
    pub(super) fn oldest(&self) -> Revision {
        self.complete_after
    }

    /// At most about `limit` changes after `revision`, whole revisions only; `None` when some of
    /// them have been forgotten.
    pub(super) fn after(&self, revision: Revision, limit: usize) -> Option<Vec<Arc<Change>>> {
        if revision < self.complete_after {
            return None;
        }
        let start = self.changes.partition_point(|change| change.revision <= revision);
        let mut found: Vec<Arc<Change>> = Vec::new();
        for change in self.changes.range(start..) {
            if found.len() >= limit && found.last().is_some_and(|it| it.revision != change.revision)
            {
                break;
            }
            found.push(change.clone());
        }
        Some(found)
    }

    /// What leads to the objects as of `revision`: a later state of them, and what to undo in it.
    /// `current` is the state after the last change.
    pub(super) fn way_to(&self, revision: Revision, current: &Objects) -> Option<WayBack> {
        if revision < self.complete_after {
            return None;
        }
        let place = self.snapshots.partition_point(|(taken, _)| *taken < revision);
        let (taken, objects) = match self.snapshots.get(place) {
            Some((taken, objects)) => (*taken, objects.clone()),
            None => (Revision::MAX, current.clone()),
        };
        let first = self.changes.partition_point(|change| change.revision <= revision);
        let end = self.changes.partition_point(|change| change.revision <= taken);
        let undo = self.changes.range(first..end).cloned().collect();
        Some(WayBack { objects, undo })
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A state and the changes that came after the wanted one.
#[derive(Debug)]
pub(super) struct WayBack {
    objects: Objects,
    undo: Vec<Arc<Change>>,
}

impl WayBack {
    /// The objects as of the wanted revision.
    pub(super) fn go(self) -> Objects {
        let mut objects = self.objects;
        for change in self.undo.into_iter().rev() {
            match &change.before {
                Some(before) => objects.insert(change.path.clone(), before.clone()),
                None => objects.remove(&change.path),
            };
        }
        objects
    }
}

/// A snapshot keeps the nodes of the map that have changed since the one before. At this distance
/// that is little beside the objects, and undoing takes microseconds.
const SNAPSHOT_EVERY: usize = 64;

#[cfg(test)]
mod tests;
