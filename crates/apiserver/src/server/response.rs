//! Responses that need no negotiation.
//!
//! Shapes: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/{status,errors}.go`.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tracing::{debug, warn};

use super::Body;
use crate::audit::Said;
use crate::status::ApiError;

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn empty() -> Body {
    full(Bytes::new())
}

/// The error as a JSON `Status`; its log text goes to the log, here and only here. The audit finds
/// it on the response.
pub fn error(error: &ApiError) -> Response<Body> {
    if error.code() >= 500 {
        warn!(
            code = error.code(),
            message = error.message(),
            cause = error.log(),
            "request failed"
        );
    } else {
        debug!(code = error.code(), message = error.message(), cause = error.log(), "refused");
    }
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &error.to_status());
    if let Some(seconds) = error.details().and_then(|details| details.retry_after_seconds) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.extensions_mut().insert(Said(error.clone()));
    response
}

pub fn json(code: StatusCode, value: &Value) -> Response<Body> {
    with(code, "application/json", full(value.to_string()))
}

pub fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = with(code, "text/plain; charset=utf-8", full(text.into()));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// For paths that nobody knows, not even a group.
pub fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

pub(super) fn with(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
