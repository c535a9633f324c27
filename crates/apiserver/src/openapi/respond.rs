//! Answers to `/openapi/…`: bytes that are ready, and the rules of HTTP caches.
//!
//! Source: `k8s.io/kube-openapi/pkg/handler3` and `…/handler`. One deliberate difference: a `hash`
//! that is not ours gets the document as it is, without `immutable`, where upstream redirects. A
//! front that follows no redirects (the default) would turn that into a 502 whenever two replicas
//! of different versions serve together.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderName};

use super::{Document, OpenApi};

/// What to send; HEAD is for the server, and so is compression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenApiResponse {
    pub status: u16,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Bytes,
}

impl OpenApi {
    /// The answer to a GET, or `None` when there is no document at `path`.
    pub fn respond(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<OpenApiResponse> {
        if path == "/openapi/v3" {
            return Some(conditional(&self.index, headers, Vec::new()));
        }
        let document = match path {
            "/openapi/v2" => &self.v2,
            _ => self.groups.get(path.strip_prefix("/openapi/v3/")?)?,
        };
        if !accepts_json(headers) {
            return Some(not_acceptable());
        }
        let mut extra = vec![(header::VARY, "Accept".to_owned())];
        if path != "/openapi/v2" && asks_for(query, &document.hash) {
            // A year; upstream says the same with `Expires`, which needs a clock.
            let forever = "public, immutable, max-age=31536000";
            extra.push((header::CACHE_CONTROL, forever.to_owned()));
        }
        Some(conditional(document, headers, extra))
    }
}

fn conditional(
    document: &Document,
    headers: &HeaderMap,
    mut extra: Vec<(HeaderName, String)>,
) -> OpenApiResponse {
    extra.push((header::ETAG, document.etag.clone()));
    if is_known(headers, &document.etag) {
        return OpenApiResponse { status: 304, headers: extra, body: Bytes::new() };
    }
    extra.push((header::CONTENT_TYPE, "application/json".to_owned()));
    OpenApiResponse { status: 200, headers: extra, body: document.bytes.clone() }
}

fn not_acceptable() -> OpenApiResponse {
    let headers = vec![
        (header::VARY, "Accept".to_owned()),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
    ];
    let body = Bytes::from_static(b"only application/json is served\n");
    OpenApiResponse { status: 406, headers, body }
}

/// RFC 9110, section 13.1.2: weak comparison, `*` for anything.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn asks_for(query: Option<&str>, hash: &str) -> bool {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.into_iter().any(|(name, value)| name == "hash" && value == hash)
}

/// No `Accept` at all means anything.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut values =
        headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok()).peekable();
    if values.peek().is_none() {
        return true;
    }
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0))
        });
        !refused && matches!(name.as_str(), "" | "*/*" | "application/*" | "application/json")
    })
}

#[cfg(test)]
mod tests;
