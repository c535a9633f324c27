//! A stream from its head to its end: driven, watched, counted.

use std::sync::Arc;

use apiserver::tasks::CancellationToken;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use super::activity::InUse;
use super::audit::Audited;
use super::handler::Shared;
use super::splice::{Ended, Limits, Protocol, limited, splice};
use super::watched::Watched;
use crate::cluster::streams::Io;

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) usage: Arc<InUse>,
    pub(super) span: Span,
    pub(super) watched: Watched,
    pub(super) stopping: CancellationToken,
    /// Its place among the streams.
    pub(super) held: Arc<OwnedSemaphorePermit>,
    pub(super) audited: Audited,
}

impl Session {
    /// Copies between the client, once the connection is ours, and the Pod.
    pub(super) async fn splice(self, client: OnUpgrade, pod: Box<dyn Io>, websocket: bool) {
        let limits = self.limits();
        let Self { shared, usage, span, watched, stopping, held, audited } = self;
        let work = async {
            let mut protocol = Protocol::new(websocket);
            let ended = match timeout(shared.config.upgrade_timeout, client).await {
                Ok(Ok(client)) => {
                    let over = watched.over(stopping);
                    splice(TokioIo::new(client), pod, limits, &mut protocol, &usage, over).await
                }
                _ => Ended::Broken,
            };
            (ended, protocol.exit_code())
        };
        counted(&shared, work, &usage, audited).instrument(span).await;
        drop(held);
    }

    /// Keeps an HTTP connection going until its one exchange is through.
    pub(super) async fn drive(self, connection: impl Future<Output = hyper::Result<()>>) {
        let limits = self.limits();
        let Self { shared, usage, span, watched, stopping, held, audited } = self;
        let over = limited(limits, &usage, watched.over(stopping));
        let work = async { (until(connection, over).await, None) };
        counted(&shared, work, &usage, audited).instrument(span).await;
        drop(held);
    }

    /// The same until the connection is upgraded, or the upgrade has been refused in whatever
    /// length: the stream itself comes after.
    pub(super) fn until_upgraded<C>(&self, connection: C) -> impl Future<Output = ()> + use<C>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let (usage, held, limits) = (self.usage.clone(), self.held.clone(), self.limits());
        let stopping = self.stopping.clone();
        async move {
            let stop = async {
                stopping.cancelled().await;
                Ended::Stopping
            };
            until(connection, limited(limits, &usage, stop)).await;
            drop(held);
        }
    }

    fn limits(&self) -> Limits {
        let config = &self.shared.config;
        Limits { idle: config.idle_timeout, lifetime: config.lifetime_max }
    }
}

async fn until(
    connection: impl Future<Output = hyper::Result<()>>,
    over: impl Future<Output = Ended>,
) -> Ended {
    tokio::select! {
        result = connection => if result.is_ok() { Ended::Closed } else { Ended::Broken },
        why = over => why,
    }
}

/// `work` tells why it ended, and the exit code if there was one.
async fn counted(
    shared: &Shared,
    work: impl Future<Output = (Ended, Option<i64>)>,
    usage: &InUse,
    audited: Audited,
) {
    audited.opened(&shared.metrics);
    let (ended, exit_code) = work.await;
    audited.closed(&shared.metrics, ended, usage.bytes(), exit_code);
}
