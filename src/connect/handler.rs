//! One request for a stream, from the Sandbox to the open connection.

use std::sync::Arc;

use apiserver::meta::ObjectKey;
use apiserver::request::GetOptions;
use apiserver::resource::{Connect, ConnectRequest};
use apiserver::server::{Body, response};
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit};
use async_trait::async_trait;
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sandbox_api::Sandbox;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, info, info_span};

use super::kind::Kind;
use super::splice::{Ended, splice};
use super::{Config, answer, request, target};
use crate::cluster::ClusterError;
use crate::cluster::streams::{Content, Io, Opened, PodStream, Streams};

/// What all streams share.
pub(super) struct Shared {
    pub(super) streams: Arc<dyn Streams>,
    pub(super) config: Config,
    pub(super) sessions: Arc<Semaphore>,
}

pub(super) struct Handler {
    pub(super) kind: &'static Kind,
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
        let (pod, container) = self.target(&asked).await?;
        let span = info_span!(
            "stream",
            kind = self.kind.name,
            user = asked.permit.user().name,
            sandbox = %asked.key,
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
                let session = Session { client, pod, shared: self.shared.clone(), span, held };
                let stop = asked.tasks.stopping().clone();
                asked.tasks.spawn("stream", OnExit::Ignore, session.run(stop));
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
    async fn target(&self, asked: &ConnectRequest<'_>) -> Result<(ObjectKey, String), ApiError> {
        let resource = asked.store.def().group_resource();
        let conflict = |text: String| ApiError::conflict(&resource, &asked.key.name, &text);
        let object = asked.store.get(asked.permit, &asked.key, &GetOptions::default()).await?;
        let sandbox: Sandbox = object.to_typed().map_err(ApiError::internal)?;
        let key = target::pod_key(&asked.key, &sandbox).map_err(conflict)?;
        let pod = self.shared.streams.pod(&key).await.map_err(unreachable)?;
        let container =
            target::container(self.kind, object.uid(), pod.as_ref()).map_err(conflict)?;
        Ok((key, container))
    }
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
    shared: Arc<Shared>,
    span: Span,
    held: OwnedSemaphorePermit,
}

impl Session {
    async fn run(self, stop: CancellationToken) {
        let Self { client, pod, shared, span, held } = self;
        let config = &shared.config;
        let limits = (config.idle_timeout, config.lifetime_max);
        let session = async {
            let began = Instant::now();
            info!("stream opened");
            let client = tokio::time::timeout(config.upgrade_timeout, client);
            let ended = tokio::select! {
                client = client => match client {
                    Ok(Ok(client)) => splice(TokioIo::new(client), pod, limits, &stop).await,
                    _ => Ended::Broken,
                },
                () = stop.cancelled() => Ended::Stopping,
            };
            info!(?ended, seconds = began.elapsed().as_secs(), "stream closed");
        };
        session.instrument(span).await;
        drop(held);
    }
}
