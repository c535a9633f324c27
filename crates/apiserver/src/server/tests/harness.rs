//! A server with fake ports, and clients of both protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsConnector;

use crate::audit::Audit;
use crate::auth::testing::{FakeAccess, FakeCa, FakeCertificate, FakeTokens, trust};
use crate::auth::{Attributes, Authenticator, Authorizer, AuthorizerConfig, Permit};
use crate::clock::SystemClock;
use crate::server::{
    Background, Body, Handler, Health, LifecycleConfig, Limits, ListenerConfig, Metrics, Outcome,
    Probe, Routed, Server, ServerConfig, Serving, Tls, response,
};
use crate::tasks::{OnExit, Tasks};
use crate::warnings::Warnings;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) front: FakeCa,
    pub(super) serving_ca: FakeCa,
    pub(super) tls: Tls,
    pub(super) etcd_fails: Arc<AtomicBool>,
    handler: Arc<FakeHandler>,
    tasks: Tasks,
    shutdown: Option<oneshot::Sender<()>>,
    outcome: Option<oneshot::Receiver<Outcome>>,
}

/// Answers with the user's name; `/slow` waits to be released.
struct FakeHandler {
    started: Semaphore,
    release: Semaphore,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Wire {
    Http1,
    Http2,
}

pub(super) struct Client {
    sender: Sender,
    pub(super) certificate: CertificateDer<'static>,
    tasks: Tasks,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) text: String,
    headers: HeaderMap,
}

#[async_trait]
impl Handler for FakeHandler {
    async fn handle(
        &self,
        permit: Permit,
        parts: Parts,
        _body: hyper::body::Incoming,
        warnings: Warnings,
        _background: Background<'_>,
    ) -> Response<Body> {
        match parts.uri.path() {
            "/stream" => {
                let first = stream::iter([Ok(Frame::data(Bytes::from_static(b"event")))]);
                let body = StreamBody::new(first.chain(stream::pending()));
                self.started.add_permits(1);
                return Response::new(body.boxed_unsync());
            }
            "/panic" => panic!("a handler's bug"),
            "/slow" => {
                self.started.add_permits(1);
                self.release.acquire().await.unwrap().forget();
            }
            _ => {}
        }
        warnings.add("careful");
        let is_clean = !parts
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-remote-") || name.as_str() == "authorization");
        let identity = if is_clean { "no identity" } else { "identity headers" };
        response::text(StatusCode::OK, format!("{}: {identity}", permit.user().name))
    }
}

fn route(parts: &Parts) -> Routed {
    let verb = parts.method.as_str().to_ascii_lowercase();
    Routed {
        is_mutating: verb != "get",
        is_long_running: parts.uri.query() == Some("watch=true"),
        attributes: Attributes::NonResource { verb, path: parts.uri.path().into() },
    }
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        Self::build(limits, ListenerConfig::default()).await
    }

    pub(super) async fn build(limits: Limits, listener: ListenerConfig) -> Self {
        Self::audited(limits, listener, Audit::off()).await
    }

    pub(super) async fn audited(limits: Limits, listener: ListenerConfig, audit: Audit) -> Self {
        let (front, clients) = (FakeCa::new("front-proxy-ca"), FakeCa::new("kubernetes"));
        let serving_ca = FakeCa::new("serving");
        let certificate = serving_ca.server("localhost");
        let key = certificate.key.serialize_pem();
        let tls = Tls::from_pem(certificate.pem.as_bytes(), key.as_bytes()).unwrap();
        let handler =
            Arc::new(FakeHandler { started: Semaphore::new(0), release: Semaphore::new(0) });
        let tasks = Tasks::new();
        let access = FakeAccess {
            allowed: vec!["alice".into(), "token-user".into()],
            ..FakeAccess::default()
        };
        let etcd_fails = Arc::new(AtomicBool::new(false));
        let fails = etcd_fails.clone();
        let mut health = Health::new();
        health.add_fn("etcd", &[Probe::Readyz], move || {
            if fails.load(Ordering::SeqCst) { Err("no leader".into()) } else { Ok(()) }
        });
        let server = Server::new(
            ServerConfig { limits, route: Arc::new(route), version: json!({"major": "1"}), audit },
            Authenticator::new(
                trust(&front, &clients),
                Arc::new(FakeTokens),
                Arc::new(SystemClock),
            ),
            Arc::new(Authorizer::new(AuthorizerConfig::default(), Arc::new(access))),
            handler.clone(),
            Arc::new(health),
            Arc::new(Metrics::new()),
            tasks.clone(),
        );
        let lifecycle = LifecycleConfig {
            shutdown_delay: Duration::from_millis(300),
            drain_timeout: Duration::from_millis(1500),
        };
        let serving = Serving { server, tls: tls.clone(), listener, lifecycle };
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let (shutdown, asked) = oneshot::channel::<()>();
        let (ended, outcome) = oneshot::channel();
        let own = tasks.clone();
        tasks.spawn("server", OnExit::Ignore, async move {
            let shutdown = async { asked.await.unwrap_or(()) };
            let outcome = serving.run(tcp, &own, shutdown).await.unwrap();
            // A test that doesn't ask has gone already.
            let _unasked = ended.send(outcome);
        });
        let (shutdown, outcome) = (Some(shutdown), Some(outcome));
        Self { address, front, serving_ca, tls, etcd_fails, handler, tasks, shutdown, outcome }
    }

    pub(super) async fn connect(
        &self,
        wire: Wire,
        certificate: Option<&FakeCertificate>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pem(&self.serving_ca.pem));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(one) => {
                let key = PrivateKeyDer::try_from(one.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![one.der.clone()], key).unwrap()
            }
        };
        let protocol: &[u8] = match wire {
            Wire::Http1 => b"http/1.1",
            Wire::Http2 => b"h2",
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol));
        let certificate = tls.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let sender = self.handshake(wire, TokioIo::new(tls)).await;
        Client { sender, certificate, tasks: self.tasks.clone() }
    }

    async fn handshake(
        &self,
        wire: Wire,
        io: TokioIo<tokio_rustls::client::TlsStream<TcpStream>>,
    ) -> Sender {
        match wire {
            Wire::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                self.tasks.spawn("client", OnExit::Ignore, async { drop(connection.await) });
                Sender::Http1(sender)
            }
            Wire::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.unwrap();
                self.tasks.spawn("client", OnExit::Ignore, async { drop(connection.await) });
                Sender::Http2(sender)
            }
        }
    }

    /// A client whose front proxy says it is of `system:masters`.
    pub(super) async fn master(&self) -> MasterClient {
        let front = self.front.client("front-proxy-client", None);
        MasterClient(self.connect(Wire::Http2, Some(&front)).await)
    }

    /// Returns once `/slow` has begun.
    pub(super) async fn started(&self) {
        self.handler.started.acquire().await.unwrap().forget();
    }

    pub(super) fn release(&self) {
        self.handler.release.add_permits(1);
    }

    pub(super) fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    pub(super) async fn outcome(&mut self) -> Outcome {
        tokio::time::timeout(PATIENCE, self.outcome.take().unwrap()).await.unwrap().unwrap()
    }

    /// Returns once readiness fails, which must be while we're still served.
    pub(super) async fn failing_readyz(&self, probe: &mut Client) {
        loop {
            let answer = probe.get("/readyz", &[]).await;
            if answer.code == StatusCode::INTERNAL_SERVER_ERROR {
                assert!(answer.text.contains("[-]shutdown failed: reason withheld\n"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Returns once nobody listens at the address.
pub(super) async fn refused(address: SocketAddr) {
    let poll = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap();
}

pub(super) struct MasterClient(Client);

impl MasterClient {
    pub(super) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![("x-remote-user", "root"), ("x-remote-group", "system:masters")];
        all.extend_from_slice(headers);
        self.0.get(path, &all).await
    }
}

impl Client {
    /// Another sender on the same HTTP/2 connection.
    pub(super) fn again(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else { panic!("HTTP/1 has one sender") };
        let sender = Sender::Http2(sender.clone());
        Self { sender, certificate: self.certificate.clone(), tasks: self.tasks.clone() }
    }

    pub(super) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers).await
    }

    pub(super) async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let sent = self.try_send(method, path, headers);
        tokio::time::timeout(PATIENCE, sent).await.unwrap().expect("an answer")
    }

    /// Returns once the server has ended the connection.
    pub(super) async fn closed(&self) {
        let poll = async {
            while !self.sender.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.unwrap();
    }

    pub(super) async fn try_get(&mut self, path: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        self.try_send("GET", path, headers).await
    }

    async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let uri = match self.sender {
            Sender::Http1(_) => path.to_owned(),
            Sender::Http2(_) => format!("https://localhost{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri).header("host", "localhost");
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new()).unwrap();
        let answer = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        let (parts, body) = answer.ok()?.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Some(Answer { code: parts.status, text, headers: parts.headers })
    }
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

impl Answer {
    /// The header's value, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message of a Status.
    pub(super) fn message(&self) -> String {
        let status: Value = serde_json::from_str(&self.text).unwrap();
        status["message"].as_str().unwrap().to_owned()
    }
}

fn pem(text: &str) -> Vec<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect()
}
