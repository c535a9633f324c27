//! Answers of the cluster that switch no protocol.

use apiserver::server::Body;
use apiserver::server::response;
use apiserver::status::ApiError;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Limited};

use super::request;

const JSON: &[u8] = b"application/json";

/// The protocol is switched, as the Pod's side did it.
pub(super) fn switched(headers: &HeaderMap) -> Response<Body> {
    let mut switched = Response::new(response::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = request::switched_headers(headers);
    switched
}

/// A log's body with its head.
pub(super) fn streamed(headers: &HeaderMap, body: Body) -> Response<Body> {
    with(StatusCode::OK, headers, body)
}

/// An error in the cluster's words, as far as they are for the user.
///
/// # Errors
/// 500 for what is between the server and the cluster, 503 for an answer that can't be read.
pub(super) async fn refused(
    status: StatusCode,
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Response<Body>, ApiError> {
    let is_plain = headers.get(CONTENT_TYPE).is_none_or(|kind| !kind.as_bytes().starts_with(JSON));
    if status == StatusCode::FORBIDDEN && is_plain {
        // Not kube-apiserver but the kubelet: none of the subprotocols that are offered will do
        // (`[streaming] pkg/httpstream/httpstream.go` Handshake).
        let body = Limited::new(body, bytes_max).collect().await.map(Collected::to_bytes);
        let text = body.map_err(|error| ApiError::service_unavailable(error.to_string()))?;
        return Err(ApiError::bad_request(String::from_utf8_lossy(&text).trim()));
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        // Ours, not the user's: he must neither log in again nor ask for a right on Pods.
        let text = "the server may not open streams to Pods; see its ClusterRole";
        return Err(ApiError::internal(text).with_log(format!("the cluster answered {status}")));
    }
    if !status.is_client_error() && !status.is_server_error() {
        // A redirect or a success without a stream: neither is followed or passed on.
        return Err(ApiError::internal(format!("unexpected answer {status} of the cluster")));
    }
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|error| {
        let text = "the cluster refused the stream, for reasons it did not tell";
        ApiError::service_unavailable(text).with_log(error.to_string())
    })?;
    Ok(with(status, headers, response::full(body.to_bytes())))
}

fn with(status: StatusCode, headers: &HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response
}
