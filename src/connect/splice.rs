//! Bytes both ways, understood by nobody here, and a last word to the client.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_util::io::InspectWriter;

use super::activity::InUse;
use super::frames::{Frames, close};
use super::spdy;
use crate::cluster::streams::Io;

const BUFFER_BYTES: usize = 32 << 10;
/// For the last word: whoever does not read it must not keep the stream.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a client and a Pod have agreed on, as far as it is followed.
#[derive(Debug)]
pub(super) enum Protocol {
    WebSocket(Frames),
    Spdy(spdy::Frames),
}

impl Protocol {
    pub(super) fn new(is_websocket: bool) -> Self {
        if is_websocket {
            Self::WebSocket(Frames::default())
        } else {
            Self::Spdy(Default::default())
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        match self {
            Self::WebSocket(frames) => frames.pass(bytes),
            Self::Spdy(frames) => frames.pass(bytes),
        }
    }

    /// Of a command that has ended, as the Pod's side tells it.
    pub(super) fn exit_code(&self) -> Option<i64> {
        match self {
            Self::WebSocket(frames) => frames.exit_code(),
            Self::Spdy(frames) => frames.exit_code(),
        }
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By one of its ends.
    Closed,
    Broken,
    Idle,
    TooOld,
    Stopping,
    Suspended,
    Deleted,
    /// The Sandbox has another owner.
    Rebound,
    /// The user may no longer do this.
    Forbidden,
}

impl Ended {
    /// For metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Broken => "broken",
            Self::Idle => "idle",
            Self::TooOld => "too_old",
            Self::Stopping => "stopping",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Rebound => "rebound",
            Self::Forbidden => "forbidden",
        }
    }

    /// Of a command whose exit code has been told nothing is missing, so it does not matter in which
    /// way the client hangs up: often without a word, which alone would be a broken connection.
    pub(super) fn of_command(self, exit_code: Option<i64>) -> Self {
        match (self, exit_code) {
            (Self::Broken, Some(_)) => Self::Closed,
            (why, _) => why,
        }
    }

    /// Code and reason for a WebSocket's close: RFC 6455 section 7.4.1.
    fn goodbye(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::Closed | Self::Broken => return None,
            Self::Idle => (1008, "nothing was sent for too long"),
            Self::TooOld => (1008, "the stream has reached its greatest age"),
            Self::Stopping => (1001, "the server is shutting down"),
            Self::Suspended => (1001, "the sandbox was suspended"),
            Self::Deleted => (1001, "the sandbox was deleted"),
            Self::Rebound => (1001, "the sandbox has another owner now"),
            Self::Forbidden => (1008, "the right to this stream was withdrawn"),
        })
    }
}

/// How long a stream may do nothing, and how long it may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) idle: Duration,
    pub(super) lifetime: Duration,
}

/// Copies until either end is through, as kube-apiserver's own proxy does: Kubernetes' protocols
/// know no half-closed connection (`[apimachinery] pkg/util/proxy/upgradeaware.go`). What the Pod
/// has said when it takes no more is still passed on. Or until
/// `over` says why not; over a WebSocket the client is told so, if it is not in the middle of a frame.
pub(super) async fn splice(
    client: impl Io,
    pod: impl Io,
    limits: Limits,
    protocol: &mut Protocol,
    usage: &InUse,
    over: impl Future<Output = Ended>,
) -> Ended {
    let (client_read, mut client_write) = tokio::io::split(client);
    let (pod_read, pod_write) = tokio::io::split(pod);
    let ended = |result: io::Result<()>| if result.is_ok() { Ended::Closed } else { Ended::Broken };
    let why = {
        let counted = InspectWriter::new(&mut client_write, |bytes: &[u8]| {
            protocol.pass(bytes);
        });
        let mut to_client = pin!(pump(pod_read, counted, |count| usage.received(count)));
        tokio::select! {
            result = &mut to_client => ended(result),
            result = pump(client_read, pod_write, |count| usage.sent(count)) => {
                // A command that ends without reading all of its input: its exit code is on the way.
                if result.is_err() {
                    _ = timeout(GOODBYE, to_client).await;
                }
                ended(result)
            }
            why = limited(limits, usage, over) => why,
        }
    };
    let may_speak = matches!(protocol, Protocol::WebSocket(frames) if frames.is_between());
    if let Some((code, reason)) = why.goodbye().filter(|_| may_speak) {
        let last = async {
            client_write.write_all(&close(code, reason)).await?;
            client_write.shutdown().await
        };
        // It ends either way.
        _ = timeout(GOODBYE, last).await;
    }
    why
}

/// What ends a stream besides its ends.
pub(super) async fn limited(
    limits: Limits,
    usage: &InUse,
    over: impl Future<Output = Ended>,
) -> Ended {
    tokio::select! {
        () = idle(usage, limits.idle) => Ended::Idle,
        () = tokio::time::sleep(limits.lifetime) => Ended::TooOld,
        why = over => why,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved(count);
    }
}

/// Returns after a whole `span` in which nothing moved.
async fn idle(usage: &InUse, span: Duration) {
    let mut before = usage.bytes();
    loop {
        tokio::time::sleep(span).await;
        let now = usage.bytes();
        if now == before {
            return;
        }
        before = now;
    }
}
