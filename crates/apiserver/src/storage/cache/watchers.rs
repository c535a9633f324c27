//! Who is told of what.
//!
//! A watcher waits in the narrowest room that its selectors allow: one object, one value of a
//! declared field, one namespace, or all; so an event is offered to those alone whom it may
//! concern. Each watcher has a bounded buffer of revisions. When it is full, the watcher loses its
//! place and its stream ends with what is in the buffer: nothing is ever left out in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::super::watch::{SharedItem, transition};
use super::super::{EventKind, Item, Revision};
use super::CacheOptions;
use super::history::Change;
use crate::selector::{FieldSelector, LabelSelector};

/// What a watcher is told.
#[derive(Debug)]
pub(super) enum Told {
    One(EventKind, Arc<SharedItem>),
    /// Several changes of one revision.
    Many(Vec<(EventKind, Arc<SharedItem>)>),
    /// Everything up to here has been told.
    Bookmark(Revision),
}

impl Told {
    /// What it keeps in memory, if nobody else does.
    fn bytes(&self) -> usize {
        match self {
            Self::One(_, item) => item.item().size_bytes(),
            Self::Many(all) => all.iter().map(|(_, item)| item.item().size_bytes()).sum(),
            Self::Bookmark(_) => 0,
        }
    }
}

/// Where a watcher waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    All,
    Namespace(Box<str>),
    /// Path of one object.
    Object(Box<str>),
    /// Place of a declared field, and its value.
    Field(usize, Box<str>),
}

/// What a watcher wants to hear of.
#[derive(Debug)]
pub(super) struct Interest {
    /// Prefix of the paths in question: empty, or a namespace with its slash.
    pub(super) prefix: Box<str>,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    pub(super) room: Room,
}

impl Interest {
    /// What is told of a change to who has this interest.
    pub(super) fn of(&self, change: &Change) -> Option<EventKind> {
        if !change.path.starts_with(&*self.prefix) {
            return None;
        }
        let (before, now) = (change.before.as_deref(), change.now.as_deref());
        transition(before, now, &self.labels, &self.fields)
    }
}

#[derive(Debug)]
struct Watcher {
    interest: Arc<Interest>,
    sender: Sender,
    /// Wants nothing up to this revision: it was started from a future one.
    after: Revision,
}

/// The writing end of a watcher's buffer, bounded in revisions and in bytes.
#[derive(Debug, Clone)]
struct Sender {
    channel: mpsc::Sender<Told>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Receiver {
    channel: mpsc::Receiver<Told>,
    bytes: Arc<AtomicUsize>,
}

/// Why a watcher can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// It has too much to read already.
    Full,
    /// Nobody reads.
    Closed,
}

impl Sender {
    fn send(&self, told: Told) -> Result<(), Lost> {
        let more = told.bytes();
        let waiting = self.bytes.load(Ordering::Relaxed);
        // One alone is taken, whatever its size.
        if waiting > 0 && waiting + more > self.bytes_max {
            return Err(Lost::Full);
        }
        // Before it can be read, so that the count never falls below zero.
        self.bytes.fetch_add(more, Ordering::Relaxed);
        self.channel.try_send(told).map_err(|error| {
            self.bytes.fetch_sub(more, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Lost::Full,
                TrySendError::Closed(_) => Lost::Closed,
            }
        })
    }
}

impl Receiver {
    /// `None` = the watcher has lost its place, and this was everything.
    pub(super) async fn recv(&mut self) -> Option<Told> {
        let told = self.channel.recv().await?;
        self.bytes.fetch_sub(told.bytes(), Ordering::Relaxed);
        Some(told)
    }
}

type Group = HashMap<u64, Watcher>;

#[derive(Debug)]
pub(super) struct Watchers {
    all: Group,
    namespaces: HashMap<Box<str>, Group>,
    objects: HashMap<Box<str>, Group>,
    /// Per declared field, by value.
    fields: Vec<HashMap<Box<str>, Group>>,
    next_id: u64,
    buffer: usize,
    buffer_bytes_max: usize,
    count: usize,
    /// Ended because they were too slow.
    pub(super) overrun: u64,
    #[cfg(feature = "test-util")]
    planted: super::super::Planted,
}

impl Watchers {
    pub(super) fn new(fields: usize, options: &CacheOptions) -> Self {
        Self {
            all: Group::new(),
            namespaces: HashMap::new(),
            objects: HashMap::new(),
            fields: (0..fields).map(|_| HashMap::new()).collect(),
            next_id: 0,
            buffer: options.watcher_buffer.max(1),
            buffer_bytes_max: options.watcher_buffer_bytes_max,
            count: 0,
            overrun: 0,
            #[cfg(feature = "test-util")]
            planted: options.planted,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// From now on, and after the revision `after`, `interest` is told of. Until [`Self::leave`].
    pub(super) fn join(&mut self, interest: Arc<Interest>, after: Revision) -> (u64, Receiver) {
        let (channel, reading) = mpsc::channel(self.buffer);
        let bytes = Arc::new(AtomicUsize::new(0));
        let receiver = Receiver { channel: reading, bytes: bytes.clone() };
        let sender = Sender { channel, bytes, bytes_max: self.buffer_bytes_max };
        self.next_id += 1;
        self.count += 1;
        let id = self.next_id;
        let room = interest.room.clone();
        self.room_mut(&room).insert(id, Watcher { interest, sender, after });
        (id, receiver)
    }

    pub(super) fn leave(&mut self, id: u64, room: &Room) {
        let removed = match room {
            Room::All => self.all.remove(&id).is_some(),
            Room::Namespace(name) => leave_room(&mut self.namespaces, name, id),
            Room::Object(path) => leave_room(&mut self.objects, path, id),
            Room::Field(place, value) => leave_room(&mut self.fields[*place], value, id),
        };
        self.count -= usize::from(removed);
    }

    /// Puts a bookmark behind everything that the watcher has been told. A watcher with a full
    /// buffer gets none.
    pub(super) fn bookmark(&mut self, id: u64, room: &Room, revision: Revision) {
        let group = match room {
            Room::All => Some(&self.all),
            Room::Namespace(name) => self.namespaces.get(name),
            Room::Object(path) => self.objects.get(path),
            Room::Field(place, value) => self.fields[*place].get(value),
        };
        if let Some(watcher) = group.and_then(|group| group.get(&id)) {
            // Full: it has enough to read. Closed: nobody reads.
            watcher.sender.send(Told::Bookmark(revision.max(watcher.after))).ok();
        }
    }

    pub(super) fn end_all(&mut self) {
        self.all.clear();
        self.namespaces.clear();
        self.objects.clear();
        self.fields.iter_mut().for_each(HashMap::clear);
        self.count = 0;
    }

    /// The changes of one revision.
    pub(super) fn tell(&mut self, changes: &[Arc<Change>]) {
        if self.count == 0 {
            return;
        }
        let mut lost = Vec::new();
        match changes {
            [change] => {
                let news = News::new(change);
                self.concerned(change, |id, watcher| {
                    if let Some((kind, item)) = news.for_watcher(watcher) {
                        let told = Told::One(kind, item);
                        send(id, watcher, told, &mut lost);
                    }
                });
            }
            changes => {
                let mut letters: HashMap<u64, (Sender, Room, Vec<_>)> = HashMap::new();
                for change in changes {
                    let news = News::new(change);
                    self.concerned(change, |id, watcher| {
                        if let Some(told) = news.for_watcher(watcher) {
                            let fresh = || {
                                (watcher.sender.clone(), watcher.interest.room.clone(), Vec::new())
                            };
                            letters.entry(id).or_insert_with(fresh).2.push(told);
                        }
                    });
                }
                for (id, (sender, room, told)) in letters {
                    if let Err(why) = sender.send(Told::Many(told)) {
                        lost.push((id, room, why));
                    }
                }
            }
        }
        for (id, room, why) in lost {
            #[cfg(feature = "test-util")]
            if self.planted == super::super::Planted::DropEvent {
                continue;
            }
            self.overrun += u64::from(why == Lost::Full);
            self.leave(id, &room);
        }
    }

    /// Calls `f` once for each watcher that the change may concern.
    fn concerned(&self, change: &Change, mut f: impl FnMut(u64, &Watcher)) {
        let mut visit = |group: Option<&Group>| {
            for (id, watcher) in group.into_iter().flatten() {
                if change.revision > watcher.after {
                    f(*id, watcher);
                }
            }
        };
        visit(Some(&self.all));
        if let Some((namespace, _)) = change.path.split_once('/') {
            visit(self.namespaces.get(namespace));
        }
        visit(self.objects.get(&*change.path));
        let sides = [change.before.as_deref(), change.now.as_deref()];
        if sides.iter().flatten().any(|item| item.broken().is_some()) {
            // Nobody knows what is in its fields.
            self.fields.iter().flat_map(HashMap::values).for_each(|group| visit(Some(group)));
            return;
        }
        let value = |item: Option<&Item>, place: usize| {
            item.and_then(|item| item.fields().get(place)).cloned().unwrap_or_default()
        };
        for (place, groups) in self.fields.iter().enumerate().filter(|(_, map)| !map.is_empty()) {
            let (before, now) = (value(sides[0], place), value(sides[1], place));
            visit(groups.get(&before));
            if now != before {
                visit(groups.get(&now));
            }
        }
    }

    fn room_mut(&mut self, room: &Room) -> &mut Group {
        match room {
            Room::All => &mut self.all,
            Room::Namespace(name) => self.namespaces.entry(name.clone()).or_default(),
            Room::Object(path) => self.objects.entry(path.clone()).or_default(),
            Room::Field(place, value) => self.fields[*place].entry(value.clone()).or_default(),
        }
    }
}

/// One change with its two faces, shared by all who are told of it.
struct News<'a> {
    change: &'a Change,
    now: Option<Arc<SharedItem>>,
}

impl<'a> News<'a> {
    fn new(change: &'a Change) -> Self {
        Self { change, now: change.now.clone().map(SharedItem::new) }
    }

    fn for_watcher(&self, watcher: &Watcher) -> Option<(EventKind, Arc<SharedItem>)> {
        let kind = watcher.interest.of(self.change)?;
        let item = match kind {
            EventKind::Deleted => self.change.gone(),
            EventKind::Added | EventKind::Modified => self.now.clone(),
        };
        Some((kind, item?))
    }
}

fn send(id: u64, watcher: &Watcher, told: Told, lost: &mut Vec<(u64, Room, Lost)>) {
    if let Err(why) = watcher.sender.send(told) {
        lost.push((id, watcher.interest.room.clone(), why));
    }
}

fn leave_room(rooms: &mut HashMap<Box<str>, Group>, name: &str, id: u64) -> bool {
    let Some(group) = rooms.get_mut(name) else { return false };
    let removed = group.remove(&id).is_some();
    if group.is_empty() {
        rooms.remove(name);
    }
    removed
}

#[cfg(test)]
mod tests;
