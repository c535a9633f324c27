//! One request for a stream, from the Sandbox to the open connection.

use std::sync::Arc;

use apiserver::meta::ObjectKey;
use apiserver::resource::{Connect, ConnectRequest};
use apiserver::server::{Body, response};
use apiserver::status::ApiError;
use apiserver::tasks::OnExit;
use async_trait::async_trait;
use http::header::UPGRADE;
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, info, info_span};

use super::found::{Entrance, Found, Origin};
use super::kind::Kind;
use super::metrics::StreamMetrics;
use super::splice::{Ended, Limits, splice};
use super::watched::Watched;
use super::{Config, answer, request, target};
use crate::cluster::ClusterError;
use crate::cluster::streams::{Content, Io, Opened, PodStream, Streams};

/// What all streams share.
pub(super) struct Shared {
    pub(super) streams: Arc<dyn Streams>,
    pub(super) config: Config,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) metrics: StreamMetrics,
}

pub(super) struct Handler {
    pub(super) kind: &'static Kind,
    pub(super) origin: Origin,
    pub(super) entrance: Entrance,
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl Connect for Handler {
    async fn connect(&self, asked: ConnectRequest<'_>) -> Result<Response<Body>, ApiError> {
        let parts = asked.parts;
        let mut headers = HeaderMap::new();
        let mut client = None;
        if self.kind.upgrades {
            headers = request::upgrade_headers(&parts.headers)?;
            // There is none on HTTP/2.
            let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
            client =
                Some(upgrade.ok_or_else(|| ApiError::bad_request("Upgrade request required"))?);
        }
        let sessions = self.shared.sessions.clone();
        let held = sessions
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many_requests("too many streams are open", 1))?;
        let mut found = self.find(&asked).await?;
        if self.kind.upgrades {
            found = self.awake(&asked, found).await?;
        }
        let (pod, container) = self.target(&asked, &found).await?;
        let span = info_span!(
            "stream",
            kind = self.kind.name,
            user = asked.permit.user().name,
            sandbox = %found.object.key(),
            pod = pod.name,
        );
        let stream = PodStream {
            pod,
            subresource: self.kind.name,
            method: parts.method.clone(),
            query: request::query(self.kind, parts.uri.query(), &container),
            headers,
        };
        let opened = self.shared.streams.open(stream).await.map_err(unreachable)?;
        match (opened, client) {
            (Opened { headers, content: Content::Switched(pod), .. }, Some(client)) => {
                let sandboxes = self.entrance.get()?;
                let watched = Watched {
                    store: sandboxes.store.clone(),
                    permit: sandboxes.permit.clone(),
                    object: found.object,
                    authorizer: asked.authorizer.clone(),
                    user: asked.permit.user().clone(),
                    right: asked.permit.attributes().cloned(),
                    recheck: self.shared.config.recheck_period,
                };
                let over = watched.over(asked.tasks.stopping().clone());
                let session = Session {
                    client,
                    pod,
                    websocket: is_websocket(&headers),
                    kind: self.kind,
                    shared: self.shared.clone(),
                    span,
                    held,
                };
                asked.tasks.spawn("stream", OnExit::Ignore, session.run(over));
                let mut switched = Response::new(response::empty());
                *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                *switched.headers_mut() = request::switched_headers(&headers);
                Ok(switched)
            }
            (Opened { status: StatusCode::OK, headers, content: Content::Body(body) }, None) => {
                Ok(answer::streamed(&headers, body, held))
            }
            (Opened { status, headers, content: Content::Body(body) }, _) => {
                answer::refused(status, &headers, body, self.shared.config.error_bytes_max).await
            }
            (Opened { .. }, None) => Err(ApiError::internal("the cluster switched protocols")),
        }
    }
}

impl Handler {
    /// The Pod, verified, and the container if the user names none.
    async fn target(
        &self,
        asked: &ConnectRequest<'_>,
        found: &Found,
    ) -> Result<(ObjectKey, String), ApiError> {
        let resource = asked.store.def().group_resource();
        let conflict = |text: String| ApiError::conflict(&resource, &asked.key.name, &text);
        let key = target::pod_key(&found.object.key(), &found.sandbox).map_err(conflict)?;
        let pod = self.shared.streams.pod(&key).await.map_err(unreachable)?;
        let container =
            target::container(self.kind, found.object.uid(), pod.as_ref()).map_err(conflict)?;
        Ok((key, container))
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn unreachable(error: ClusterError) -> ApiError {
    match error {
        ClusterError::Rejected { .. } => {
            ApiError::internal("the cluster refused the server").with_log(error.to_string())
        }
        _ => ApiError::service_unavailable("the cluster can't be reached")
            .with_retry_after(1)
            .with_log(error.to_string()),
    }
}

/// A stream after its head.
struct Session {
    client: OnUpgrade,
    pod: Box<dyn Io>,
    websocket: bool,
    kind: &'static Kind,
    shared: Arc<Shared>,
    span: Span,
    held: OwnedSemaphorePermit,
}

impl Session {
    async fn run(self, over: impl Future<Output = Ended> + Send + 'static) {
        let Self { client, pod, websocket, kind, shared, span, held } = self;
        let config = &shared.config;
        let limits = Limits { idle: config.idle_timeout, lifetime: config.lifetime_max };
        let session = async {
            let began = Instant::now();
            info!("stream opened");
            shared.metrics.opened(kind.name);
            let client = tokio::time::timeout(config.upgrade_timeout, client);
            let ended = match client.await {
                Ok(Ok(client)) => splice(TokioIo::new(client), pod, limits, websocket, over).await,
                _ => Ended::Broken,
            };
            shared.metrics.closed(kind.name, ended, began.elapsed());
            info!(?ended, seconds = began.elapsed().as_secs(), "stream closed");
        };
        session.instrument(span).await;
        drop(held);
    }
}
