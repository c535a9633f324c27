//! Lists: which revision, pages, selectors.

use std::sync::Arc;

use super::error::{expired_continue, expired_list, parse_revision, read_error, unreadable_list};
use super::{ContinueToken, Item, KvError, Listed, Page, ResourceStore, Revision};
use crate::meta::{ObjectKey, Scope};
use crate::request::{ListOptions, ResourceVersionMatch};
use crate::status::ApiError;

/// A page of objects, or all of them.
#[derive(Debug, Clone)]
pub struct ObjectList {
    /// In the order of their keys; each of them can be read.
    pub items: Vec<Arc<Item>>,
    /// The same on every page.
    pub resource_version: Revision,
    /// Empty on the last page.
    pub continue_token: String,
    /// Known only without selectors.
    pub remaining_item_count: Option<u64>,
}

/// As of when a list is wanted (`[apiserver] pkg/storage/cacher/delegator/interface.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Everything that was acknowledged before the request.
    Latest,
    /// Whatever is at hand.
    Any,
    NotOlderThan(Revision),
    Exact(Revision),
}

/// What a list request asks for.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of all keys of the scope, with its slash at the end.
    pub(super) prefix: String,
    pub(super) when: When,
    /// Set on pages after the first: where this one starts, relative to the prefix.
    pub(super) continued: Option<String>,
}

/// The most keys fetched at once for a page that a selector keeps from filling.
const FETCH_KEYS_MAX: usize = 10_000;

impl ResourceStore {
    /// A consistent list, in key order, straight from the store.
    ///
    /// # Errors
    /// 400 for a continue token not of our making, 410 when the asked revision is compacted, 504
    /// when it is in the future, 500 when a value can't be decoded.
    pub async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<ObjectList, ApiError> {
        let plan = self.plan(scope, options)?;
        if let Some(path) = self.single(scope, &plan, options) {
            return self.list_one(&path, &plan, options).await;
        }
        self.list_pages(plan, options).await
    }

    pub(super) fn plan(&self, scope: &Scope, options: &ListOptions) -> Result<Plan, ApiError> {
        let prefix = self.keys.collection(scope)?;
        let given = parse_revision(&options.resource_version, &self.resource)?;
        let asked = given.unwrap_or_default();
        if !options.continue_token.is_empty() {
            if asked != 0 {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = ContinueToken::decode(&options.continue_token)?;
            let when = if token.revision > 0 { When::Exact(token.revision) } else { When::Latest };
            return Ok(Plan { prefix, when, continued: Some(token.start) });
        }
        let exact = match options.resource_version_match {
            Some(ResourceVersionMatch::Exact) => true,
            Some(ResourceVersionMatch::NotOlderThan) => false,
            // Older clients page like this from a revision they know.
            None => options.limit > 0,
        };
        let when = match asked {
            0 if given.is_none() => When::Latest,
            0 => When::Any,
            asked if exact => When::Exact(asked),
            asked => When::NotOlderThan(asked),
        };
        Ok(Plan { prefix, when, continued: None })
    }

    /// The key of the one object that the selector leaves, if it names one in this scope. A name
    /// that no object can have selects nothing, which is no error.
    pub(super) fn single(
        &self,
        scope: &Scope,
        plan: &Plan,
        options: &ListOptions,
    ) -> Option<String> {
        if plan.continued.is_some() || !self.keys.names_are_unique_in(scope) {
            return None;
        }
        let name = options.field_selector.exact_name()?.to_owned();
        let namespace = scope.namespace().map(str::to_owned);
        self.keys.object(&ObjectKey { namespace, name }).ok()
    }

    async fn list_one(
        &self,
        key: &str,
        plan: &Plan,
        options: &ListOptions,
    ) -> Result<ObjectList, ApiError> {
        let at = plan.when.exact();
        let got = self.kv.get(key, at).await.map_err(|error| list_error(error, plan))?;
        plan.when.check(got.revision)?;
        let mut items: Vec<_> = got.kv.iter().map(|kv| self.item(kv)).collect();
        items.retain(|item| matches(options, item));
        self.check_readable(&items)?;
        Ok(ObjectList::complete(items, at.unwrap_or(got.revision)))
    }

    async fn list_pages(&self, plan: Plan, options: &ListOptions) -> Result<ObjectList, ApiError> {
        let mut start = plan.continued.as_ref().map(|start| format!("{}{start}", plan.prefix));
        let mut at = plan.when.exact();
        let mut fetch = options.limit;
        let mut items = Vec::new();
        loop {
            let page = Page { start: start.clone(), limit: fetch, at, ..Page::default() };
            let listed: Listed =
                self.kv.list(&plan.prefix, page).await.map_err(|error| list_error(error, &plan))?;
            plan.when.check(listed.revision)?;
            let revision = listed.revision;
            // Every further read of this list is at the first one's revision.
            at = Some(revision);
            let fetched = listed.items.len();
            let mut last_key = None;
            let mut consumed = 0_u64;
            for kv in listed.items {
                let item = self.item(&kv);
                consumed += 1;
                last_key = Some(kv.key);
                if matches(options, &item) {
                    items.push(item);
                    if options.limit > 0 && items.len() >= options.limit {
                        break;
                    }
                }
            }
            let remaining = listed.count.saturating_sub(consumed);
            let full = options.limit > 0 && items.len() >= options.limit;
            let next = match last_key {
                Some(key) if remaining > 0 => format!("{key}\0"),
                _ => {
                    self.check_readable(&items)?;
                    return Ok(ObjectList::complete(items, revision));
                }
            };
            if full {
                self.check_readable(&items)?;
                let next = next.strip_prefix(&plan.prefix).unwrap_or(&next).to_owned();
                return Ok(ObjectList::page(items, revision, next, remaining, options));
            }
            start = Some(next);
            fetch = fetched.saturating_mul(2).clamp(1, FETCH_KEYS_MAX);
        }
    }

    /// # Errors
    /// 500 naming those that can't be decoded: leaving them out would tell that they are gone.
    pub(super) fn check_readable(&self, items: &[Arc<Item>]) -> Result<(), ApiError> {
        let broken: Vec<&Item> =
            items.iter().map(AsRef::as_ref).filter(|item| item.broken().is_some()).collect();
        if broken.is_empty() {
            return Ok(());
        }
        Err(unreadable_list(&self.resource, &broken))
    }
}

impl ObjectList {
    pub(super) fn complete(items: Vec<Arc<Item>>, revision: Revision) -> Self {
        Self {
            items,
            resource_version: revision,
            continue_token: String::new(),
            remaining_item_count: None,
        }
    }

    /// A page with more behind it; `next` is relative to the prefix.
    pub(super) fn page(
        items: Vec<Arc<Item>>,
        revision: Revision,
        next: String,
        remaining: u64,
        options: &ListOptions,
    ) -> Self {
        let filtered = !options.label_selector.is_empty() || !options.field_selector.is_empty();
        Self {
            items,
            resource_version: revision,
            continue_token: ContinueToken { start: next, revision }.encode(),
            remaining_item_count: (!filtered).then_some(remaining),
        }
    }
}

impl When {
    pub(super) fn exact(self) -> Option<Revision> {
        match self {
            Self::Exact(revision) => Some(revision),
            _ => None,
        }
    }

    /// # Errors
    /// 504 when what was read at `revision` is older than asked.
    fn check(self, revision: Revision) -> Result<(), ApiError> {
        match self {
            Self::NotOlderThan(least) if least > revision => {
                Err(ApiError::too_large_resource_version(least, revision))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn matches(options: &ListOptions, item: &Item) -> bool {
    item.matches(&options.label_selector, &options.field_selector)
}

fn list_error(error: KvError, plan: &Plan) -> ApiError {
    match (error, &plan.continued) {
        (KvError::Compacted { .. }, Some(start)) => {
            expired_continue(ContinueToken { start: start.clone(), revision: -1 }.encode())
        }
        (KvError::Compacted { .. }, None) => expired_list(),
        (other, _) => read_error(other),
    }
}
