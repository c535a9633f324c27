//! The whole way from TLS to etcd in one process; only the cluster's answers are faked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apiserver::admission::{NamespaceState, Namespaces};
use apiserver::audit::Audit;
use apiserver::auth::{
    AccessReviewer, Attributes, Authenticator, Authorizer, AuthorizerConfig, Decision,
    TokenReviewer, Trust, TrustConfig, User,
};
use apiserver::clock::SystemClock;
use apiserver::endpoint::Api;
use apiserver::request::RequestInfo;
use apiserver::server::{
    Health, LifecycleConfig, Limits, ListenerConfig, Metrics, Routed, Server, ServerConfig,
    Serving, Tls,
};
use apiserver::status::ApiError;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use async_trait::async_trait;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Bench, connect, env};

const THINGS: &str = "/apis/test.x-k8s.io/v1/namespaces/ns/things";

/// Everybody may do everything, nothing, or all but one verb.
pub(crate) struct FakeReviews {
    pub(crate) allowed: bool,
    pub(crate) except: &'static str,
}

#[async_trait]
impl AccessReviewer for FakeReviews {
    async fn review(&self, _: &User, asked: &Attributes) -> Result<Decision, ApiError> {
        let excepted = matches!(asked, Attributes::Resource { verb, .. } if verb == self.except);
        Ok(Decision { allowed: self.allowed && !excepted, reason: String::new() })
    }
}

#[async_trait]
impl TokenReviewer for FakeReviews {
    async fn review(&self, _: &str) -> Result<Option<User>, ApiError> {
        Ok(None)
    }
}

/// Holds every create in the namespace check until it is let go.
pub(crate) struct Gate {
    pub(crate) entered: Notify,
    pub(crate) open: Semaphore,
}

impl Gate {
    pub(crate) fn closed() -> Arc<Self> {
        Arc::new(Self { entered: Notify::new(), open: Semaphore::new(0) })
    }
}

#[async_trait]
impl Namespaces for Gate {
    async fn state(&self, _: &str) -> Result<NamespaceState, ApiError> {
        self.entered.notify_one();
        drop(self.open.acquire().await);
        Ok(NamespaceState::Active)
    }
}

pub(crate) struct Wire {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: Tasks,
}

impl Wire {
    async fn serve(bench: &Bench) -> Self {
        Self::serve_with(bench, FakeReviews { allowed: true, except: "" }).await
    }

    pub(crate) async fn serve_with(bench: &Bench, reviews: FakeReviews) -> Self {
        let reviews = Arc::new(reviews);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let tls =
            Tls::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes());
        let tasks = Tasks::new();
        let clock = Arc::new(SystemClock);
        let trust = Trust::new(TrustConfig::default());
        let authorizer = Arc::new(Authorizer::new(AuthorizerConfig::default(), reviews.clone()));
        let stores = vec![bench.store.clone()];
        let api = Api::new(stores, "test", "0", clock.clone(), authorizer.clone());
        let config = ServerConfig {
            limits: Limits::default(),
            route: Arc::new(|parts| {
                let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query());
                Routed {
                    attributes: info.attributes(),
                    is_long_running: info.is_long_running(),
                    is_mutating: info.is_mutating(),
                }
            }),
            version: json!({}),
            audit: Audit::off(),
        };
        let server = Server::new(
            config,
            Authenticator::new(trust, reviews, clock),
            authorizer,
            Arc::new(api),
            Arc::new(Health::new()),
            Arc::new(Metrics::new()),
            tasks.clone(),
        );
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = Serving {
            server,
            tls: tls.unwrap(),
            listener: ListenerConfig::default(),
            // Nobody has to hear of the end before it begins.
            lifecycle: LifecycleConfig {
                shutdown_delay: Duration::ZERO,
                ..LifecycleConfig::default()
            },
        };
        let (group, shutdown) = (tasks.clone(), stop.clone().cancelled_owned());
        tasks.spawn("server", OnExit::Ignore, async move {
            serving.run(tcp, &group, shutdown).await.unwrap();
        });
        Self { address, certificate: made.cert.der().clone(), stop, tasks }
    }

    pub(crate) async fn dial(&self) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// One exchange on a connection of its own: status line and all that follows.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = self.dial().await;
        let request = request(method, path, headers, body);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes without close_notify has still answered.
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_create_survives_a_client_that_hangs_up() {
    let gate = Gate::closed();
    let bench = Bench::with(connect(&env("TEST_ETCD_ENDPOINT")).await, gate.clone());
    let wire = Wire::serve(&bench).await;
    let mut stream = wire.dial().await;
    let body = json!({"metadata": {"name": "a"}}).to_string();
    stream.write_all(request("POST", THINGS, "", &body).as_bytes()).await.unwrap();
    gate.entered.notified().await;
    drop(stream);
    assert!(bench.get("a").await.unwrap_err().is_not_found(), "it is still under way");
    gate.open.add_permits(1);
    // Ends the server first, then its mutations: what has begun is finished.
    wire.stop.cancel();
    wire.tasks.shutdown().await;
    assert_eq!(bench.get("a").await.unwrap().name(), "a");
}

#[tokio::test]
async fn forms_and_refusals_on_the_wire() {
    let bench = Bench::new().await;
    let wire = Wire::serve(&bench).await;
    let body = json!({"metadata": {"name": "a"}}).to_string();
    let one = format!("{THINGS}/a");
    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io\r\n";
    let too_large = "x".repeat(3 * 1024 * 1024 + 1);
    // method, path, headers, body, status, part of the answer
    let exchanges = [
        ("POST", THINGS, "", body.as_str(), 201, "\"name\":\"a\""),
        ("POST", THINGS, "", body.as_str(), 409, "things.test.x-k8s.io \\\"a\\\" already exists"),
        ("GET", THINGS, table, "", 200, "\"columnDefinitions\""),
        ("GET", &one, "Accept: application/yaml\r\n", "", 200, "kind: Thing"),
        ("GET", &one, "Accept: text/html\r\n", "", 406, "only the following media types"),
        ("POST", THINGS, "", "{", 400, "cannot be handled as a Thing"),
        ("POST", THINGS, "Content-Type: application/cbor\r\n", "x", 415, "unknown format"),
        ("POST", THINGS, "", too_large.as_str(), 413, "limit is 3145728"),
        ("PATCH", &one, "Content-Type: application/strategic-merge-patch+json\r\n", "{}", 415, ""),
        ("PUT", THINGS, "", "{}", 405, "does not allow this method"),
        ("GET", "/apis/test.x-k8s.io/v1/boxes", "", "", 404, "could not find the requested"),
        ("GET", "/apis/test.x-k8s.io/v2/things", "", "", 404, "404 page not found"),
        ("GET", "/apis/test.x-k8s.io/v1", "", "", 200, "things/status"),
        ("DELETE", &one, "", "", 200, "\"status\":\"Success\""),
    ];
    for (method, path, headers, body, status, part) in exchanges {
        let answer = wire.ask(method, path, headers, body).await;
        let line = answer.lines().next().unwrap_or_default().to_owned();
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {line}");
        assert!(answer.contains(part), "{method} {path}: {answer}");
    }
    wire.stop.cancel();
    wire.tasks.shutdown().await;
}

/// Derived from the table: what is served later is asked here too.
#[tokio::test]
async fn nothing_is_reachable_without_a_right() {
    let bench = Bench::new().await;
    let wire = Wire::serve_with(&bench, FakeReviews { allowed: false, except: "" }).await;
    let mut paths: Vec<String> = [
        "/",
        "/apis",
        "/apis/test.x-k8s.io",
        "/apis/test.x-k8s.io/v1",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/test.x-k8s.io/v1",
        "/version",
        "/metrics",
        "/readyz/ping",
        "/nowhere",
    ]
    .map(str::to_owned)
    .to_vec();
    let def = bench.store.def();
    let base = format!("/apis/{}/{}", def.gvk.group, def.gvk.version);
    paths.push(format!("{base}/{}", def.plural));
    paths.push(format!("{base}/watch/{}", def.plural));
    paths.push(format!("{base}/namespaces/ns/{}", def.plural));
    paths.push(format!("{base}/namespaces/ns/{}/a", def.plural));
    for sub in &def.subresources {
        paths.push(format!("{base}/namespaces/ns/{}/a/{}", def.plural, sub.name()));
        paths.push(format!("{base}/namespaces/ns/{}/a/{}/more", def.plural, sub.name()));
    }
    for path in &paths {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = wire.ask(method, path, "", "").await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{method} {path}: {answer}");
        }
    }
    let answer = wire.ask("GET", "/healthz", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "health is for everybody: {answer}");
    wire.stop.cancel();
    wire.tasks.shutdown().await;
}
