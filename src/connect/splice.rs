//! Bytes both ways, understood by nobody here.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apiserver::tasks::CancellationToken;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::cluster::streams::Io;

const BUFFER_BYTES: usize = 32 << 10;

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By one of its ends.
    Closed,
    Broken,
    Idle,
    TooOld,
    Stopping,
}

/// Copies until either end is through, as kube-apiserver's own proxy does: Kubernetes' protocols
/// know no half-closed connection (`[apimachinery] pkg/util/proxy/upgradeaware.go`).
pub(super) async fn splice(
    client: impl Io,
    pod: impl Io,
    (idle_timeout, lifetime_max): (Duration, Duration),
    stop: &CancellationToken,
) -> Ended {
    let moved = AtomicU64::new(0);
    let (client_read, client_write) = tokio::io::split(client);
    let (pod_read, pod_write) = tokio::io::split(pod);
    let ended = |result: io::Result<()>| if result.is_ok() { Ended::Closed } else { Ended::Broken };
    tokio::select! {
        result = pump(pod_read, client_write, &moved) => ended(result),
        result = pump(client_read, pod_write, &moved) => ended(result),
        () = idle(&moved, idle_timeout) => Ended::Idle,
        () = tokio::time::sleep(lifetime_max) => Ended::TooOld,
        () = stop.cancelled() => Ended::Stopping,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns after a whole `span` in which nothing moved.
async fn idle(moved: &AtomicU64, span: Duration) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(span).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}
