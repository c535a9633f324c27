//! What of a client's request goes on to the cluster. Pure.

use apiserver::status::ApiError;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;

use super::kind::Kind;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// What a server lists when it speaks none of the asked for.
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// Protocols that may be switched to. Not every one: `h2c` would turn the stream into HTTP with
/// our identity.
const PROTOCOLS: [&str; 2] = ["websocket", "SPDY/3.1"];

const ASKING: [HeaderName; 5] = [
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
    STREAM_PROTOCOL,
];

const ANSWERING: [HeaderName; 6] = [
    UPGRADE,
    SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
    STREAM_PROTOCOL,
    ACCEPTED,
];

const UPGRADE_REQUIRED: &str = "Upgrade request required";

/// Whether a request wants to go on in another protocol.
pub(super) fn asks_upgrade(headers: &HeaderMap) -> bool {
    let options = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    let mut options = options.flat_map(|value| value.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// The client's connection, for when it has been upgraded.
///
/// # Errors
/// 400 where it can't be: on HTTP/2.
pub(super) fn client(parts: &Parts) -> Result<OnUpgrade, ApiError> {
    let client = parts.extensions.get::<OnUpgrade>().cloned();
    client.ok_or_else(|| ApiError::bad_request(UPGRADE_REQUIRED))
}

/// The headers of an upgrade and no other: a client's `Connection` could name others.
///
/// # Errors
/// 400 if the request asks for no upgrade, or for one to another protocol.
pub(super) fn upgrade_headers(from: &HeaderMap) -> Result<HeaderMap, ApiError> {
    if !asks_upgrade(from) {
        return Err(ApiError::bad_request(UPGRADE_REQUIRED));
    }
    let asked = from.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let protocol = PROTOCOLS.iter().find(|known| known.eq_ignore_ascii_case(asked.trim()));
    let Some(protocol) = protocol.filter(|_| from.get_all(UPGRADE).iter().count() == 1) else {
        let text = format!("unable to upgrade to {asked:?}: websocket or SPDY/3.1 expected");
        return Err(ApiError::bad_request(text));
    };
    let mut headers = copy(from, &ASKING);
    headers.insert(CONNECTION, const { HeaderValue::from_static("Upgrade") });
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    Ok(headers)
}

/// The headers of the cluster's 101, for ours.
pub(super) fn switched_headers(from: &HeaderMap) -> HeaderMap {
    let mut headers = copy(from, &ANSWERING);
    headers.insert(CONNECTION, const { HeaderValue::from_static("Upgrade") });
    headers
}

fn copy(from: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in names {
        for value in from.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// The parameters that the stream takes, in their order; with a container in any case where there
/// is a choice.
pub(super) fn query(kind: &Kind, asked: Option<&str>, default_container: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut contained = !kind.takes("container");
    for (name, value) in form_urlencoded::parse(asked.unwrap_or_default().as_bytes()) {
        if !kind.takes(&name) || (name == "container" && value.is_empty()) {
            continue;
        }
        contained |= name == "container";
        query.append_pair(&name, &value);
    }
    if !contained && !default_container.is_empty() {
        query.append_pair("container", default_container);
    }
    query.finish()
}
