//! Bodies that hold something until they have been sent or dropped, or that end at shutdown.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Body;
use crate::tasks::CancellationToken;

/// Drops `guard` together with the body.
pub(super) fn guarded<G: Send + Unpin + 'static>(body: Body, guard: G) -> Body {
    Guarded { body, _guard: guard }.boxed_unsync()
}

/// Ends the body cleanly, between two frames, once `stop` is cancelled. A body of a known length
/// is left alone: it ends by itself and could not end cleanly earlier.
pub(super) fn until(body: Body, stop: CancellationToken) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    Until { body, stopped: Box::pin(stop.cancelled_owned()), is_over: false }.boxed_unsync()
}

struct Until {
    body: Body,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.is_over || self.stopped.as_mut().poll(context).is_ready() {
            self.is_over = true;
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

struct Guarded<G> {
    body: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
