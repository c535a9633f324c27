//! Clients of the cluster, with connections of our own. `kube`'s leave Nagle's algorithm on: a keystroke
//! would wait for the peer's acknowledgement of the one before, and so would a request after a pause,
//! which is up to 40 ms late. And a host that vanished would be noticed by nobody.

use std::time::Duration;

use apiserver::tasks::CancellationToken;
use futures::future::join_all;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt as _};
use tokio::sync::Notify;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};
use tracing::debug;

const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// Of connections without a request, which are kept for the next.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_MAX: usize = 32;
const SPARE_DELAY: Duration = Duration::from_millis(50);
const SPARE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for everything but streams: repeats what the server asks to repeat (429, 503, 504).
///
/// # Errors
/// When the configuration has no usable certificates or credentials.
pub fn requesting(config: &kube::Config) -> kube::Result<kube::Client> {
    let retry = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    client(config, retry)
}

/// A client for streams. It repeats nothing: a request that opens one is not to be sent twice.
///
/// # Errors
/// When the configuration has no usable certificates or credentials.
pub fn streaming(config: &kube::Config) -> kube::Result<kube::Client> {
    client(config, None)
}

fn client(
    config: &kube::Config,
    retry: Option<RetryLayer<RetryPolicy>>,
) -> kube::Result<kube::Client> {
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(connections(config)?);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

fn connections(
    config: &kube::Config,
) -> kube::Result<legacy::Client<impl Connect + Clone + Send + Sync + 'static, Body>> {
    let mut tcp = connector();
    tcp.set_connect_timeout(config.connect_timeout);
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_MAX)
        .build(tls))
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
    use std::future::pending;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tower::ServiceExt as _;

    use super::*;

    /// How often a server that is too busy the first time is asked for its version.
    async fn asked(client: fn(&kube::Config) -> kube::Result<kube::Client>) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            for answer in ["429 Too Many Requests\r\nretry-after: 0", "404 Not Found"] {
                let (mut connection, _) = listener.accept().await.unwrap();
                assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
                let answer =
                    format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let config = kube::Config::new(format!("http://{address}/").parse().unwrap());
        let client = client(&config).unwrap();
        let ask = client.apiserver_version();
        tokio::select! {
            answer = ask => {
                let kube::Error::Api(status) = answer.unwrap_err() else { panic!("no answer") };
                if status.code == 404 { 2 } else { 1 }
            }
            () = serve.then(|()| pending()) => unreachable!(),
        }
    }

    #[tokio::test]
    async fn only_a_request_is_repeated_when_the_server_asks_for_it() {
        assert_eq!(asked(requesting).await, 2);
        assert_eq!(asked(streaming).await, 1);
    }

    #[tokio::test]
    async fn a_connection_sends_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = format!("http://{address}/").parse::<http::Uri>().unwrap();
        let connection = connector().oneshot(to).await.unwrap();
        assert!(connection.inner().nodelay().unwrap());
    }
}
