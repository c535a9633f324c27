//! The connections that streams go over. `kube`'s own leave Nagle's algorithm on: each keystroke would
//! wait for the peer's acknowledgement of the one before, which is up to 40 ms late. And a host that
//! vanished would be noticed by nobody.

use std::time::Duration;

use apiserver::tasks::CancellationToken;
use futures::future::join_all;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use tokio::sync::Notify;
use tower::{BoxError, ServiceBuilder};
use tracing::debug;

const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// Of connections without a request, which are kept for the next stream.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_MAX: usize = 16;
const SPARE_DELAY: Duration = Duration::from_millis(50);
const SPARE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for streams. It repeats nothing: a request that opens one is not to be sent twice.
///
/// # Errors
/// When the configuration has no usable certificates or credentials.
pub fn streaming(config: &kube::Config) -> kube::Result<kube::Client> {
    let mut tcp = connector();
    tcp.set_connect_timeout(config.connect_timeout);
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_MAX)
        .build::<_, Body>(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// Sees to it, after each stream, that there are connections for the next, so that none has to wait
/// for TLS. Not at once: the stream that has just been opened has work to do.
pub(super) async fn spares(client: kube::Client, wanted: &Notify, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = wanted.notified() => {}
            () = stop.cancelled() => return,
        }
        tokio::time::sleep(SPARE_DELAY).await;
        // Whatever is answered: the connections stay, and the client keeps those that nobody uses.
        let asked = join_all([client.apiserver_version(), client.apiserver_version()]);
        let asked = tokio::time::timeout(SPARE_TIMEOUT, asked).await;
        if !asked.is_ok_and(|all| all.iter().all(Result::is_ok)) {
            debug!("no connections were made ahead of the next streams");
        }
    }
}

fn connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE_TIME));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    tcp
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_sends_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = format!("http://{address}/").parse::<http::Uri>().unwrap();
        let connection = connector().oneshot(to).await.unwrap();
        assert!(connection.inner().nodelay().unwrap());
    }
}
