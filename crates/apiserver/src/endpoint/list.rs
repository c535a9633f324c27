//! Lists on the wire, written piece by piece: what is in memory is the list of references to the
//! objects and one chunk of text, however long the answer is.

use std::io::Write as _;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::stream;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::reply::{GZIP_BYTES_MIN, Render};
use crate::codec::partial::partial;
use crate::codec::{MediaType, Transform};
use crate::meta::Object;
use crate::registry::{Item, ObjectList};
use crate::server::{Body, response};
use crate::status::ApiError;

/// The answer with `list` in the form that was asked for; compressed if it is large and `gzip`.
///
/// # Errors
/// 500 when an object can't be encoded, and that is noticed before the answer's head is sent.
pub(super) fn respond(
    list: ObjectList,
    render: &Render,
    gzip: bool,
) -> Result<Response<Body>, ApiError> {
    let metadata = metadata(&list);
    let mut answer = if render.accepted.media == MediaType::Json && !render.accepted.pretty {
        let text = Text::new(list, metadata, render.clone());
        stream(text, gzip)?
    } else {
        // For people, who do not read thousands.
        let bytes = render.encode(&whole(&list, metadata, render)?)?;
        Response::new(response::full(bytes))
    };
    let kind = HeaderValue::from_static(render.accepted.media.as_str());
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(answer)
}

fn metadata(list: &ObjectList) -> Value {
    let mut metadata = json!({ "resourceVersion": list.resource_version.to_string() });
    if !list.continue_token.is_empty() {
        metadata["continue"] = list.continue_token.clone().into();
    }
    if let Some(remaining) = list.remaining_item_count {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

/// The list without its members, which stand last; and what they are called.
fn envelope(metadata: Value, render: &Render) -> (Value, &'static str) {
    match render.accepted.transform {
        Transform::Table(version) => {
            (render.tables(version).table(metadata, Vec::new(), true), "rows")
        }
        Transform::PartialObjectMetadataList(version) => {
            let list = json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata,
                "items": [],
            });
            (list, "items")
        }
        Transform::None | Transform::PartialObjectMetadata(_) => {
            let list = json!({
                "kind": render.def.list_kind(),
                "apiVersion": render.def.gvk.api_version(),
                "metadata": metadata,
                "items": [],
            });
            (list, "items")
        }
    }
}

fn member(object: &Object, render: &Render) -> Value {
    match render.accepted.transform {
        Transform::Table(version) => render.tables(version).row(object),
        Transform::PartialObjectMetadataList(version) => partial(object, version),
        Transform::None | Transform::PartialObjectMetadata(_) => json!(object),
    }
}

fn whole(list: &ObjectList, metadata: Value, render: &Render) -> Result<Value, ApiError> {
    let (mut envelope, members) = envelope(metadata, render);
    let all: Result<Vec<Value>, ApiError> =
        list.items.iter().map(|item| Ok(member(&render.read(item)?, render))).collect();
    envelope[members] = all?.into();
    Ok(envelope)
}

/// The text of a list, in chunks.
struct Text {
    items: vec::IntoIter<Arc<Item>>,
    render: Render,
    /// What comes before the first member; taken with the first chunk.
    head: Option<String>,
    first: bool,
    over: bool,
}

impl Text {
    fn new(list: ObjectList, metadata: Value, render: Render) -> Self {
        let (envelope, _) = envelope(metadata, &render);
        let mut head = envelope.to_string();
        // Down to the bracket that opens the members.
        head.truncate(head.len() - TAIL.trim_end().len());
        let items = list.items.into_iter();
        Self { items, render, head: Some(head), first: true, over: false }
    }

    /// About `bytes` more; empty at the end.
    fn chunk(&mut self, bytes: usize) -> Result<Vec<u8>, ApiError> {
        if self.over {
            return Ok(Vec::new());
        }
        let mut text = Vec::with_capacity(bytes + bytes / 8);
        if let Some(head) = self.head.take() {
            text.extend_from_slice(head.as_bytes());
        }
        while text.len() < bytes {
            let Some(item) = self.items.next() else {
                text.extend_from_slice(TAIL.as_bytes());
                self.over = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                text.push(b',');
            }
            match self.render.accepted.transform {
                Transform::None | Transform::PartialObjectMetadata(_)
                    if self.render.decorator(item.path()).is_none() =>
                {
                    text.extend_from_slice(&item.json()?);
                }
                _ => {
                    let value = member(&self.render.read(&item)?, &self.render);
                    serde_json::to_writer(&mut text, &value).map_err(ApiError::internal)?;
                }
            }
        }
        Ok(text)
    }
}

/// The first chunk decides: what fits in it has a length, what does not is streamed.
fn stream(mut text: Text, gzip: bool) -> Result<Response<Body>, ApiError> {
    let first = text.chunk(GZIP_BYTES_MIN + 1)?;
    if text.over && first.len() <= GZIP_BYTES_MIN {
        return Ok(Response::new(response::full(first)));
    }
    let encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let source = Source { text, first: Some(first), encoder };
    let chunks = stream::unfold(Some(source), |source| async move {
        let mut source = source?;
        match source.next() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), Some(source))),
            // The head is sent: all that is left is to break off.
            Err(error) => Some((Err(std::io::Error::other(error.to_string())), None)),
        }
    });
    let mut answer = Response::new(StreamBody::new(chunks).boxed_unsync());
    if gzip {
        super::reply::mark_gzip(answer.headers_mut());
    }
    Ok(answer)
}

struct Source {
    text: Text,
    first: Option<Vec<u8>>,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Source {
    fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let chunk = match self.first.take() {
                Some(first) => first,
                None => self.text.chunk(CHUNK_BYTES)?,
            };
            let Some(mut encoder) = self.encoder.take() else {
                return Ok((!chunk.is_empty()).then(|| chunk.into()));
            };
            if chunk.is_empty() {
                let rest = encoder.finish().map_err(ApiError::internal)?;
                self.encoder = None;
                return Ok((!rest.is_empty()).then(|| rest.into()));
            }
            encoder.write_all(&chunk).map_err(ApiError::internal)?;
            let ready = std::mem::take(encoder.get_mut());
            self.encoder = Some(encoder);
            if !ready.is_empty() {
                return Ok(Some(ready.into()));
            }
        }
    }
}

/// Closes the members and the list.
const TAIL: &str = "]}\n";
const CHUNK_BYTES: usize = 64 * 1024;
