//! From the first connection to the last.
//!
//! The order of an end: `k8s.io/apiserver/pkg/server/genericapiserver.go`. Readiness fails first,
//! so that endpoints forget us while we still serve; then nothing new is accepted, what is under
//! way is finished, and what doesn't finish in time is dropped.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal as unix_signal};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::listener::Listener;
use super::{ListenerConfig, Server, Tls, TlsError};
use crate::tasks::{CancellationToken, Tasks};

/// Times of an orderly end.
#[derive(Debug, Clone)]
pub struct LifecycleConfig {
    /// Between failing readiness and accepting nothing more.
    pub shutdown_delay: Duration,
    /// For requests under way. Watches and other streams end at its beginning.
    pub drain_timeout: Duration,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self { shutdown_delay: Duration::from_secs(5), drain_timeout: Duration::from_secs(60) }
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every request was finished.
    Drained,
    /// Some were dropped at the drain timeout.
    CutOff,
}

/// A server with its listener's settings.
#[derive(Debug)]
pub struct Serving {
    pub server: Arc<Server>,
    pub tls: Tls,
    pub listener: ListenerConfig,
    pub lifecycle: LifecycleConfig,
}

impl Serving {
    /// Serves until `shutdown` completes or `tasks` stops, then drains. Ends no task of `tasks`:
    /// the caller does, afterwards, so that mutations of dropped connections still finish.
    pub async fn run(
        self,
        tcp: TcpListener,
        tasks: &Tasks,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Outcome, TlsError> {
        let connections = Tasks::new();
        let kill = CancellationToken::new();
        let listener = Arc::new(Listener {
            config: self.listener,
            acceptor: TlsAcceptor::from(self.tls.server_config()?),
            server: self.server.clone(),
            connections: connections.clone(),
            kill: kill.clone(),
        });
        tokio::select! {
            () = listener.accept(tcp) => {}
            () = farewell(&self.server, self.lifecycle.shutdown_delay, tasks, shutdown) => {}
        }
        info!("accepting nothing more; finishing requests under way");
        self.server.draining().cancel();
        let drain = connections.shutdown();
        if tokio::time::timeout(self.lifecycle.drain_timeout, drain).await.is_ok() {
            return Ok(Outcome::Drained);
        }
        warn!("dropping the requests that did not finish in time");
        kill.cancel();
        connections.shutdown().await;
        Ok(Outcome::CutOff)
    }
}

/// Returns when it is time to accept nothing more.
async fn farewell(
    server: &Server,
    delay: Duration,
    tasks: &Tasks,
    shutdown: impl Future<Output = ()>,
) {
    tokio::select! {
        () = shutdown => {
            server.health().begin_shutdown();
            info!(delay_seconds = delay.as_secs(), "shutting down; readyz fails from now on");
            // A critical task that ends meanwhile leaves nothing to wait for.
            let _elapsed = tokio::time::timeout(delay, tasks.stopping().cancelled()).await;
        }
        () = tasks.stopping().cancelled() => {
            server.health().begin_shutdown();
            info!("shutting down at once: the server's tasks are stopping");
        }
    }
}

/// Completes at SIGTERM or SIGINT. Handlers are installed when this is called.
pub fn signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = unix_signal(SignalKind::terminate())?;
    let mut interrupt = unix_signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("received SIGTERM"),
            _ = interrupt.recv() => info!("received SIGINT"),
        }
    })
}
