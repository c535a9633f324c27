//! Bearer tokens, judged by the host cluster (`authentication.k8s.io/v1 TokenReview`).
//!
//! Cache rules: `k8s.io/apiserver/pkg/authentication/token/cache/cached_token_authenticator.go`:
//! successes and refusals are remembered, failures to ask are not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::{Api, PostParams};
use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::retry::{Retry, ReviewConfig};
use crate::auth::{TokenReviewer, User};
use crate::status::ApiError;

/// Limits of token reviews.
#[derive(Debug, Clone)]
pub struct TokenReviewConfig {
    pub review: ReviewConfig,
    /// Audiences to ask for; empty = the host API server's own.
    pub audiences: Vec<String>,
    /// How long an answer may be reused.
    pub cache_ttl: Duration,
    /// Answers remembered at once.
    pub cache_entries_max: u64,
    /// Longer tokens are refused unasked.
    pub token_bytes_max: usize,
}

impl Default for TokenReviewConfig {
    fn default() -> Self {
        Self {
            review: ReviewConfig::default(),
            audiences: Vec::new(),
            cache_ttl: Duration::from_secs(10),
            cache_entries_max: 4096,
            token_bytes_max: 64 * 1024,
        }
    }
}

/// Asks the host cluster, and remembers digests of tokens rather than tokens.
pub struct KubeTokenReviewer {
    config: TokenReviewConfig,
    api: Api<TokenReview>,
    retry: Retry,
    cache: Cache<[u8; 32], Option<User>>,
}

impl fmt::Debug for KubeTokenReviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeTokenReviewer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl KubeTokenReviewer {
    pub fn new(client: kube::Client, config: TokenReviewConfig) -> Self {
        let cache = Cache::builder()
            .max_capacity(config.cache_entries_max)
            .time_to_live(config.cache_ttl)
            .build();
        let retry = Retry::new(config.review.clone());
        Self { config, api: Api::all(client), retry, cache }
    }

    async fn ask(&self, token: &str) -> Result<Option<User>, ApiError> {
        let audiences = &self.config.audiences;
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: (!audiences.is_empty()).then(|| audiences.clone()),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let answer = self.retry.run("token review", || self.api.create(&params, &review)).await?;
        Ok(judge(answer, audiences))
    }
}

#[async_trait]
impl TokenReviewer for KubeTokenReviewer {
    async fn review(&self, token: &str) -> Result<Option<User>, ApiError> {
        if token.len() > self.config.token_bytes_max {
            return Ok(None);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.cache.try_get_with(digest, self.ask(token)).await.map_err(Arc::unwrap_or_clone)
    }
}

/// The user of an answer, if the token is good for one of the audiences asked for.
fn judge(answer: TokenReview, audiences: &[String]) -> Option<User> {
    let status = answer.status?;
    if status.authenticated != Some(true) {
        return None;
    }
    let granted = status.audiences.unwrap_or_default();
    if !audiences.is_empty() && !audiences.iter().any(|audience| granted.contains(audience)) {
        return None;
    }
    status.user.map(user)
}

fn user(info: UserInfo) -> User {
    User {
        name: info.username.unwrap_or_default(),
        uid: info.uid.unwrap_or_default(),
        groups: info.groups.unwrap_or_default(),
        extra: info.extra.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::TokenReviewStatus;

    use super::*;

    fn answer(authenticated: bool, audiences: &[&str]) -> TokenReview {
        let user = UserInfo { username: Some("u".into()), ..UserInfo::default() };
        TokenReview {
            status: Some(TokenReviewStatus {
                authenticated: Some(authenticated),
                audiences: Some(audiences.iter().map(|&one| one.to_owned()).collect()),
                user: Some(user),
                error: None,
            }),
            ..TokenReview::default()
        }
    }

    #[test]
    fn believes_only_authenticated_answers_for_its_audience() {
        let own = vec!["own".to_owned()];
        assert_eq!(judge(answer(true, &[]), &[]).unwrap().name, "u");
        assert_eq!(judge(answer(false, &[]), &[]), None);
        assert_eq!(judge(answer(true, &["own"]), &own).unwrap().name, "u");
        assert_eq!(judge(answer(true, &["other"]), &own), None);
        assert_eq!(judge(answer(true, &[]), &own), None);
        assert_eq!(judge(TokenReview::default(), &[]), None);
    }
}
