//! Which headers pass, either way. Pure.
//!
//! What runs in a sandbox is not trusted with anything of the user's, and what it says must not make
//! a client do something to the cluster: browsers and clients take an answer for the API server's.
//! Hop by hop: RFC 9110 section 7.6.1.

use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, COOKIE, EXPECT,
    FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, REFERER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const PROTOCOL: HeaderName = HeaderName::from_static("x-forwarded-proto");
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Credentials, and what names the user or the way here. The body's length is told anew.
const OF_THE_USER: [HeaderName; 10] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    FORWARDED,
    HOST,
    ORIGIN,
    REFERER,
    EXPECT,
    AUDIT_ID,
    CONTENT_LENGTH,
];

const OF_THE_USER_PREFIXES: [&str; 3] = ["x-remote-", "x-forwarded-", "impersonate-"];

/// Orders to a client about the server that it talks to: which is not the sandbox.
const TO_THE_CLIENT: [HeaderName; 8] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    ALT_SVC,
    WWW_AUTHENTICATE,
    PROXY_AUTHENTICATE,
    CLEAR_SITE_DATA,
    SERVICE_WORKER_ALLOWED,
    AUDIT_ID,
];

/// A page of a sandbox gets an origin of its own, and can't use the browser's rights at the API
/// server or at a `kubectl proxy`.
const OWN_ORIGIN: HeaderValue = HeaderValue::from_static(
    "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
);

/// Of a request, for the Pod. `prefix` is the path that stands for its root.
pub(super) fn for_the_pod(
    from: &HeaderMap,
    port: u16,
    prefix: &str,
    websocket: bool,
) -> Result<HeaderMap, http::header::InvalidHeaderValue> {
    let mut headers = passing(from, |name| {
        OF_THE_USER.contains(name)
            || OF_THE_USER_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    });
    // Many servers refuse names that they don't know; this is what they see themselves as.
    headers.insert(HOST, HeaderValue::try_from(format!("localhost:{port}"))?);
    headers.insert(PREFIX, HeaderValue::try_from(prefix)?);
    headers.insert(PROTOCOL, const { HeaderValue::from_static("https") });
    if websocket {
        headers.insert(CONNECTION, const { HeaderValue::from_static("Upgrade") });
        headers.insert(UPGRADE, const { HeaderValue::from_static("websocket") });
    }
    Ok(headers)
}

/// Of an answer, for the client.
pub(super) fn for_the_client(from: &HeaderMap) -> HeaderMap {
    let mut headers = passing(from, |name| TO_THE_CLIENT.contains(name));
    headers.append(CONTENT_SECURITY_POLICY, OWN_ORIGIN);
    headers
}

/// All but the hop's, those that `Connection` names, and `others`.
fn passing(from: &HeaderMap, others: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let named = from.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    let named: Vec<_> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut headers = HeaderMap::new();
    for (name, value) in from {
        let is_named = named.iter().any(|one| one.eq_ignore_ascii_case(name.as_str()));
        if !is_named && !HOP_BY_HOP.contains(name) && !others(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}
