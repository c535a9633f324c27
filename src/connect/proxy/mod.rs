//! `proxy`: HTTP to a port of a sandbox, WebSockets included.
//!
//! **How.** Through the Pod's `portforward`, so that what listens on loopback is reached and no
//! NetworkPolicy must let the server in; and so that the cluster's own proxy, which rewrites pages
//! and passes cookies, has no part in it. A request has a connection of its own.
//!
//! **What passes** is in [`headers`]. A redirect does not: kube-apiserver refuses it of every
//! aggregated server (CVE-2022-3172), and answers alike however one comes.

mod address;
mod backend;
mod headers;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use apiserver::resource::ConnectRequest;
use apiserver::server::{Body, response};
use apiserver::status::ApiError;
use apiserver::tasks::OnExit;
use futures::future::BoxFuture;
use http::header::{LOCATION, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::address::{Address, Scheme};
use self::backend::{counted, secured, unreachable};
use super::handler::{self, Handler};
use super::{answer, request};

/// How long the cluster may take to tell why a connection failed, after it has.
const EXPLANATION: Duration = Duration::from_secs(1);

/// As `[apimachinery] pkg/util/proxy/upgradeaware.go` says it.
const NO_REDIRECT: &str = "the backend attempted to redirect this request, which is not permitted";

impl Handler {
    pub(super) async fn proxy(
        &self,
        mut asked: ConnectRequest<'_>,
    ) -> Result<Response<Body>, ApiError> {
        let named = asked.key.name.clone();
        let address = Address::parse(&named)?;
        address.name.clone_into(&mut asked.key.name);
        let client = upgrade(asked.parts)?;
        let held = self.place()?;
        let found = self.find(&asked).await?;
        let found = self.awake(&asked, found).await?;
        let (pod, _) = self.target(&asked, &found, None).await?;
        let port = address.port(&pod)?;
        let head = outgoing(asked.parts, port, client.is_some())?;
        let dialed = self.shared.streams.dial(&pod.meta.key, port).await;
        let dialed = dialed.map_err(handler::unreachable)?;
        let io = match address.scheme {
            Scheme::Http => dialed.io,
            Scheme::Https => secured(dialed.io).await.map_err(unreachable)?,
        };
        let session = self.session(&asked, found, (&pod.meta.key, ""), held)?;
        let io = counted(io, session.usage.clone());
        let (sender, connection) = handshake(TokioIo::new(io)).await.map_err(unreachable)?;
        let connection = connection.with_upgrades();
        let tasks = asked.tasks;
        let request = head.map(|()| asked.body);
        let (driven, gone) = oneshot::channel();
        let Some(client) = client else {
            let work = session.drive(connection);
            tasks.spawn("proxy", OnExit::Ignore, holding(driven, work));
            return passed_on(exchange(sender, request, gone, dialed.refused).await?);
        };
        let work = session.until_upgraded(connection);
        tasks.spawn("proxy", OnExit::Ignore, holding(driven, work));
        let mut said = exchange(sender, request, gone, dialed.refused).await?;
        if said.status() != StatusCode::SWITCHING_PROTOCOLS {
            return passed_on(said);
        }
        if !handler::is_websocket(said.headers()) {
            return Err(unreachable("it switched to another protocol than the one asked for"));
        }
        let switched = answer::switched(said.headers());
        let pod = hyper::upgrade::on(&mut said).await.map_err(unreachable)?;
        let pod = Box::new(TokioIo::new(pod));
        tasks.spawn("stream", OnExit::Ignore, session.splice(client, pod, true));
        Ok(switched)
    }
}

/// The client's connection, if it asks for a WebSocket.
///
/// # Errors
/// 400 where it asks for another protocol, or can't switch.
fn upgrade(parts: &Parts) -> Result<Option<OnUpgrade>, ApiError> {
    if !request::asks_upgrade(&parts.headers) {
        return Ok(None);
    }
    let protocol = parts.headers.get(UPGRADE).map(|it| it.as_bytes()).unwrap_or_default();
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        let text = String::from_utf8_lossy(protocol);
        return Err(ApiError::bad_request(format!(
            "unable to upgrade to {text:?}: websocket expected"
        )));
    }
    request::client(parts).map(Some)
}

/// The head of the request to the Pod.
fn outgoing(parts: &Parts, port: u16, websocket: bool) -> Result<Request<()>, ApiError> {
    let (prefix, path) = address::split(parts.uri.path());
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut request = Request::builder()
        .method(&parts.method)
        .uri(target)
        .body(())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let headers = headers::for_the_pod(&parts.headers, port, prefix, websocket);
    *request.headers_mut() = headers.map_err(ApiError::internal)?;
    Ok(request)
}

/// `gone` completes when nobody drives the connection any more. hyper itself does not always notice:
/// a request that is handed over in the moment in which the connection ends stays in the queue.
///
/// # Errors
/// 503 without an answer.
async fn exchange<B>(
    mut sender: SendRequest<B>,
    request: Request<B>,
    gone: oneshot::Receiver<()>,
    refused: BoxFuture<'static, Option<String>>,
) -> Result<Response<Incoming>, ApiError>
where
    B: hyper::body::Body + 'static,
{
    let error = tokio::select! {
        // An answer comes before the end of the connection that brought it.
        biased;
        answer = sender.send_request(request) => match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error.to_string(),
        },
        _ = gone => "the connection has ended".to_owned(),
    };
    let cause = timeout(EXPLANATION, refused).await.ok().flatten();
    Err(unreachable(cause.unwrap_or(error)))
}

/// Drops what it holds when the work is over.
async fn holding(held: oneshot::Sender<()>, work: impl Future<Output = ()>) {
    work.await;
    drop(held);
}

fn passed_on(answer: Response<Incoming>) -> Result<Response<Body>, ApiError> {
    let (head, body) = answer.into_parts();
    if head.status.is_redirection() && head.headers.contains_key(LOCATION) {
        return Ok(response::text(StatusCode::BAD_GATEWAY, NO_REDIRECT));
    }
    let body = body.map_err(std::io::Error::other).boxed_unsync();
    let mut passed = Response::new(body);
    *passed.status_mut() = head.status;
    *passed.headers_mut() = headers::for_the_client(&head.headers);
    Ok(passed)
}
