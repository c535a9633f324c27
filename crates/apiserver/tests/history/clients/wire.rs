//! HTTPS to the replicas.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiserver::tasks::{OnExit, Tasks};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::lab::replica::TOKEN;

/// Where the replicas are and how to trust them.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(super) replicas: Arc<Vec<SocketAddr>>,
    tls: TlsConnector,
    tasks: Tasks,
}

/// What to ask.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) content_type: &'static str,
    pub(super) body: Option<Value>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Value,
}

impl Ask {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::GET, path, content_type: "application/json", body: None }
    }
}

impl Answer {
    pub(super) fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Wire {
    pub(crate) fn new(
        replicas: Vec<SocketAddr>,
        certificate: Vec<u8>,
        tasks: Tasks,
    ) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(certificate))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { replicas: Arc::new(replicas), tls: TlsConnector::from(Arc::new(config)), tasks })
    }

    async fn connect(
        &self,
        replica: usize,
        receive_bytes: Option<u32>,
    ) -> Result<SendRequest<Full<Bytes>>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let tcp = socket.connect(self.replicas[replica]).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::try_from("localhost")?, tcp).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        self.tasks.spawn("client connection", OnExit::Ignore, async {
            // A broken connection is told to who waits for an answer on it.
            drop(connection.await);
        });
        Ok(sender)
    }

    /// A stream of lines on a connection of its own: status and body.
    pub(super) async fn stream(
        &self,
        replica: usize,
        ask: Ask,
        receive_bytes: Option<u32>,
    ) -> Result<Response<Incoming>> {
        let opening = async {
            let mut sender = self.connect(replica, receive_bytes).await?;
            Ok::<_, anyhow::Error>(sender.send_request(request(ask)?).await?)
        };
        timeout(DEADLINE, opening).await.context("no answer in time")?
    }
}

/// A client with one connection to each replica.
pub(super) struct Client {
    wire: Wire,
    open: Vec<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    pub(super) fn new(wire: Wire) -> Self {
        let open = wire.replicas.iter().map(|_| None).collect();
        Self { wire, open }
    }

    /// # Errors
    /// No answer; whether the request arrived is not known.
    pub(super) async fn ask(&mut self, replica: usize, ask: Ask) -> Result<Answer> {
        // A connection with an unfinished exchange is not used again.
        let open = self.open[replica].take();
        let exchange = async {
            let mut sender = match open {
                Some(sender) if !sender.is_closed() => sender,
                _ => self.wire.connect(replica, None).await?,
            };
            sender.ready().await?;
            let answer = sender.send_request(request(ask)?).await?;
            let code = answer.status().as_u16();
            let bytes = answer.into_body().collect().await?.to_bytes();
            // Not every error is a Status: overload is told in plain text.
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            Ok::<_, anyhow::Error>((sender, Answer { code, body }))
        };
        let (sender, answer) = timeout(DEADLINE, exchange).await.context("no answer in time")??;
        self.open[replica] = Some(sender);
        Ok(answer)
    }
}

fn request(ask: Ask) -> Result<Request<Full<Bytes>>> {
    let body = ask.body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    Ok(Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, ask.content_type)
        .body(Full::new(body))?)
}

/// Longer than the server's own deadlines, shorter than a client's patience.
const DEADLINE: Duration = Duration::from_secs(10);
