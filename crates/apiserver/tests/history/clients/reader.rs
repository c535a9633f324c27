//! A client that gets and lists.

use std::time::Duration;

use apiserver::tasks::CancellationToken;
use http::Method;
use rand::Rng as _;
use serde_json::Value;
use tokio::time::sleep;

use super::{Actor, Answer, Ask, Query, collection, object};
use crate::model::history::{
    Failure, Filter, Get, GetOutcome, List, Micros, Page, Revision, Seen, Selector, Span, Version,
};

impl Actor {
    /// Reads until `stop`.
    pub(crate) async fn read(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if self.rng.random_bool(0.4) {
                let (namespace, name) = self.key();
                let version = match self.rng.random_range(0..4) {
                    0 | 1 => Version::Latest,
                    2 => Version::Any,
                    _ => Version::AtLeast(self.recent(20)),
                };
                self.get(&namespace, &name, version).await;
            } else {
                self.list_somehow().await;
            }
            sleep(Duration::from_millis(self.rng.random_range(0..PAUSE_MAX_MS))).await;
        }
    }

    pub(super) async fn read_for_update(
        &mut self,
        namespace: &str,
        name: &str,
    ) -> Option<(Revision, Value)> {
        let object = self.get(namespace, name, Version::Latest).await?;
        Some((Seen::of(&object)?.revision, object))
    }

    async fn get(&mut self, namespace: &str, name: &str, version: Version) -> Option<Value> {
        let mut ask = object(Method::GET, namespace, name, None);
        match version {
            Version::Latest => {}
            Version::Any => ask.path.push_str("?resourceVersion=0"),
            Version::AtLeast(revision) | Version::Exact(revision) => {
                ask.path.push_str(&format!("?resourceVersion={revision}"));
            }
        }
        let replica = self.replica();
        let (answer, start, end) = self.timed(replica, ask).await;
        let seen = answer.as_ref().ok().and_then(|answer| Seen::of(&answer.body));
        let outcome = match (&answer, &seen) {
            (Ok(Answer { code: 200, .. }), Some(seen)) => GetOutcome::Found(seen.clone()),
            (Ok(Answer { code: 404, .. }), _) => GetOutcome::Absent,
            (Ok(answer), _) => GetOutcome::Failed { code: answer.code },
            (Err(_), _) => GetOutcome::Failed { code: 0 },
        };
        let span = Span { client: self.name.clone(), replica, start, end };
        let get = Get { span, key: format!("{namespace}/{name}"), version, outcome };
        self.recorder.add(|history| history.gets.push(get));
        let body = answer.ok()?.body;
        self.board.saw_object(&seen?, &body);
        Some(body)
    }

    async fn list_somehow(&mut self) {
        let filter = self.filter();
        let limit = if self.rng.random_bool(0.5) { self.rng.random_range(1..8) } else { 0 };
        let mut query = Query::of(&filter);
        let version = match self.rng.random_range(0..20) {
            0..=6 => Version::Latest,
            7..=9 => Version::Any,
            10..=13 => Version::AtLeast(self.recent(30)),
            // Some of them compacted already.
            _ => Version::Exact(self.recent(400)),
        };
        match version {
            Version::Latest => {}
            Version::Any => query.put("resourceVersion", 0),
            Version::AtLeast(revision) => {
                query.put("resourceVersion", revision);
                // Without a limit the match may be left out.
                if limit > 0 || self.rng.random_bool(0.5) {
                    query.put("resourceVersionMatch", "NotOlderThan");
                }
            }
            Version::Exact(revision) => {
                query.put("resourceVersion", revision);
                // With a limit the match may be left out.
                if limit == 0 || self.rng.random_bool(0.5) {
                    query.put("resourceVersionMatch", "Exact");
                }
            }
        }
        self.list(filter, version, limit, query).await;
    }

    /// Everything there is, as one replica sees it.
    pub(crate) async fn list_all(&mut self, replica: usize) {
        let filter = Filter { namespace: None, selector: Selector::Everything };
        let mut list = List::begin(&self.name, String::new(), filter, Version::Latest, 0);
        self.page(&mut list, replica, "").await;
        self.recorder.add(|history| history.lists.push(list));
    }

    /// All pages, each from some replica; the revision they were of.
    pub(super) async fn list(
        &mut self,
        filter: Filter,
        version: Version,
        limit: usize,
        mut query: Query,
    ) -> Option<Revision> {
        if limit > 0 {
            query.put("limit", limit);
        }
        let query = query.finish();
        let mut list = List::begin(&self.name, query.clone(), filter, version, limit);
        let mut query = query;
        loop {
            let replica = self.replica();
            let token = self.page(&mut list, replica, &query).await;
            let revision = list.pages.last().map(|page| page.revision);
            let Some(token) = token else {
                let complete = list.failure.is_none();
                self.recorder.add(|history| history.lists.push(list));
                return revision.filter(|_| complete);
            };
            let mut next = Query::of(&list.filter);
            next.put("limit", limit);
            next.put("continue", token);
            query = next.finish();
            if list.failure.is_some() {
                // The remainder, of another revision: a list of its own.
                let last = list.pages.last().and_then(|page| page.items.last());
                let rest = List {
                    query: query.clone(),
                    version: Version::Latest,
                    after: last.map(|seen| seen.key.clone()).or_else(|| list.after.clone()),
                    pages: Vec::new(),
                    failure: None,
                    ..list.clone()
                };
                let part = std::mem::replace(&mut list, rest);
                self.recorder.add(|history| history.lists.push(part));
            }
            // Time for a compaction to come between.
            let pause = if self.rng.random_bool(0.1) { 1500 } else { 60 };
            sleep(Duration::from_millis(self.rng.random_range(0..pause))).await;
        }
    }

    /// Adds a page or a failure; the token to go on with, if there is one.
    async fn page(&mut self, list: &mut List, replica: usize, query: &str) -> Option<String> {
        let path = format!("{}?{query}", collection(list.filter.namespace.as_deref()));
        let (answer, start, end) = self.timed(replica, Ask::get(path)).await;
        let token = |answer: &Answer| {
            let token = answer.body.pointer("/metadata/continue")?.as_str()?;
            (!token.is_empty()).then(|| token.to_owned())
        };
        let failed = |code, detail| Some(Failure { start, end, code, detail });
        match answer {
            Ok(answer) if answer.code == 200 => match page(&answer, (replica, start, end)) {
                Some(page) => {
                    self.board.saw(page.revision);
                    list.pages.push(page);
                    token(&answer)
                }
                None => {
                    list.failure = failed(200, format!("not a list of ours: {}", answer.body));
                    None
                }
            },
            Ok(answer) => {
                list.failure = failed(answer.code, answer.text("message").to_owned());
                token(&answer)
            }
            Err(error) => {
                list.failure = failed(0, format!("{error:#}"));
                None
            }
        }
    }
}

fn page(answer: &Answer, (replica, start, end): (usize, Micros, Micros)) -> Option<Page> {
    let metadata = answer.body.get("metadata")?;
    let items = answer.body.get("items")?.as_array()?;
    Some(Page {
        replica,
        start,
        end,
        revision: metadata.get("resourceVersion")?.as_str()?.parse().ok()?,
        items: items.iter().map(Seen::of).collect::<Option<_>>()?,
        remaining: metadata.get("remainingItemCount").and_then(Value::as_u64),
        more: metadata.get("continue").and_then(Value::as_str).is_some_and(|t| !t.is_empty()),
    })
}

const PAUSE_MAX_MS: u64 = 80;
