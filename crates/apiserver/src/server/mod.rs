//! The front of the server: TLS, the request chain, health, metrics and an orderly end.
//!
//! ```text
//! TCP -> [listener] TLS handshake, HTTP/1.1 or HTTP/2
//!     -> [chain] panic guard, audit, authentication, in-flight limits, deadline, authorization
//!     -> [router] /healthz /livez /readyz /metrics /version, or the product's Handler
//! ```
//! [`Serving::run`] owns all of it until a signal, which then drains it.

mod body;
mod chain;
mod deadline;
mod health;
mod inflight;
mod lifecycle;
mod listener;
mod metrics;
pub mod response;
mod router;
mod tls;
mod warning;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;

pub use self::chain::Server;
pub use self::health::{Health, HealthCheck, Probe};
pub use self::lifecycle::{LifecycleConfig, Outcome, Serving, signal};
pub use self::listener::ListenerConfig;
pub use self::metrics::Metrics;
pub use self::tls::{Tls, TlsConfig, TlsError};
use crate::audit::Audit;
use crate::auth::{Attributes, Permit};
use crate::tasks::{CancellationToken, Tasks};
use crate::warnings::Warnings;

/// A response's body: whole or a stream.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a request means, as far as the chain must know. Computed from method, path and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub attributes: Attributes,
    /// Watches and streams: no deadline, no in-flight limit.
    pub is_long_running: bool,
    pub is_mutating: bool,
}

/// Tells what a request means.
pub type Route = Arc<dyn Fn(&Parts) -> Routed + Send + Sync>;

/// Answers what has passed the chain.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// `body` is unread; `parts.extensions` still holds hyper's `OnUpgrade`. The future is dropped
    /// when the client hangs up or the deadline passes: a mutation must go on by itself on the
    /// tasks of `background`.
    async fn handle(
        &self,
        permit: Permit,
        parts: Parts,
        body: hyper::body::Incoming,
        warnings: Warnings,
        background: Background<'_>,
    ) -> Response<Body>;
}

/// Where that goes on which outlives a request's own future, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Background<'a> {
    pub tasks: &'a Tasks,
    /// See [`Server::draining`].
    pub draining: &'a CancellationToken,
}

/// The chain's configuration.
#[derive(Clone)]
pub struct ServerConfig {
    pub limits: Limits,
    pub route: Route,
    /// The body of `/version`.
    pub version: Value,
    pub audit: Audit,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Limits of the chain (`k8s.io/apiserver/pkg/server/config.go`, `NewConfig`).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Reads under way at once, long-running ones apart.
    pub reads_max: usize,
    /// Mutations under way at once, long-running ones apart.
    pub mutations_max: usize,
    /// From authorization to the response's head, long-running requests apart.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reads_max: 400, mutations_max: 200, request_timeout: Duration::from_secs(60) }
    }
}
