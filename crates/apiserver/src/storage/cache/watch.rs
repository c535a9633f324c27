//! Watches from the cache.
//!
//! A watch goes through up to three phases: the current state from a snapshot, what happened since
//! from the history (a few hundred changes at a time, so that a slow client holds little), and
//! then what happens, from its buffer. It takes its place among the watchers under the same lock
//! under which it sees that the history has nothing more for it: no gap, no duplicate.
//!
//! Objects that were written by one transaction share a revision. Whoever begins at such a revision
//! may have heard of some of them and not of all, so it is told of all of them again: an event twice
//! does no harm, one that is missing does.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::stream;
use tokio::time::Instant;

use super::super::error::{parse_revision, too_old};
use super::super::watch::{SharedItem, WatchEvent, WatchStream, bookmark_time, failed, until};
use super::super::{EventKind, Revision};
use super::history::{Change, Objects};
use super::watchers::{Interest, Receiver, Room, Told};
use super::{Cacher, Inner};
use crate::meta::Scope;
use crate::request::WatchOptions;
use crate::status::{ApiError, Reason};

impl Cacher {
    /// Starts a watch. Failures after the options are accepted come as an ERROR event
    /// (`[apiserver] pkg/storage/cacher/cacher.go` Watch).
    ///
    /// # Errors
    /// 422 for an unparsable revision; 429 while the cache is being filled; 503 when the store
    /// must be asked and can't be reached.
    pub async fn watch(
        &self,
        scope: &Scope,
        options: &WatchOptions,
    ) -> Result<WatchStream, ApiError> {
        let inner = &self.inner;
        let started = Instant::now();
        let collection = inner.store.keys.collection(scope)?;
        let given = parse_revision(&options.resource_version, &inner.store.resource)?;
        inner.check_ready()?;
        let wants_state = options.send_initial_events.unwrap_or(given.is_none_or(|it| it == 0));
        let waited = match given {
            // The most recent state, or from now on: both include what was acknowledged before.
            None => inner.wait_for_now().await.map(drop),
            Some(least) if options.send_initial_events == Some(true) => inner.wait_for(least).await,
            Some(_) => Ok(()),
        };
        match waited {
            Err(error) if *error.reason() == Reason::ServiceUnavailable => return Err(error),
            Err(error) => return Ok(failed(error)),
            Ok(()) => {}
        }
        let interest = Arc::new(inner.interest(&collection, scope, options));
        let end = options.timeout.map(|timeout| started + timeout);
        let mut again = Vec::new();
        let (phase, generation) = {
            let mut state = inner.state();
            if !state.is_ready() {
                drop(state);
                return inner.check_ready().map(|()| failed(ended()));
            }
            let asked = given.unwrap_or_default();
            let phase = if wants_state {
                let objects = Arc::new(Mutex::new(Some(state.objects.clone())));
                state.lend(Arc::downgrade(&objects));
                let last = options.send_initial_events == Some(true) && options.allow_bookmarks;
                Phase::State { objects, next: None, revision: state.revision, end_bookmark: last }
            } else if asked == 0 {
                Phase::History { after: state.revision }
            } else if asked < state.history.oldest() {
                return Ok(failed(too_old(asked, state.history.oldest())));
            } else if state.history.is_shared(asked) {
                // The client may have heard of one of them and not of the others.
                Phase::History { after: asked - 1 }
            } else {
                again = state.history.shared_edge(asked).unwrap_or_default();
                Phase::History { after: asked }
            };
            (phase, state.generation)
        };
        let mut pending = VecDeque::new();
        again.retain(|item| {
            item.path().starts_with(&*interest.prefix)
                && item.matches(&interest.labels, &interest.fields)
        });
        for item in again {
            tell(&mut pending, EventKind::Added, SharedItem::new(item));
        }
        let watch = Watch {
            inner: inner.clone(),
            interest,
            generation,
            phase,
            pending,
            next_bookmark: options.allow_bookmarks.then(|| bookmark_time(started, end)),
            end,
        };
        Ok(Box::pin(stream::unfold(watch, |mut watch| async move {
            let event = watch.next().await?;
            Some((event, watch))
        })))
    }
}

impl Inner {
    fn interest(&self, collection: &str, scope: &Scope, options: &WatchOptions) -> Interest {
        let fields = &options.field_selector;
        let prefix = &*self.store.path(collection);
        let namespaced = self.store.keys.names_are_unique_in(scope);
        let declared = self.store.kind.fields.iter().enumerate();
        let room = if let (true, Some(name)) = (namespaced, fields.exact_name()) {
            Room::Object(format!("{prefix}{name}").into())
        } else if let Some((place, value)) =
            declared.filter_map(|(place, field)| Some((place, fields.exact(field)?))).next()
        {
            Room::Field(place, value.into())
        } else if let Some(namespace) = scope.namespace() {
            Room::Namespace(namespace.into())
        } else {
            Room::All
        };
        Interest {
            prefix: prefix.into(),
            labels: options.label_selector.clone(),
            fields: fields.clone(),
            room,
        }
    }
}

/// Objects that a reader of the current state has not been told yet. The cache takes them away
/// from one who does not come on.
pub(super) type Lent = Mutex<Option<Objects>>;

enum Phase {
    State { objects: Arc<Lent>, next: Option<Arc<str>>, revision: Revision, end_bookmark: bool },
    History { after: Revision },
    Live { place: Place, receiver: Receiver },
    Over,
}

/// Among the watchers; given up when dropped.
struct Place {
    inner: Arc<Inner>,
    id: u64,
    room: Room,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.state().watchers.leave(self.id, &self.room);
    }
}

struct Watch {
    inner: Arc<Inner>,
    interest: Arc<Interest>,
    generation: u64,
    phase: Phase,
    pending: VecDeque<WatchEvent>,
    /// `None` = the client wants no bookmarks.
    next_bookmark: Option<Instant>,
    end: Option<Instant>,
}

impl Watch {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            // What has been taken is told to its end: it may be one revision.
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            // A client that reads slowly may need its whole time for what has happened already.
            if self.end.is_some_and(|end| end <= Instant::now()) {
                return None;
            }
            match &mut self.phase {
                Phase::State { .. } => self.state(),
                Phase::History { after } => {
                    let after = *after;
                    self.history(after);
                }
                Phase::Live { place, receiver } => {
                    tokio::select! {
                        biased;
                        () = until(self.end) => return None,
                        () = until(self.next_bookmark) => {
                            self.next_bookmark = Some(bookmark_time(Instant::now(), self.end));
                            let mut state = self.inner.state();
                            let revision = state.revision;
                            state.watchers.bookmark(place.id, &place.room, revision);
                        }
                        told = receiver.recv() => match told {
                            Some(told) => self.take(told),
                            None => return None,
                        },
                    }
                }
                Phase::Over => return None,
            }
        }
    }

    /// The next part of the current state.
    fn state(&mut self) {
        let Phase::State { objects, next, revision, end_bookmark } = &mut self.phase else {
            return;
        };
        let revision = *revision;
        let objects = objects.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(objects) = objects else {
            // Taken away: this client was too slow.
            self.phase = Phase::Over;
            return;
        };
        let start = match &next {
            Some(last) => Bound::Excluded(&**last),
            None => Bound::Included(&*self.interest.prefix),
        };
        let mut more = false;
        let mut last = None;
        let rest = objects.range::<_, str>((start, Bound::Unbounded));
        let rest = rest.take_while(|(path, _)| path.starts_with(&*self.interest.prefix));
        for (looked_at, (path, item)) in rest.enumerate() {
            if looked_at == STATE_STEP {
                more = true;
                break;
            }
            last = Some(path.clone());
            if item.matches(&self.interest.labels, &self.interest.fields) {
                let item = SharedItem::new(item.clone());
                tell(&mut self.pending, EventKind::Added, item);
            }
        }
        if more {
            *next = last;
        } else {
            if *end_bookmark {
                self.pending.push_back(WatchEvent::Bookmark { revision, initial_events_end: true });
            }
            self.phase = Phase::History { after: revision };
        }
        self.stop_at_error();
    }

    /// The next part of what happened since, or the place among the watchers.
    fn history(&mut self, after: Revision) {
        let changes = {
            let mut state = self.inner.state();
            let known = state.generation == self.generation && state.is_ready();
            match state.history.after(after, HISTORY_STEP).filter(|_| known) {
                // Forgotten since the last step: as with a full buffer, the client begins again.
                None => {
                    self.phase = Phase::Over;
                    return;
                }
                Some(changes) if changes.is_empty() => {
                    let (id, receiver) = state.watchers.join(self.interest.clone(), after);
                    drop(state);
                    let room = self.interest.room.clone();
                    let place = Place { inner: self.inner.clone(), id, room };
                    self.phase = Phase::Live { place, receiver };
                    return;
                }
                Some(changes) => changes,
            }
        };
        for change in &changes {
            self.told(change);
        }
        let after = changes.last().map_or(after, |change| change.revision);
        self.phase = Phase::History { after };
        self.stop_at_error();
    }

    fn told(&mut self, change: &Arc<Change>) {
        let Some(kind) = self.interest.of(change) else { return };
        let item = match kind {
            EventKind::Deleted => change.gone(),
            EventKind::Added | EventKind::Modified => change.now.clone().map(SharedItem::new),
        };
        if let Some(item) = item {
            tell(&mut self.pending, kind, item);
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::One(kind, item) => tell(&mut self.pending, kind, item),
            Told::Many(all) => {
                for (kind, item) in all {
                    tell(&mut self.pending, kind, item);
                }
            }
            Told::Bookmark(revision) => {
                self.pending.push_back(WatchEvent::Bookmark { revision, initial_events_end: false })
            }
        }
        self.stop_at_error();
    }

    /// An error is the last thing that a client hears.
    fn stop_at_error(&mut self) {
        let is_error = |event: &WatchEvent| matches!(event, WatchEvent::Error(_));
        if let Some(place) = self.pending.iter().position(is_error) {
            self.pending.truncate(place + 1);
            self.phase = Phase::Over;
        }
    }
}

fn tell(pending: &mut VecDeque<WatchEvent>, kind: EventKind, item: Arc<SharedItem>) {
    // What can't be read is reported, not left out.
    pending.push_back(match item.item().json() {
        Ok(_) => WatchEvent::Change(kind, item),
        Err(error) => WatchEvent::Error(error),
    });
}

/// The server stops while a watch begins.
fn ended() -> ApiError {
    ApiError::service_unavailable("the storage is unavailable").with_retry_after(1)
}

impl super::state::State {
    /// Notes what a reader of the current state keeps in memory.
    fn lend(&mut self, objects: Weak<Lent>) {
        self.lent.push_back((Instant::now(), objects));
    }

    /// Forgets what is too old, also while nothing happens.
    pub(super) fn tick(&mut self, now: Instant) {
        self.history.trim(now);
        self.lent.retain(|(since, objects)| {
            let Some(objects) = objects.upgrade() else { return false };
            let late = now.duration_since(*since) > STATE_TIME_MAX;
            if late {
                *objects.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            !late
        });
    }
}

/// Objects looked at in one step.
const STATE_STEP: usize = 128;
/// Changes looked at in one step.
const HISTORY_STEP: usize = 256;
/// A client that has not read the current state by then is ended: its snapshot keeps old objects
/// in memory.
const STATE_TIME_MAX: Duration = Duration::from_secs(300);
