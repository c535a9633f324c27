//! One request for a stream, from the Sandbox to the open connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use apiserver::resource::{Connect, ConnectRequest};
use apiserver::server::Body;
use apiserver::status::ApiError;
use apiserver::tasks::OnExit;
use async_trait::async_trait;
use http::header::UPGRADE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{Span, info_span};

use super::activity::Activity;
use super::audit::Audited;
use super::found::{Entrance, Found, Origin};
use super::kind::Kind;
use super::log::Log;
use super::metrics::StreamMetrics;
use super::session::Session;
use super::watched::Watched;
use super::{Config, answer, request, target};
use crate::cluster::streams::{Content, Opened, PodFacts, PodStream, Streams};
use crate::cluster::{ClusterError, PodPhase};

/// Between two looks for the Pod that comes after another.
const SUCCESSOR: Duration = Duration::from_millis(250);

/// What all streams share.
pub(super) struct Shared {
    pub(super) streams: Arc<dyn Streams>,
    pub(super) config: Config,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) metrics: StreamMetrics,
    pub(super) activity: Activity,
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
        if self.kind.takes_path {
            return self.proxy(asked).await;
        }
        let parts = asked.parts;
        let mut headers = HeaderMap::new();
        let mut client = None;
        if self.kind.upgrades {
            headers = request::upgrade_headers(&parts.headers)?;
            client = Some(request::client(parts)?);
        }
        let held = self.place()?;
        let (mut found, mut early) = self.find_both(&asked).await?;
        if self.kind.upgrades {
            let before = found.object.clone();
            found = self.awake(&asked, found).await?;
            early = early.filter(|_| found.object.resource_version() == before.resource_version());
        }
        let (pod, container) = self.target(&asked, &found, early).await?;
        let stream = PodStream {
            pod: pod.meta.key.clone(),
            subresource: self.kind.name,
            method: parts.method.clone(),
            query: request::query(self.kind, parts.uri.query(), &container),
            headers,
        };
        let opened = self.shared.streams.open(stream).await.map_err(unreachable)?;
        match (opened, client) {
            (Opened { headers, content: Content::Switched(io), .. }, Some(client)) => {
                let session = self.session(&asked, found, (&pod.meta.key, &container), held)?;
                let splice = session.splice(client, io, is_websocket(&headers));
                asked.tasks.spawn("stream", OnExit::Ignore, splice);
                Ok(answer::switched(&headers))
            }
            (Opened { status: StatusCode::OK, headers, content: Content::Body(body) }, None) => {
                let to = (&pod.meta.key, container.as_str());
                let audited = self.audited(&asked, &found, to);
                let of = (self.shared.clone(), self.span(&asked, &found, to.0));
                let watched = (self.watched(&asked, found)?, asked.tasks.stopping().clone());
                let body = body.map_err(io::Error::other).boxed_unsync();
                Ok(answer::streamed(&headers, Log::follow(body, of, watched, audited, held)))
            }
            (Opened { status, headers, content: Content::Body(body) }, _) => {
                answer::refused(status, &headers, body, self.shared.config.error_bytes_max).await
            }
            (Opened { .. }, None) => Err(ApiError::internal("the cluster switched protocols")),
        }
    }
}

impl Handler {
    /// A place among the streams.
    ///
    /// # Errors
    /// 429 when there is none.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let sessions = self.shared.sessions.clone();
        sessions
            .try_acquire_owned()
            .map_err(|_| ApiError::too_many_requests("too many streams are open", 1))
    }

    /// What an open stream is watched by, and counted as.
    pub(super) fn session(
        &self,
        asked: &ConnectRequest<'_>,
        found: Found,
        to: (&ObjectKey, &str),
        held: OwnedSemaphorePermit,
    ) -> Result<Session, ApiError> {
        let audited = self.audited(asked, &found, to);
        let span = self.span(asked, &found, to.0);
        let shared = self.shared.clone();
        let clock = self.entrance.get()?.clock.clone();
        let usage = shared.activity.begin(&found.object, clock);
        let watched = self.watched(asked, found)?;
        let stopping = asked.tasks.stopping().clone();
        let (usage, held) = (Arc::new(usage), held.into());
        Ok(Session { shared, usage, span, watched, stopping, held, audited })
    }

    fn span(&self, asked: &ConnectRequest<'_>, found: &Found, pod: &ObjectKey) -> Span {
        info_span!(
            "stream",
            kind = self.kind.name,
            user = asked.permit.user().name,
            sandbox = %found.object.key(),
            pod = pod.name,
        )
    }

    fn watched(&self, asked: &ConnectRequest<'_>, found: Found) -> Result<Watched, ApiError> {
        let sandboxes = self.entrance.get()?;
        Ok(Watched {
            store: sandboxes.store.clone(),
            permit: sandboxes.permit.clone(),
            object: found.object,
            authorizer: asked.authorizer.clone(),
            user: asked.permit.user().clone(),
            right: asked.permit.attributes().cloned(),
            recheck: self.shared.config.recheck_period,
        })
    }

    /// `to` a Pod, and the container where the user names none.
    fn audited(
        &self,
        asked: &ConnectRequest<'_>,
        found: &Found,
        to: (&ObjectKey, &str),
    ) -> Audited {
        Audited::begin(asked.record, self.kind, &found.object, to, asked.parts.uri.query())
    }

    /// The Sandbox, and at the same time the Pod that it most likely has: a request to the cluster is a
    /// good part of what a command waits for.
    async fn find_both(
        &self,
        asked: &ConnectRequest<'_>,
    ) -> Result<(Found, Option<PodFacts>), ApiError> {
        if self.origin == Origin::Claim {
            return Ok((self.find(asked).await?, None));
        }
        // If it can't be read, that is told when it is read again.
        let pod = async { Ok(self.shared.streams.pod(&asked.key).await.ok().flatten()) };
        tokio::try_join!(self.find(asked), pod)
    }

    /// The Pod as it is now, unless it has just been read. One that goes, as after `restart`, is not streamed to: its successor is
    /// waited for, as long as a Sandbox that starts.
    async fn present_pod(
        &self,
        key: &ObjectKey,
        sandbox: &Object,
        early: Option<PodFacts>,
    ) -> Result<Option<PodFacts>, ApiError> {
        let until = Instant::now() + self.shared.config.wake_timeout;
        let mut early = early.filter(|pod| pod.meta.key == *key);
        let mut goes = false;
        loop {
            let pod = match early.take() {
                Some(pod) => Some(pod),
                None => self.shared.streams.pod(key).await.map_err(unreachable)?,
            };
            let going = pod.as_ref().is_some_and(|pod| target::is_going(sandbox, pod));
            goes |= going;
            let wait = going || pod.as_ref().is_none_or(|pod| pod.phase == PodPhase::Pending);
            if !self.kind.upgrades || !goes || !wait || Instant::now() > until {
                return Ok(pod);
            }
            tokio::time::sleep(SUCCESSOR).await;
        }
    }

    /// The Pod, verified, and the container if the user names none. `early` is one that was read
    /// together with the Sandbox.
    pub(super) async fn target(
        &self,
        asked: &ConnectRequest<'_>,
        found: &Found,
        early: Option<PodFacts>,
    ) -> Result<(PodFacts, String), ApiError> {
        let resource = asked.store.def().group_resource();
        let conflict = |text: String| ApiError::conflict(&resource, &asked.key.name, &text);
        let key = target::pod_key(&found.object.key(), &found.sandbox).map_err(conflict)?;
        let pod = self.present_pod(&key, &found.object, early).await?;
        let container =
            target::container(self.kind, found.object.uid(), pod.as_ref()).map_err(conflict)?;
        let pod = pod.ok_or_else(|| ApiError::internal("the Pod is not there"))?;
        Ok((pod, container))
    }
}

pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

pub(super) fn unreachable(error: ClusterError) -> ApiError {
    match error {
        ClusterError::Rejected { .. } => {
            ApiError::internal("the cluster refused the server").with_log(error.to_string())
        }
        _ => ApiError::service_unavailable("the cluster can't be reached")
            .with_retry_after(1)
            .with_log(error.to_string()),
    }
}
