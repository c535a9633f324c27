//! Watches over WebSocket, one text message an event
//! (`[apiserver] pkg/endpoints/handlers/watch.go` HandleWS).

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use super::reply::Render;
use super::watch::Frames;
use crate::audit::Record;
use crate::registry::WatchStream;
use crate::server::{Background, Body, response};
use crate::status::ApiError;
use crate::tasks::{CancellationToken, OnExit};

/// Browsers can't set an Authorization header and offer this instead; it is never chosen.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// Clients have nothing to say.
const MESSAGE_BYTES_MAX: usize = 4096;
/// A client that does not take an event in this time is cut off.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Between pings, which tell that the other end is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);

pub(super) fn is_asked(parts: &Parts) -> bool {
    let has = |name, token: &str| {
        parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// Switches protocols and tells the events until either end is through or the server finishes what
/// is under way, as it ends the watches that are responses.
///
/// # Errors
/// 400 for a handshake that is none.
pub(super) fn respond(
    events: WatchStream,
    render: Render,
    parts: &Parts,
    background: Background<'_>,
) -> Result<Response<Body>, ApiError> {
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION);
    let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
    let (Some(key), Some(upgrade), true) = (key, upgrade, version.is_some_and(|v| v == "13"))
    else {
        return Err(ApiError::bad_request("the WebSocket handshake is incomplete"));
    };
    let Background { tasks, draining } = background;
    let (draining, stop) = (draining.clone(), tasks.stopping().clone());
    let frames = Frames::new(render);
    let record = Record::of(parts);
    tasks.spawn("watch-websocket", OnExit::Ignore, async move {
        let connection = match upgrade.await {
            Ok(connection) => TokioIo::new(connection),
            Err(error) => return debug!(%error, "a WebSocket was not taken up"),
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        // The peer may take its time with the end, the server does not.
        stop.run_until_cancelled(tell(events, frames, socket, draining)).await;
        drop(record);
    });
    let mut answer = Response::new(response::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    headers.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_str(&accept).map_err(ApiError::internal)?,
    );
    if let Some(protocol) = protocol(&parts.headers) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// The one protocol that is offered besides a token, if there is exactly one.
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with(BEARER));
    let only = names.next().filter(|_| names.next().is_none())?;
    HeaderValue::from_str(only).ok()
}

async fn tell<S>(
    mut events: WatchStream,
    mut frames: Frames,
    mut socket: WebSocketStream<S>,
    draining: CancellationToken,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut ping = tokio::time::interval(PING_INTERVAL);
    ping.reset();
    loop {
        let message = tokio::select! {
            () = draining.cancelled() => break,
            event = events.next() => {
                let Some(event) = event else { break };
                let (bytes, is_last) = frames.frame(event);
                // Without the newline that separates frames elsewhere.
                let text = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
                (Message::text(text), is_last)
            }
            _ = ping.tick() => (Message::Ping(bytes::Bytes::new()), false),
            heard = socket.next() => match heard {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(_)) => continue,
            },
        };
        let (message, is_last) = message;
        match timeout(SEND_TIMEOUT, socket.send(message)).await {
            Ok(Ok(())) if !is_last => {}
            Ok(Ok(())) => break,
            Ok(Err(error)) => return debug!(%error, "a WebSocket watch broke"),
            Err(_) => return debug!("a WebSocket watch takes no more events"),
        }
    }
    // The other end may be gone already.
    drop(timeout(SEND_TIMEOUT, socket.close(None)).await);
}
