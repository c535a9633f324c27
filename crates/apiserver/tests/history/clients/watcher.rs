//! A client that watches, resumes and sometimes reads slowly.

use std::time::Duration;

use anyhow::{Context as _, Result};
use apiserver::tasks::CancellationToken;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use rand::Rng as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Actor, Ask, Query, collection};
use crate::model::history::{
    Begin, Event, Failure, Filter, Item, Kind, Revision, Seen, Span, Version, Watch,
};

/// How fast a watcher reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Quick,
    /// Little buffer, long pauses.
    Slow,
}

impl Actor {
    /// Watches until `goal` is set and this watcher has heard of everything up to it.
    pub(crate) async fn watch(
        mut self,
        pace: Pace,
        mut goal: watch::Receiver<Option<Revision>>,
        stop: CancellationToken,
    ) -> bool {
        let mut filter = self.filter();
        // Everything up to here has been delivered.
        let mut cursor = None;
        while !stop.is_cancelled() {
            let last = *goal.borrow_and_update();
            if let (Some(last), Some(cursor)) = (last, cursor)
                && cursor >= last
            {
                return true;
            }
            if cursor.is_none() || (last.is_none() && self.rng.random_bool(0.2)) {
                cursor = None;
                filter = self.filter();
            }
            let pace = if last.is_some() { Pace::Quick } else { pace };
            if cursor.is_none() && self.rng.random_bool(0.5) {
                cursor = self.list(filter.clone(), Version::Latest, 0, Query::of(&filter)).await;
            }
            let watch = stop
                .run_until_cancelled(self.watch_once(&filter, cursor, pace, &goal))
                .await
                .flatten();
            let Some((watch, reached)) = watch else { return false };
            let failed = watch.failure.is_some();
            let expired = watch.failure.as_ref().is_some_and(|failure| failure.code == 410);
            self.recorder.add(|history| history.watches.push(watch));
            cursor = reached.filter(|_| !expired);
            if last.is_none() && self.rng.random_bool(0.1) {
                // Away for so long that a compaction may have come between.
                sleep(Duration::from_millis(self.rng.random_range(1000..4000))).await;
            } else if failed {
                sleep(Duration::from_millis(self.rng.random_range(10..300))).await;
            }
        }
        false
    }

    /// One watch; the record, and how far it has come.
    async fn watch_once(
        &mut self,
        filter: &Filter,
        cursor: Option<Revision>,
        pace: Pace,
        goal: &watch::Receiver<Option<Revision>>,
    ) -> Option<(Watch, Option<Revision>)> {
        let ending = goal.borrow().is_some();
        let mut query = Query::of(filter);
        query.put("watch", "1");
        let seconds = if ending { 4 } else { self.rng.random_range(3..12) };
        query.put("timeoutSeconds", seconds);
        let bookmarks = ending || self.rng.random_bool(0.7);
        if bookmarks {
            query.put("allowWatchBookmarks", true);
        }
        let begin = self.begin(cursor, bookmarks, &mut query);
        let query = query.finish();
        let replica = self.replica();
        let start = self.recorder.now();
        let span = Span { client: self.name.clone(), replica, start, end: start };
        let items = Vec::new();
        let mut watch = Watch { span, query, filter: filter.clone(), begin, items, failure: None };
        let path = format!("{}?{}", collection(filter.namespace.as_deref()), watch.query);
        let receive_bytes = (pace == Pace::Slow).then_some(RECEIVE_BYTES);
        let patience = Duration::from_secs(seconds) + PATIENCE;
        let failure = match self.wire.stream(replica, Ask::get(path), receive_bytes).await {
            Ok(answer) if answer.status() != 200 => {
                Some((answer.status().as_u16(), "instead of a stream".to_owned()))
            }
            Ok(answer) => self.follow(&mut watch, answer.into_body(), (pace, patience), goal).await,
            Err(error) => Some((0, format!("{error:#}"))),
        };
        watch.span.end = self.recorder.now();
        let end = watch.span.end;
        watch.failure = failure.map(|(code, detail)| Failure { start, end, code, detail });
        let reached = reached(&watch);
        Some((watch, reached))
    }

    fn begin(&mut self, cursor: Option<Revision>, bookmarks: bool, query: &mut Query) -> Begin {
        if let Some(mut revision) = cursor {
            // Now and then from a revision that is yet to come.
            if self.rng.random_bool(0.03) {
                revision += self.rng.random_range(1..20);
            }
            query.put("resourceVersion", revision);
            return Begin::After(revision);
        }
        let (version, text) = match self.rng.random_range(0..4) {
            0 | 1 => (Version::Latest, String::new()),
            2 => (Version::Any, "0".to_owned()),
            _ => {
                let revision = self.recent(30);
                (Version::AtLeast(revision), revision.to_string())
            }
        };
        // Only 0 and nothing mean "the state first" by themselves.
        let streamed = matches!(version, Version::AtLeast(_)) || self.rng.random_bool(0.5);
        if streamed {
            query.put("sendInitialEvents", true);
            query.put("resourceVersionMatch", "NotOlderThan");
        }
        query.put("resourceVersion", text);
        Begin::State { version, marked: streamed && bookmarks }
    }

    /// Reads until the stream ends; code and detail of a failure.
    async fn follow(
        &mut self,
        watch: &mut Watch,
        mut body: Incoming,
        (pace, patience): (Pace, Duration),
        goal: &watch::Receiver<Option<Revision>>,
    ) -> Option<(u16, String)> {
        let mut buffer = BytesMut::new();
        loop {
            let frame = match timeout(patience, body.frame()).await {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Some((0, error.to_string())),
                Err(_) => return Some((0, format!("silent for {patience:?}"))),
            };
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1);
                match event(&line) {
                    Ok(Ok((event, object))) => {
                        match &event {
                            Event::Object(_, seen) => self.board.saw_object(seen, &object),
                            Event::Bookmark { .. } => {}
                        }
                        watch.items.push(Item { at: self.recorder.now(), event });
                    }
                    Ok(Err(failure)) => return Some(failure),
                    Err(error) => return Some((200, format!("{error:#}"))),
                }
            }
            let ending = goal.borrow().is_some();
            if pace == Pace::Slow && ending {
                // What waits in the kernel's buffers for so small a window would take minutes.
                return None;
            }
            if pace == Pace::Slow && self.rng.random_bool(0.1) {
                sleep(Duration::from_millis(self.rng.random_range(200..5000))).await;
            }
        }
    }
}

/// Up to where everything has been delivered.
fn reached(watch: &Watch) -> Option<Revision> {
    let last = watch.items.last().map(|item| item.event.revision());
    match watch.begin {
        Begin::After(revision) => Some(last.unwrap_or(revision)),
        // Initial events come in no order: only a bookmark says that they are through.
        Begin::State { .. } => last.filter(|_| {
            watch.items.iter().any(|item| matches!(item.event, Event::Bookmark { .. }))
        }),
    }
}

/// One line: an event, or code and message of an ERROR.
fn event(line: &[u8]) -> Result<Result<(Event, Value), (u16, String)>> {
    let mut line: Value = serde_json::from_slice(line)?;
    let object = line.get_mut("object").map(Value::take).context("no object")?;
    let kind = match line.get("type").and_then(Value::as_str).context("no type")? {
        "ADDED" => Kind::Added,
        "MODIFIED" => Kind::Modified,
        "DELETED" => Kind::Deleted,
        "BOOKMARK" => {
            let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
            let revision = text.context("a bookmark without resourceVersion")?.parse()?;
            let mark = object.pointer("/metadata/annotations/k8s.io~1initial-events-end");
            return Ok(Ok((Event::Bookmark { revision, ends_initial: mark.is_some() }, object)));
        }
        "ERROR" => {
            let code = object.get("code").and_then(Value::as_u64).context("no code")?;
            let message = object.get("message").and_then(Value::as_str).unwrap_or_default();
            return Ok(Err((u16::try_from(code)?, message.to_owned())));
        }
        other => anyhow::bail!("an event of type {other}"),
    };
    let seen = Seen::of(&object).context("not one of our objects")?;
    Ok(Ok((Event::Object(kind, seen), object)))
}

/// The kernel doubles it, and has a minimum of its own.
const RECEIVE_BYTES: u32 = 2048;
/// After a stream should have ended by itself.
const PATIENCE: Duration = Duration::from_secs(15);
