//! Bearer tokens in the Authorization header and in WebSocket subprotocols.
//!
//! Rules: `k8s.io/apiserver/pkg/authentication/request/{bearertoken,websocket}`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// What the headers carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer {
    Absent,
    Token(String),
    /// Something that means to be a token and can't be read as one.
    Malformed,
}

/// Takes the token out of the headers: nothing behind authentication may see or forward it.
pub(super) fn take(headers: &mut HeaderMap) -> Bearer {
    match take_header(headers) {
        Bearer::Absent => take_protocol(headers),
        found => found,
    }
}

fn take_header(headers: &mut HeaderMap) -> Bearer {
    let Some(value) = headers.remove(AUTHORIZATION) else { return Bearer::Absent };
    let Ok(text) = value.to_str() else { return Bearer::Malformed };
    let mut words = text.trim().splitn(3, ' ');
    match (words.next(), words.next()) {
        (Some(scheme), Some(token))
            if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() =>
        {
            Bearer::Token(token.to_owned())
        }
        _ => Bearer::Absent,
    }
}

fn take_protocol(headers: &mut HeaderMap) -> Bearer {
    let is_websocket = headers
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !is_websocket {
        return Bearer::Absent;
    }
    let mut found = Bearer::Absent;
    let mut kept = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let Ok(text) = value.to_str() else { return Bearer::Malformed };
        for protocol in text.split(',').map(str::trim) {
            let Some(encoded) = protocol.strip_prefix(PROTOCOL_PREFIX) else {
                kept.push(protocol.to_owned());
                continue;
            };
            found = match (found, decode(encoded)) {
                (Bearer::Absent, Some(token)) => Bearer::Token(token),
                _ => Bearer::Malformed,
            };
        }
    }
    match found {
        // A server must choose one of the offered protocols; a token alone leaves no choice.
        Bearer::Token(_) if kept.is_empty() => Bearer::Malformed,
        Bearer::Token(token) => match HeaderValue::from_str(&kept.join(", ")) {
            Ok(value) => {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
                Bearer::Token(token)
            }
            Err(_) => Bearer::Malformed,
        },
        other => other,
    }
}

fn decode(encoded: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().filter(|token| !token.is_empty())
}
