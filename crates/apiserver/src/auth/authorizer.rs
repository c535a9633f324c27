//! May they: the only maker of [`Permit`]s.
//!
//! Rules: `k8s.io/apiserver/pkg/server/options/authorization.go`, the texts
//! `pkg/endpoints/handlers/responsewriters/errors.go`, the cache
//! `plugin/pkg/authorizer/webhook/webhook.go`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tracing::warn;

use super::{AccessReviewer, Attributes, Decision, Permit, User};
use crate::meta::GroupResource;
use crate::status::ApiError;

const MASTERS: &str = "system:masters";

/// Limits of the authorizer.
#[derive(Debug, Clone)]
pub struct AuthorizerConfig {
    /// Paths that anybody may read, compared exactly.
    pub always_allow_paths: Vec<String>,
    /// How long a review's answer, whichever it is, may be reused.
    pub cache_ttl: Duration,
    /// Answers remembered at once.
    pub cache_entries_max: u64,
    /// Larger questions are asked anew each time: they'd let one user fill the cache.
    pub cacheable_bytes_max: usize,
}

impl Default for AuthorizerConfig {
    fn default() -> Self {
        Self {
            always_allow_paths: ["/healthz", "/readyz", "/livez"].map(str::to_owned).into(),
            cache_ttl: Duration::from_secs(10),
            cache_entries_max: 8192,
            cacheable_bytes_max: 10_000,
        }
    }
}

/// Decides by group, then by path, then by asking the host cluster.
pub struct Authorizer {
    config: AuthorizerConfig,
    reviewer: Arc<dyn AccessReviewer>,
    cache: Cache<Arc<(User, Attributes)>, Decision>,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Authorizer {
    pub fn new(config: AuthorizerConfig, reviewer: Arc<dyn AccessReviewer>) -> Self {
        let cache = Cache::builder()
            .max_capacity(config.cache_entries_max)
            .time_to_live(config.cache_ttl)
            .build();
        Self { config, reviewer, cache }
    }

    /// A permit, 403, or 500 if the host cluster can't say.
    pub async fn authorize(&self, user: &User, attributes: Attributes) -> Result<Permit, ApiError> {
        if user.is_in(MASTERS) || self.is_always_allowed(&attributes) {
            return Ok(Permit::granted(user.clone(), attributes));
        }
        let decision = self.decide(user, &attributes).await.map_err(|error| {
            warn!(user = user.name, error = %error, log = error.log(), "access review failed");
            ApiError::internal(&error).with_log(error.message())
        })?;
        if decision.allowed {
            Ok(Permit::granted(user.clone(), attributes))
        } else {
            Err(forbidden(user, &attributes, &decision.reason))
        }
    }

    fn is_always_allowed(&self, attributes: &Attributes) -> bool {
        match attributes {
            Attributes::NonResource { path, .. } => self.config.always_allow_paths.contains(path),
            Attributes::Resource { .. } => false,
        }
    }

    async fn decide(&self, user: &User, attributes: &Attributes) -> Result<Decision, ApiError> {
        if size_bytes(user, attributes) > self.config.cacheable_bytes_max {
            return self.reviewer.review(user, attributes).await;
        }
        let key = Arc::new((user.clone(), attributes.clone()));
        self.cache
            .try_get_with(key, self.reviewer.review(user, attributes))
            .await
            .map_err(Arc::unwrap_or_clone)
    }
}

/// The 403 that names user, verb and object.
fn forbidden(user: &User, attributes: &Attributes, reason: &str) -> ApiError {
    let who = &user.name;
    let (on, name, mut text) = match attributes {
        Attributes::NonResource { verb, path } => {
            let text = format!("User {who:?} cannot {verb} path {path:?}");
            (GroupResource { group: String::new(), resource: String::new() }, "", text)
        }
        Attributes::Resource { verb, group, resource, subresource, namespace, name, .. } => {
            let mut what = resource.clone();
            if !subresource.is_empty() {
                what = format!("{resource}/{subresource}");
            }
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            let text = format!(
                "User {who:?} cannot {verb} resource {what:?} in API group {group:?} {scope}"
            );
            let on = GroupResource { group: group.clone(), resource: resource.clone() };
            (on, name.as_str(), text)
        }
    };
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    ApiError::forbidden(&on, name, &text)
}

fn size_bytes(user: &User, attributes: &Attributes) -> usize {
    let user_bytes = user.name.len()
        + user.uid.len()
        + user.groups.iter().map(String::len).sum::<usize>()
        + user
            .extra
            .iter()
            .map(|(key, values)| key.len() + values.iter().map(String::len).sum::<usize>())
            .sum::<usize>();
    let asked = match attributes {
        Attributes::NonResource { verb, path } => verb.len() + path.len(),
        Attributes::Resource { verb, group, version, resource, subresource, namespace, name } => {
            [verb, group, version, resource, subresource, namespace, name]
                .into_iter()
                .map(String::len)
                .sum()
        }
    };
    user_bytes + asked
}
