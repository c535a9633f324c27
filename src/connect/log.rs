//! The body of a log on its way, which may be followed for hours: ended with its right, counted,
//! recorded. It is no use of the Sandbox: whoever reads along does not keep it busy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apiserver::server::Body;
use apiserver::tasks::CancellationToken;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Span;

use super::audit::Audited;
use super::handler::Shared;
use super::splice::Ended;
use super::watched::Watched;

pub(super) struct Log {
    body: Body,
    over: BoxFuture<'static, Ended>,
    /// Unless the client has left before.
    ended: Option<Ended>,
    bytes: u64,
    shared: Arc<Shared>,
    span: Span,
    /// Until it is dropped.
    audited: Option<Audited>,
    _held: OwnedSemaphorePermit,
}

impl Log {
    pub(super) fn follow(
        body: Body,
        (shared, span): (Arc<Shared>, Span),
        (watched, stopping): (Watched, CancellationToken),
        audited: Audited,
        held: OwnedSemaphorePermit,
    ) -> Body {
        let lifetime = shared.config.lifetime_max;
        let over = async move {
            tokio::select! {
                why = watched.barred(stopping) => why,
                () = tokio::time::sleep(lifetime) => Ended::TooOld,
            }
        };
        span.in_scope(|| audited.opened(&shared.metrics));
        let (over, audited) = (over.boxed(), Some(audited));
        let ended = None;
        let log = Self { body, over, ended, bytes: 0, shared, span, audited, _held: held };
        log.boxed_unsync()
    }
}

impl hyper::body::Body for Log {
    type Data = Bytes;
    type Error = io::Error;

    /// What is ended breaks off: it must not look complete.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(why) = self.over.poll_unpin(context) {
            self.ended = Some(why);
            return Poll::Ready(Some(Err(io::Error::other(why.name()))));
        }
        let polled = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &polled {
            Some(Ok(frame)) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Some(Err(_)) => self.ended = Some(Ended::Broken),
            None => self.ended = Some(Ended::Closed),
        }
        Poll::Ready(polled)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let Some(audited) = self.audited.take() else { return };
        let ended = self.ended.unwrap_or(Ended::Closed);
        let close = || audited.closed(&self.shared.metrics, ended, (0, self.bytes), None);
        self.span.in_scope(close);
    }
}
