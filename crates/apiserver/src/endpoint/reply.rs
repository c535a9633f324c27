//! Answers to wire forms: plain, Table, PartialObjectMetadata; compression of large ones.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::json;

use super::decode::header_text;
use super::operate::Answer;
use super::route::Target;
use super::{list, watch};
use crate::codec::encode::encode;
use crate::codec::negotiate::wants_pretty;
use crate::codec::partial::partial;
use crate::codec::table::{IncludeObject, Tables};
use crate::codec::{Accepted, Allow, Transform, negotiate};
use crate::meta::Object;
use crate::registry::Item;
use crate::request::query::Query;
use crate::resource::{Decorator, ResourceDef};
use crate::server::{Body, response};
use crate::status::ApiError;

/// Answers above this many bytes are compressed for clients that accept gzip
/// (`[apiserver] pkg/endpoints/handlers/responsewriters`).
pub(super) const GZIP_BYTES_MIN: usize = 128 * 1024;

/// How one request wants its answer.
#[derive(Debug, Clone)]
pub(super) struct Render {
    pub(super) def: Arc<ResourceDef>,
    pub(super) accepted: Accepted,
    pub(super) include: IncludeObject,
    pub(super) now: Timestamp,
}

impl Render {
    /// # Errors
    /// 406 when no acceptable form exists, 400 for a bad `includeObject`.
    pub(super) fn new(
        def: &Arc<ResourceDef>,
        parts: &Parts,
        target: &Target,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let allow = match target {
            Target::List | Target::DeleteCollection => Allow::List,
            Target::Watch => Allow::Watch,
            _ if parts.uri.path().ends_with("/scale") => Allow::Plain,
            _ => Allow::Object,
        };
        let mut accepted = negotiate(header_text(parts, header::ACCEPT), allow)?;
        let query = Query::parse(parts.uri.query());
        let agent = header_text(parts, header::USER_AGENT).unwrap_or_default();
        accepted.pretty |= wants_pretty(query.value("pretty"), agent);
        let include = match accepted.transform {
            Transform::Table(_) => IncludeObject::parse(query.value("includeObject"))?,
            _ => IncludeObject::default(),
        };
        Ok(Self { def: def.clone(), accepted, include, now })
    }

    pub(super) fn tables(&self, version: &'static str) -> Tables<'_> {
        Tables { def: &self.def, version, include: self.include, now: self.now }
    }

    pub(super) fn answer(self, answer: Answer, parts: &Parts) -> Result<Response<Body>, ApiError> {
        let (code, bytes) = match answer {
            Answer::Watch(stream) => return Ok(watch::respond(stream, self)),
            Answer::Object(code, mut object) => {
                if let Some(decorator) = &self.def.decorator {
                    decorator.decorate(Arc::make_mut(&mut object));
                }
                (code, self.object(&object)?)
            }
            Answer::Item(item)
                if self.accepted.is_plain_json() && self.decorator(item.path()).is_none() =>
            {
                (200, line(&item.json()?))
            }
            Answer::Item(item) => (200, self.object(&self.read(&item)?)?),
            Answer::List(list) => return list::respond(list, &self, takes_gzip(parts)),
            Answer::Status(status) => (200, self.encode(&status)?),
            Answer::Foreign(code, object) => (code, self.encode(&object)?),
        };
        let headers = vec![(header::CONTENT_TYPE, self.accepted.media.as_str().to_owned())];
        Ok(document(parts, code, headers, bytes))
    }

    /// Who has something to add to the object of that `namespace/name`.
    pub(super) fn decorator(&self, path: &str) -> Option<&dyn Decorator> {
        self.def.decorator.as_deref().filter(|decorator| decorator.concerns(path))
    }

    /// The object with all that is known of it.
    pub(super) fn read(&self, item: &Item) -> Result<Object, ApiError> {
        let mut object = item.decode()?;
        if let Some(decorator) = self.decorator(item.path()) {
            decorator.decorate(&mut object);
        }
        Ok(object)
    }

    pub(super) fn encode<T: serde::Serialize>(&self, value: &T) -> Result<Bytes, ApiError> {
        encode(value, self.accepted.media, self.accepted.pretty)
    }

    fn object(&self, object: &Object) -> Result<Bytes, ApiError> {
        match self.accepted.transform {
            Transform::None | Transform::PartialObjectMetadataList(_) => self.encode(object),
            Transform::PartialObjectMetadata(version) => self.encode(&partial(object, version)),
            Transform::Table(version) => {
                let tables = self.tables(version);
                let metadata = json!({ "resourceVersion": object.resource_version() });
                self.encode(&tables.table(metadata, vec![tables.row(object)], true))
            }
        }
    }
}

/// A complete answer, compressed when it is large and the client takes gzip.
pub(super) fn document(
    parts: &Parts,
    code: u16,
    headers: Vec<(header::HeaderName, String)>,
    body: Bytes,
) -> Response<Body> {
    let gzip = body.len() > GZIP_BYTES_MIN && takes_gzip(parts);
    let compressed = if gzip { compress(&body) } else { None };
    let gzipped = compressed.is_some();
    let mut answer = Response::new(response::full(compressed.unwrap_or(body)));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().append(name, value);
        }
    }
    if gzipped {
        mark_gzip(answer.headers_mut());
    }
    answer
}

pub(super) fn mark_gzip(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn takes_gzip(parts: &Parts) -> bool {
    header_text(parts, header::ACCEPT_ENCODING).is_some_and(|text| text.contains("gzip"))
}

fn line(text: &[u8]) -> Bytes {
    [text, b"\n"].concat().into()
}

fn compress(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}
