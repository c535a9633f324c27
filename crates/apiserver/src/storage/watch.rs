//! Watches of one kind: initial events, live events through selectors, bookmarks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{expired_watch, parse_revision, read_error};
use super::{EventKind, Item, KvBatch, KvError, KvEvent, KvWatch, ResourceStore, Revision};
use crate::meta::{Object, Scope};
use crate::request::{ListOptions, WatchOptions};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::ApiError;

/// What a watch yields.
#[derive(Debug, Clone)]
pub enum WatchEvent {
    /// Of a deletion, the last content that matched, with the revision of the event.
    Change(EventKind, Arc<SharedItem>),
    /// Everything up to `revision` has been delivered.
    Bookmark { revision: Revision, initial_events_end: bool },
    /// The last item of a failed watch.
    Error(ApiError),
}

/// An item with the forms it has been encoded in, for all who watch it.
#[derive(Debug)]
pub struct SharedItem {
    item: Arc<Item>,
    /// One for each media type that somebody has asked for: few.
    forms: Mutex<Vec<(FormId, Bytes)>>,
}

/// Names an encoding other than the plain JSON; chosen by whoever encodes.
pub type FormId = u32;

impl SharedItem {
    pub(super) fn new(item: Arc<Item>) -> Arc<Self> {
        Arc::new(Self { item, forms: Mutex::default() })
    }

    pub fn item(&self) -> &Arc<Item> {
        &self.item
    }

    /// The item in the form `id`, encoded by the first who wants it.
    ///
    /// # Errors
    /// Those of `encode`, and of an item that can't be decoded.
    pub fn form(
        &self,
        id: FormId,
        encode: impl FnOnce(&Object) -> Result<Bytes, ApiError>,
    ) -> Result<Bytes, ApiError> {
        // Held while encoding: a hundred watchers should wait for one encoding, not make one each.
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = forms.iter().find(|(known, _)| *known == id) {
            return Ok(bytes.clone());
        }
        let bytes = encode(&*self.item.object()?)?;
        forms.push((id, bytes.clone()));
        Ok(bytes)
    }
}

/// Ends at its timeout, after an error, or when the store ends it.
pub type WatchStream = BoxStream<'static, WatchEvent>;

pub(super) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A last bookmark this long before the timeout lets the client resume without replay.
const LAST_BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// How long a watch with initial events waits for a revision that does not exist yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);
const FUTURE_POLL: Duration = Duration::from_millis(100);

impl ResourceStore {
    /// Starts a watch. Failures after the options are accepted come as an ERROR event.
    ///
    /// # Errors
    /// 422 for an unparsable revision; 503 when the store can't be reached.
    pub async fn watch(
        &self,
        scope: &Scope,
        options: &WatchOptions,
    ) -> Result<WatchStream, ApiError> {
        let started = Instant::now();
        let prefix = self.keys.collection(scope)?;
        let asked = parse_revision(&options.resource_version, &self.resource)?;
        let asked = asked.unwrap_or_default();
        let wants_state = options.send_initial_events.unwrap_or(asked == 0);
        let mut pending = VecDeque::new();
        let after = if wants_state {
            match self.initial_events(scope, options, asked, &mut pending).await {
                Ok(revision) => revision,
                Err(error) if error.code() == 503 => return Err(error),
                Err(error) => return Ok(failed(error)),
            }
        } else if asked == 0 {
            self.kv.count(&prefix).await.map_err(read_error)?.1
        } else {
            asked
        };
        let watch = match self.kv.watch(&prefix, after.saturating_add(1)).await {
            Ok(watch) => watch,
            Err(KvError::Compacted { .. }) => return Ok(failed(expired_watch())),
            Err(error) => return Err(read_error(error)),
        };
        let end = options.timeout.map(|timeout| started + timeout);
        let state = Live {
            store: self.clone(),
            labels: options.label_selector.clone(),
            fields: options.field_selector.clone(),
            watch,
            pending,
            revision: after,
            next_bookmark: options.allow_bookmarks.then(|| bookmark_time(started, end)),
            end,
            done: false,
        };
        Ok(Box::pin(stream::unfold(state, |mut live| async move {
            let event = live.next().await?;
            Some((event, live))
        })))
    }

    /// Queues the current state as ADDED events; the revision it was read at.
    async fn initial_events(
        &self,
        scope: &Scope,
        options: &WatchOptions,
        least: Revision,
        pending: &mut VecDeque<WatchEvent>,
    ) -> Result<Revision, ApiError> {
        let list = ListOptions {
            label_selector: options.label_selector.clone(),
            field_selector: options.field_selector.clone(),
            ..ListOptions::default()
        };
        let deadline = Instant::now() + FUTURE_WAIT;
        let listed = loop {
            let listed = self.list(scope, &list).await?;
            if listed.resource_version >= least {
                break listed;
            }
            if Instant::now() >= deadline {
                return Err(ApiError::too_large_resource_version(least, listed.resource_version));
            }
            sleep(FUTURE_POLL).await;
        };
        let revision = listed.resource_version;
        let added = |item| WatchEvent::Change(EventKind::Added, SharedItem::new(item));
        pending.extend(listed.items.into_iter().map(added));
        if options.send_initial_events == Some(true) && options.allow_bookmarks {
            pending.push_back(WatchEvent::Bookmark { revision, initial_events_end: true });
        }
        Ok(revision)
    }
}

pub(super) fn failed(error: ApiError) -> WatchStream {
    Box::pin(stream::iter([WatchEvent::Error(error)]))
}

/// The next regular bookmark, or the last one before the end if that comes first.
pub(super) fn bookmark_time(now: Instant, end: Option<Instant>) -> Instant {
    let regular = now + BOOKMARK_INTERVAL;
    match end.and_then(|end| end.checked_sub(LAST_BOOKMARK_BEFORE_END)) {
        Some(last) if last > now => regular.min(last),
        _ => regular,
    }
}

struct Live {
    store: ResourceStore,
    labels: LabelSelector,
    fields: FieldSelector,
    watch: KvWatch,
    pending: VecDeque<WatchEvent>,
    /// Everything up to here is delivered once `pending` is empty.
    revision: Revision,
    /// `None` = the client wants no bookmarks.
    next_bookmark: Option<Instant>,
    end: Option<Instant>,
    done: bool,
}

impl Live {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.done {
                return None;
            }
            tokio::select! {
                biased;
                () = until(self.end) => return None,
                () = until(self.next_bookmark) => {
                    self.next_bookmark = Some(bookmark_time(Instant::now(), self.end));
                    let revision = self.revision;
                    return Some(WatchEvent::Bookmark { revision, initial_events_end: false });
                }
                batch = self.watch.next() => match batch {
                    Some(Ok(batch)) => self.take(&batch),
                    Some(Err(error)) => self.fail(match error {
                        KvError::Compacted { .. } => expired_watch(),
                        other => read_error(other),
                    }),
                    None => return None,
                },
            }
        }
    }

    fn fail(&mut self, error: ApiError) {
        self.pending.push_back(WatchEvent::Error(error));
        self.done = true;
    }

    fn take(&mut self, batch: &KvBatch) {
        for event in &batch.events {
            match self.translate(event) {
                Ok(Some(event)) => self.pending.push_back(event),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
        }
        self.revision = self.revision.max(batch.revision);
    }

    fn translate(&self, event: &KvEvent) -> Result<Option<WatchEvent>, ApiError> {
        let kind = match event.previous {
            Some(_) => EventKind::Modified,
            None => EventKind::Added,
        };
        let path = self.store.path(&event.key);
        let item = |value: &Option<Bytes>| {
            value
                .as_ref()
                .map(|value| Item::new(&self.store.kind, path.clone(), value, event.revision, kind))
        };
        let (before, now) = (item(&event.previous), item(&event.value));
        let told = transition(before.as_ref(), now.as_ref(), &self.labels, &self.fields);
        let Some(kind) = told else { return Ok(None) };
        let item = match (kind, before, now) {
            (EventKind::Deleted, Some(before), _) => before.deleted_at(event.revision),
            (_, _, Some(now)) => now,
            _ => return Ok(None),
        };
        item.json()?;
        Ok(Some(WatchEvent::Change(kind, SharedItem::new(Arc::new(item)))))
    }
}

/// What a watcher with these selectors is told of a change, if anything.
pub(super) fn transition(
    before: Option<&Item>,
    now: Option<&Item>,
    labels: &LabelSelector,
    fields: &FieldSelector,
) -> Option<EventKind> {
    let selected = |item: Option<&Item>| item.is_some_and(|item| item.matches(labels, fields));
    match (selected(before), selected(now)) {
        (false, false) => None,
        (false, true) => Some(EventKind::Added),
        (true, true) => Some(EventKind::Modified),
        (true, false) => Some(EventKind::Deleted),
    }
}

pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
