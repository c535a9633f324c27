//! The chain that every request passes.
//!
//! Order: `k8s.io/apiserver/pkg/server/config.go`, `DefaultBuildHandlerChain`.

use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tracing::error;

use super::inflight::{self, Counted, InFlight};
use super::metrics::RequestLabels;
use super::router::Own;
use super::{
    Background, Body, Handler, Health, Metrics, Routed, ServerConfig, body, deadline, response,
    warning,
};
use crate::audit::Arrival;
use crate::auth::{Authenticator, Authorizer, Permit, User};
use crate::clock;
use crate::meta::GroupResource;
use crate::status::ApiError;
use crate::tasks::{CancellationToken, Tasks};
use crate::warnings::Warnings;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longer ones are replaced.
const AUDIT_ID_BYTES_MAX: usize = 64;
const MASTERS: &str = "system:masters";

/// The chain with everything it needs.
pub struct Server {
    config: ServerConfig,
    authenticator: Authenticator,
    authorizer: Arc<Authorizer>,
    handler: Arc<dyn Handler>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    in_flight: InFlight,
    tasks: Tasks,
    draining: CancellationToken,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Server {
    /// `tasks` is what handlers run their mutations on; it must outlive the connections.
    pub fn new(
        config: ServerConfig,
        authenticator: Authenticator,
        authorizer: Arc<Authorizer>,
        handler: Arc<dyn Handler>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let in_flight = InFlight::new(&config.limits);
        Arc::new(Self {
            config,
            authenticator,
            authorizer,
            handler,
            health,
            metrics,
            in_flight,
            tasks,
            draining: CancellationToken::new(),
        })
    }

    /// Cancelled when the server finishes what is under way. Response bodies of long-running
    /// requests end then by themselves; upgraded connections have to heed it.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Answers one request of the peer at this address with these certificates (end entity first).
    pub(super) async fn serve(
        &self,
        address: IpAddr,
        peer: &[CertificateDer<'static>],
        request: Request<Incoming>,
    ) -> Response<Body> {
        let audit_id = audit_id(request.headers());
        let (parts, incoming) = request.into_parts();
        let routed = (self.config.route)(&parts);
        let id = audit_id.to_str().unwrap_or_default();
        let mut arrival = self.config.audit.arrival(&parts, &routed.attributes, id, address);
        let answer = self.answer(peer, parts, incoming, &routed, &mut arrival);
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let mut response = answer.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            error!(audit_id = ?audit_id, panic = text, "a request panicked");
            let told = ApiError::internal("the request caused a panic; see the server's log");
            arrival.panicked(&told);
            response::error(&told)
        });
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, audit_id);
        headers
            .entry(CACHE_CONTROL)
            .or_insert(const { HeaderValue::from_static("no-cache, private") });
        response
    }

    async fn answer(
        &self,
        peer: &[CertificateDer<'static>],
        parts: Parts,
        incoming: Incoming,
        routed: &Routed,
        arrival: &mut Arrival,
    ) -> Response<Body> {
        let started = Instant::now();
        let mut labels = RequestLabels::of(&routed.attributes);
        let admitted = self.admit(peer, parts, incoming, (routed, &labels), arrival).await;
        let response = match admitted {
            Ok(response) => response,
            Err(refusal) => {
                labels = labels.without_resource();
                response::error(&refusal)
            }
        };
        self.metrics.answered(&labels, response.status().as_u16(), started.elapsed());
        match arrival.answered(response, routed.is_long_running).await {
            (response, Some(record)) => response.map(|inner| body::guarded(inner, record)),
            (response, None) => response,
        }
    }

    /// An `Err` means that the request was refused before it reached its handler.
    async fn admit(
        &self,
        peer: &[CertificateDer<'static>],
        mut parts: Parts,
        incoming: Incoming,
        (routed, labels): (&Routed, &RequestLabels),
        arrival: &mut Arrival,
    ) -> Result<Response<Body>, ApiError> {
        let outcome = self.authenticator.authenticate(peer, &mut parts.headers).await;
        self.metrics.authenticated(outcome.is_ok());
        let user = match outcome {
            Ok(by) => {
                arrival.authenticated(&by, &mut parts)?;
                by.user
            }
            Err(error) => {
                arrival.unauthenticated(&error);
                return Err(error);
            }
        };
        refuse_impersonation(&parts.headers)?;

        let asked = (routed, labels);
        if routed.is_long_running {
            return self.permitted(&user, parts, incoming, asked, arrival).await;
        }
        let deadline = deadline::of(parts.uri.query(), self.config.limits.request_timeout)?;
        let is_exempt =
            user.is_in(MASTERS) || matches!(Own::of(parts.uri.path()), Some(Own::Health(..)));
        let slot = self.in_flight.take(routed.is_mutating, &self.metrics);
        if slot.is_none() && !is_exempt {
            return Ok(inflight::too_many());
        }
        let answer = self.permitted(&user, parts, incoming, asked, arrival);
        match tokio::time::timeout(deadline, answer).await {
            Ok(response) => response,
            Err(_) => Ok(response::error(&ApiError::timeout(
                "request did not complete within the allotted timeout",
            ))),
        }
    }

    async fn permitted(
        &self,
        user: &User,
        parts: Parts,
        incoming: Incoming,
        (routed, labels): (&Routed, &RequestLabels),
        arrival: &Arrival,
    ) -> Result<Response<Body>, ApiError> {
        let outcome = self.authorizer.authorize(user, routed.attributes.clone()).await;
        let (counted, decision) = match &outcome {
            Ok(_) => ("allowed", "allow"),
            Err(error) if error.code() == 403 => ("denied", "forbid"),
            Err(_) => ("error", ""),
        };
        self.metrics.authorized(counted);
        arrival.decided(decision);
        let permit = outcome?;
        if !routed.is_long_running {
            return Ok(self.handle(permit, parts, incoming).await);
        }
        let counted = Counted::new(self.metrics.long_running(labels));
        let response = self.handle(permit, parts, incoming).await;
        let stop = self.draining.clone();
        Ok(response.map(|inner| body::guarded(body::until(inner, stop), counted)))
    }

    async fn handle(&self, permit: Permit, parts: Parts, incoming: Incoming) -> Response<Body> {
        if let Some(own) = Own::of(parts.uri.path()) {
            return own.answer(&parts, &self.health, &self.metrics, &self.config.version).await;
        }
        let warnings = Warnings::new();
        let background = Background { tasks: &self.tasks, draining: &self.draining };
        let mut response =
            self.handler.handle(permit, parts, incoming, warnings.clone(), background).await;
        warning::write(response.headers_mut(), &warnings.take());
        response
    }
}

/// The client's ID if it is usable, or a new one.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    headers
        .get(AUDIT_ID)
        .filter(|id| !id.is_empty() && id.len() <= AUDIT_ID_BYTES_MAX)
        .cloned()
        .unwrap_or_else(|| {
            HeaderValue::from_str(&clock::new_uid()).expect("a UID is visible ASCII")
        })
}

/// The front consumes these headers; who sends them directly expects to act as somebody else and
/// must not silently act as himself.
fn refuse_impersonation(headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(());
    }
    let nothing = GroupResource { group: String::new(), resource: String::new() };
    let text = "impersonation is not supported here; send the request to the host API server";
    Err(ApiError::forbidden(&nothing, "", text))
}
