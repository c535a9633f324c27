//! The accept loop and the life of one connection.
//!
//! Our own loop because the chain needs the peer's certificates, and because each connection has
//! limits of its own: handshake, idle time, age (so that clients spread over replicas again).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls_pki_types::CertificateDer;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{Server, body};
use crate::clock;
use crate::tasks::{CancellationToken, OnExit, Tasks};

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Open at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// A peer that has gone without a word is found after about twice this, also on connections that
    /// have been upgraded and on which nothing is sent.
    pub tcp_keepalive: Duration,
    pub handshake_timeout: Duration,
    /// For the head of an HTTP/1 request.
    pub header_read_timeout: Duration,
    /// The head of a request.
    pub header_bytes_max: u32,
    pub http2_streams_max: u32,
    pub http2_stream_window_bytes: u32,
    pub http2_connection_window_bytes: u32,
    /// Between pings of HTTP/2, and for their answers.
    pub http2_ping_interval: Duration,
    pub http2_ping_timeout: Duration,
    /// A connection without requests is closed after one to two of these.
    pub idle_timeout: Duration,
    /// A connection is asked to end after this, plus up to a quarter of it.
    pub age_max: Duration,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            tcp_keepalive: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(32),
            header_bytes_max: 1 << 20,
            http2_streams_max: 1000,
            http2_stream_window_bytes: 256 << 10,
            http2_connection_window_bytes: 64 << 20,
            http2_ping_interval: Duration::from_secs(30),
            http2_ping_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(90),
            age_max: Duration::from_secs(600),
        }
    }
}

/// What all connections share.
pub(super) struct Listener {
    pub(super) config: ListenerConfig,
    pub(super) acceptor: TlsAcceptor,
    pub(super) server: Arc<Server>,
    /// Stopping = finish what is under way.
    pub(super) connections: Tasks,
    /// Cancelled = drop what is under way.
    pub(super) kill: CancellationToken,
}

impl Listener {
    /// Accepts until dropped.
    pub(super) async fn accept(self: Arc<Self>, tcp: TcpListener) {
        let slots = Arc::new(Semaphore::new(self.config.connections_max));
        loop {
            let slot = slots.clone().acquire_owned().await;
            match tcp.accept().await {
                Ok((stream, address)) => {
                    let this = self.clone();
                    self.connections.spawn("connection", OnExit::Ignore, async move {
                        let serve = this.connection(stream, address.ip());
                        if this.kill.run_until_cancelled(serve).await.is_none() {
                            debug!(%address, "connection dropped");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of descriptors, or the peer was quicker: neither is worth a busy loop.
                    warn!(error = %error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, tcp: TcpStream, address: IpAddr) {
        if let Err(error) = self.set_options(&tcp) {
            debug!(error = %error, "can't set options of a connection");
        }
        let handshake = self.acceptor.accept(tcp);
        let tls = match tokio::time::timeout(self.config.handshake_timeout, handshake).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return debug!(error = %error, "TLS handshake failed"),
            Err(_) => return debug!("TLS handshake timed out"),
        };
        let peer: Arc<[CertificateDer<'static>]> =
            tls.get_ref().1.peer_certificates().map_or_else(Default::default, Into::into);
        let activity = Activity::default();
        let service = service_fn(|request| {
            let (server, peer) = (self.server.clone(), peer.clone());
            let busy = activity.begin();
            async move {
                let response = server.serve(address, &peer, request).await;
                Ok::<_, std::convert::Infallible>(response.map(|inner| body::guarded(inner, busy)))
            }
        });

        let builder = self.builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = &mut connection => result,
            () = self.end_of_life(&activity) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            debug!(error = %error, "connection ended");
        }
    }

    /// Go's servers, and so kube-apiserver, send keepalives as well (`net.ListenConfig`). No limit for
    /// what is sent and not acknowledged (TCP_USER_TIMEOUT): it would end a reader that pauses, whose
    /// kernel answers. Where something is on its way the kernel gives up by itself, in a quarter of an
    /// hour.
    fn set_options(&self, tcp: &TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let after = self.config.tcp_keepalive;
        let probes = 3;
        let keepalive = TcpKeepalive::new().with_time(after).with_retries(probes);
        let socket = SockRef::from(tcp);
        socket.set_tcp_keepalive(&keepalive.with_interval(after / probes))
    }

    /// Returns when the connection should take no more requests.
    async fn end_of_life(&self, activity: &Activity) {
        let age = self.config.age_max.mul_f64(1.0 + 0.25 * clock::random_fraction());
        tokio::select! {
            () = self.connections.stopping().cancelled() => {}
            () = tokio::time::sleep(age) => {}
            () = activity.idle(self.config.idle_timeout) => {}
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let config = &self.config;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read_timeout)
            .max_buf_size(config.header_bytes_max as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.http2_streams_max)
            .max_header_list_size(config.header_bytes_max)
            .initial_stream_window_size(config.http2_stream_window_bytes)
            .initial_connection_window_size(config.http2_connection_window_bytes)
            .keep_alive_interval(config.http2_ping_interval)
            .keep_alive_timeout(config.http2_ping_timeout);
        builder
    }
}

/// Counts a connection's requests.
#[derive(Debug, Default)]
struct Activity {
    running: Arc<AtomicUsize>,
    begun: AtomicUsize,
}

/// A request under way, until its response has been sent.
#[derive(Debug)]
struct Busy(Arc<AtomicUsize>);

impl Activity {
    fn begin(&self) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Busy(self.running.clone())
    }

    /// Returns after a whole `span` in which nothing ran or began.
    async fn idle(&self, span: Duration) {
        let mut was_idle_at = None;
        loop {
            tokio::time::sleep(span).await;
            let begun = self.begun.load(Ordering::Relaxed);
            let is_idle = self.running.load(Ordering::Relaxed) == 0;
            if is_idle && was_idle_at == Some(begun) {
                return;
            }
            was_idle_at = is_idle.then_some(begun);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
