//! Lists: revisions, pages, selectors.

use std::sync::Arc;

use super::error::{expired_continue, expired_list, parse_revision, read_error};
use super::{ContinueToken, KvError, Listed, Page, ResourceStore, Revision};
use crate::meta::{Object, ObjectKey, Scope};
use crate::request::{ListOptions, ResourceVersionMatch};
use crate::status::ApiError;

/// A page of objects, or all of them.
#[derive(Debug, Clone)]
pub struct ObjectList {
    pub items: Vec<Arc<Object>>,
    /// The same on every page.
    pub resource_version: Revision,
    /// Empty on the last page.
    pub continue_token: String,
    /// Known only without selectors.
    pub remaining_item_count: Option<u64>,
}

/// The most keys fetched at once for a page that a selector keeps from filling.
const FETCH_KEYS_MAX: usize = 10_000;

/// What to read.
struct Plan {
    prefix: String,
    start: Option<String>,
    at: Option<Revision>,
    /// The answer may not be older than this.
    least: Revision,
    /// Set on pages after the first: where this one starts, relative to the prefix.
    continued: Option<String>,
}

impl ResourceStore {
    /// A consistent list, in key order.
    ///
    /// # Errors
    /// 400 for a continue token not of our making, 410 when the asked revision is compacted, 504
    /// when it is in the future, 500 when a value can't be decoded.
    pub async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<ObjectList, ApiError> {
        let plan = self.plan(scope, options)?;
        if plan.continued.is_none()
            && self.keys.names_are_unique_in(scope)
            && let Some(name) = options.field_selector.exact_name()
        {
            let namespace = scope.namespace().map(str::to_owned);
            // A name that no object can have selects nothing, which is no error.
            if let Ok(path) = self.keys.object(&ObjectKey { namespace, name: name.to_owned() }) {
                return self.list_one(&path, &plan, options).await;
            }
        }
        self.list_pages(plan, options).await
    }

    fn plan(&self, scope: &Scope, options: &ListOptions) -> Result<Plan, ApiError> {
        let prefix = self.keys.collection(scope)?;
        let asked = parse_revision(&options.resource_version, &self.resource)?.unwrap_or_default();
        if !options.continue_token.is_empty() {
            if asked != 0 {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = ContinueToken::decode(&options.continue_token)?;
            return Ok(Plan {
                start: Some(format!("{prefix}{}", token.start)),
                prefix,
                at: (token.revision > 0).then_some(token.revision),
                least: 0,
                continued: Some(token.start),
            });
        }
        let exact = match options.resource_version_match {
            Some(ResourceVersionMatch::Exact) => true,
            Some(ResourceVersionMatch::NotOlderThan) => false,
            // Older clients page like this from a revision they know.
            None => options.limit > 0,
        };
        let at = (asked > 0 && exact).then_some(asked);
        Ok(Plan { prefix, start: None, at, least: asked, continued: None })
    }

    async fn list_one(
        &self,
        path: &str,
        plan: &Plan,
        options: &ListOptions,
    ) -> Result<ObjectList, ApiError> {
        let got = self.kv.get(path, plan.at).await.map_err(|error| list_error(error, plan))?;
        let revision = plan.at.unwrap_or(got.revision);
        check_least(plan.least, got.revision)?;
        let mut items = Vec::new();
        if let Some(kv) = got.kv {
            let object = self.decode(&kv.key, &kv.value, kv.mod_revision)?;
            if matches(options, &object) {
                items.push(Arc::new(object));
            }
        }
        Ok(ObjectList {
            items,
            resource_version: revision,
            continue_token: String::new(),
            remaining_item_count: None,
        })
    }

    async fn list_pages(
        &self,
        mut plan: Plan,
        options: &ListOptions,
    ) -> Result<ObjectList, ApiError> {
        let filtered = !options.label_selector.is_empty() || !options.field_selector.is_empty();
        let mut fetch = options.limit;
        let mut items = Vec::new();
        loop {
            let page =
                Page { start: plan.start.clone(), limit: fetch, at: plan.at, ..Page::default() };
            let listed: Listed =
                self.kv.list(&plan.prefix, page).await.map_err(|error| list_error(error, &plan))?;
            check_least(plan.least, listed.revision)?;
            let revision = listed.revision;
            // Every further read of this list is at the first one's revision.
            plan.at = Some(revision);
            let fetched = listed.items.len();
            let mut last_key = None;
            let mut consumed = 0_u64;
            for kv in listed.items {
                let object = self.decode(&kv.key, &kv.value, kv.mod_revision)?;
                consumed += 1;
                last_key = Some(kv.key);
                if matches(options, &object) {
                    items.push(Arc::new(object));
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
                    return Ok(ObjectList {
                        items,
                        resource_version: revision,
                        continue_token: String::new(),
                        remaining_item_count: None,
                    });
                }
            };
            if full {
                let start = next.strip_prefix(&plan.prefix).unwrap_or(&next).to_owned();
                return Ok(ObjectList {
                    items,
                    resource_version: revision,
                    continue_token: ContinueToken { start, revision }.encode(),
                    remaining_item_count: (!filtered).then_some(remaining),
                });
            }
            plan.start = Some(next);
            fetch = fetched.saturating_mul(2).clamp(1, FETCH_KEYS_MAX);
        }
    }
}

fn matches(options: &ListOptions, object: &Object) -> bool {
    options.label_selector.matches(object) && options.field_selector.matches(object)
}

fn check_least(least: Revision, revision: Revision) -> Result<(), ApiError> {
    if least > revision {
        return Err(ApiError::too_large_resource_version(least, revision));
    }
    Ok(())
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
