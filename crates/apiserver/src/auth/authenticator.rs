//! The chain of credentials: front proxy, certificate, bearer token, anonymous.
//!
//! Rules: `k8s.io/apiserver/pkg/authentication/authenticatorfactory/delegating.go` and
//! `pkg/authentication/request/union`: an authenticator that fails does not keep a later one from
//! succeeding, but if none does its failure forbids to be anonymous. A Go server does not start
//! before it has read the CAs; this one serves its health, and answers 503 to certificates.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use tracing::debug;

use super::bearer::{self, Bearer};
use super::trust::{Trust, TrustConfig};
use super::x509::{self, CertificateError};
use super::{FrontProxyError, TokenReviewer, User};
use crate::clock::Clock;
use crate::status::ApiError;

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";

/// Finds out who asks.
pub struct Authenticator {
    trust: Trust,
    tokens: Arc<dyn TokenReviewer>,
    clock: Arc<dyn Clock>,
}

/// How a user was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    FrontProxy,
    Certificate,
    Token,
    Anonymous,
}

/// The outcome of a successful authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    pub user: User,
    pub method: Method,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Authenticator {
    pub fn new(trust: Trust, tokens: Arc<dyn TokenReviewer>, clock: Arc<dyn Clock>) -> Self {
        Self { trust, tokens, clock }
    }

    /// Reads the peer's certificates (end entity first) and the headers, and strips the headers
    /// of every credential and every claim of identity, whatever the outcome.
    pub async fn authenticate(
        &self,
        chain: &[CertificateDer<'_>],
        headers: &mut HeaderMap,
    ) -> Result<Authentication, ApiError> {
        let trust = self.trust.load();
        let by_certificate = self.by_certificate(&trust, chain, headers);
        let token = bearer::take(headers);
        if let Some(config) = &trust.request_header {
            config.strip(headers);
        }
        let refused = match by_certificate {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(reason) => Some(reason),
        };
        let refused = match token {
            Bearer::Absent => refused,
            Bearer::Malformed => Some("malformed bearer token".to_owned()),
            Bearer::Token(token) => match self.tokens.review(&token).await {
                Ok(Some(user)) => return Ok(authenticated(user, Method::Token)),
                Ok(None) => Some("the token was refused".to_owned()),
                Err(error) => Some(format!("the token could not be reviewed: {error}")),
            },
        };
        match refused {
            Some(reason) => Err(ApiError::unauthorized().with_log(reason)),
            // Right after the start: who shows a certificate must not be taken for nobody, and the
            // front least of all, which would pass a 403 on to a user who has the right.
            None if !chain.is_empty() && trust.is_empty() => {
                let text = "the server does not know yet whose certificates to trust";
                Err(ApiError::service_unavailable(text).with_retry_after(1))
            }
            None => Ok(anonymous()),
        }
    }

    fn by_certificate(
        &self,
        trust: &TrustConfig,
        chain: &[CertificateDer<'_>],
        headers: &HeaderMap,
    ) -> Result<Option<Authentication>, String> {
        if chain.is_empty() {
            return Ok(None);
        }
        let now = self.clock.now();
        let mut refused = None;
        if let Some(config) = &trust.request_header {
            match config.user(chain, headers, now) {
                Ok(Some(user)) => return Ok(Some(authenticated(user, Method::FrontProxy))),
                Ok(None) => {}
                Err(error @ FrontProxyError::Certificate(_) | error @ FrontProxyError::Name(_)) => {
                    refused = Some(error.to_string());
                }
            }
        }
        match x509::user(chain, &trust.client_ca, now) {
            Ok(user) => return Ok(Some(authenticated(user, Method::Certificate))),
            Err(CertificateError::Stranger) => debug!("client certificate of a foreign CA ignored"),
            Err(error) => refused = Some(error.to_string()),
        }
        refused.map_or(Ok(None), Err)
    }
}

fn authenticated(mut user: User, method: Method) -> Authentication {
    if user.name != ANONYMOUS && !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
    Authentication { user, method }
}

fn anonymous() -> Authentication {
    let user =
        User { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..User::default() };
    Authentication { user, method: Method::Anonymous }
}
