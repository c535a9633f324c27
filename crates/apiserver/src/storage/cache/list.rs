//! Lists from the cache.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::list::{Plan, When, matches};
use super::super::{Item, ObjectList, Revision};
use super::Cacher;
use super::history::Objects;
use super::state::State;
use crate::meta::Scope;
use crate::request::ListOptions;
use crate::status::{ApiError, Reason};

/// Where the objects of a list come from.
enum Source {
    Map(Objects),
    /// In the order of their paths, already narrowed by an index.
    Found(Vec<Arc<Item>>),
}

impl Cacher {
    /// A consistent list, in key order. What the cache can't know, the store is asked.
    ///
    /// # Errors
    /// As [`super::super::ResourceStore::list`]; 429 while the cache is being filled.
    pub async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<ObjectList, ApiError> {
        let inner = &*self.inner;
        let plan = inner.store.plan(scope, options)?;
        if let Err(error) = inner.check_ready() {
            let exact = matches!(plan.when, When::Exact(_)) || plan.continued.is_some();
            let cheap = options.limit > 0
                && options.label_selector.is_empty()
                && options.field_selector.is_empty();
            // Everything else could be a herd of large lists.
            if exact || (cheap && plan.when == When::Latest) {
                return inner.store.list(scope, options).await;
            }
            return Err(error);
        }
        match plan.when {
            When::Exact(revision) => self.list_exact(scope, options, &plan, revision).await,
            When::Any => Ok(self.list_current(&plan, options)?),
            When::NotOlderThan(least) => {
                inner.wait_for(least).await?;
                self.list_current(&plan, options)
            }
            When::Latest => {
                inner.counters.consistent_reads.fetch_add(1, Ordering::Relaxed);
                match inner.wait_for_now().await {
                    Ok(_) => self.list_current(&plan, options),
                    // The store is there, but its watch does not come along.
                    Err(error) if *error.reason() == Reason::Timeout => {
                        inner.counters.fallbacks.fetch_add(1, Ordering::Relaxed);
                        inner.store.list(scope, options).await
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn list_current(&self, plan: &Plan, options: &ListOptions) -> Result<ObjectList, ApiError> {
        let (source, revision) = {
            let state = self.inner.state();
            #[cfg(feature = "test-util")]
            if let Some(stale) = self.stale(&state, plan) {
                return self.answer(Source::Map(stale), state.revision, plan, options);
            }
            (self.source(&state, options), state.revision)
        };
        self.answer(source, revision, plan, options)
    }

    fn source(&self, state: &State, options: &ListOptions) -> Source {
        let kind = &self.inner.store.kind;
        let by_field = kind.fields.iter().map(|field| options.field_selector.exact(field));
        let by_label = kind.labels.iter().map(|label| options.label_selector.exact(label));
        for (place, value) in by_field.chain(by_label).enumerate() {
            if let Some(value) = value {
                return Source::Found(state.with_value(place, value));
            }
        }
        Source::Map(state.objects.clone())
    }

    /// The planted bug: the objects of a while ago.
    #[cfg(feature = "test-util")]
    fn stale(&self, state: &State, plan: &Plan) -> Option<Objects> {
        let wrong = self.inner.options.planted == super::super::Planted::StaleList;
        if !wrong || plan.when != When::Latest {
            return None;
        }
        let before = state.revision.saturating_sub(3).max(state.history.oldest());
        state.history.way_to(before, &state.objects).map(super::history::WayBack::go)
    }

    async fn list_exact(
        &self,
        scope: &Scope,
        options: &ListOptions,
        plan: &Plan,
        revision: Revision,
    ) -> Result<ObjectList, ApiError> {
        let inner = &*self.inner;
        inner.wait_for(revision).await?;
        let way = {
            let state = inner.state();
            state.history.way_to(revision, &state.objects)
        };
        match way {
            Some(way) => self.answer(Source::Map(way.go()), revision, plan, options),
            // The store remembers longer, or says that it does not.
            None => inner.store.list(scope, options).await,
        }
    }

    fn answer(
        &self,
        source: Source,
        revision: Revision,
        plan: &Plan,
        options: &ListOptions,
    ) -> Result<ObjectList, ApiError> {
        let store = &self.inner.store;
        // Relative to the kind, as the paths are.
        let prefix = &*store.path(&plan.prefix);
        let start = format!("{prefix}{}", plan.continued.as_deref().unwrap_or_default());
        // Whoever takes any revision gets all of it (`[apiserver] cacher.go` computeListLimit).
        let limit = if plan.when == When::Any { 0 } else { options.limit };
        let (items, last, rest) = match &source {
            Source::Map(objects) => {
                let from = (Bound::Included(start.as_str()), Bound::Unbounded);
                let items = objects.range::<_, str>(from).map(|(_, item)| item);
                page(items, prefix, limit, options)
            }
            Source::Found(items) => {
                let first = items.partition_point(|item| **item.path() < *start);
                page(items[first..].iter(), prefix, limit, options)
            }
        };
        store.check_readable(&items)?;
        match last {
            Some(last) if rest > 0 => {
                let next = last.strip_prefix(prefix).unwrap_or(&last);
                Ok(ObjectList::page(items, revision, format!("{next}\0"), rest, options))
            }
            _ => Ok(ObjectList::complete(items, revision)),
        }
    }
}

/// The selected items of a page, the path of the last one looked at, and how many lie behind it
/// (with selectors only whether any do).
fn page<'a>(
    items: impl Iterator<Item = &'a Arc<Item>>,
    prefix: &str,
    limit: usize,
    options: &ListOptions,
) -> (Vec<Arc<Item>>, Option<Arc<str>>, u64) {
    let plain = options.label_selector.is_empty() && options.field_selector.is_empty();
    let mut items = items.take_while(|item| item.path().starts_with(prefix));
    let mut selected = Vec::new();
    for item in items.by_ref() {
        if plain || matches(options, item) {
            selected.push(item.clone());
            if limit > 0 && selected.len() >= limit {
                let rest = if plain { items.count() } else { items.take(1).count() };
                return (selected, Some(item.path().clone()), rest as u64);
            }
        }
    }
    (selected, None, 0)
}
