//! Watch streams on the wire (`[apiserver] pkg/endpoints/handlers/watch.go`): one JSON frame a
//! line. Every failure after the start is an ERROR event in a 200 stream.

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::reply::Render;
use crate::codec::Transform;
use crate::codec::partial::partial;
use crate::codec::table::IncludeObject;
use crate::meta::Object;
use crate::registry::{EventKind, WatchEvent, WatchStream};
use crate::server::Body;
use crate::status::ApiError;
use crate::storage::{FRAME_END, FormId, SharedItem};

/// Annotation of the bookmark that ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What is ready goes out together, up to about this much.
const BATCH_BYTES: usize = 64 * 1024;

pub(super) fn respond(events: WatchStream, render: Render) -> Response<Body> {
    let frames = Some((events, Frames::new(render)));
    let body = stream::unfold(frames, |state| async move {
        let (mut events, mut frames) = state?;
        let first = events.next().await?;
        let (mut bytes, mut over) = frames.frame(first);
        // Usually there is one, which is sent without a copy.
        let mut more = Vec::new();
        while !over && bytes.len() + more.len() < BATCH_BYTES {
            match events.next().now_or_never() {
                None => break,
                Some(None) => over = true,
                Some(Some(event)) => {
                    let (next, last) = frames.frame(event);
                    more.extend_from_slice(&next);
                    over = last;
                }
            }
        }
        if !more.is_empty() {
            bytes = [&bytes[..], &more].concat().into();
        }
        Some((Ok(Frame::data(bytes)), (!over).then_some((events, frames))))
    });
    let mut answer = Response::new(StreamBody::new(body).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Writes the frames of one watch.
pub(super) struct Frames {
    render: Render,
    /// Column definitions go with the first Table alone.
    first: bool,
}

impl Frames {
    pub(super) fn new(render: Render) -> Self {
        Self { render, first: true }
    }

    /// The frame, and whether it is the last one.
    pub(super) fn frame(&mut self, event: WatchEvent) -> (Bytes, bool) {
        let event = match event {
            WatchEvent::Change(kind, shared) => self.change(kind, &shared).map_err(Box::new),
            WatchEvent::Bookmark { revision, initial_events_end } => {
                Ok(text(&self.bookmark(&revision.to_string(), initial_events_end)))
            }
            WatchEvent::Error(error) => Err(Box::new(error)),
        };
        match event {
            Ok(bytes) => (bytes, false),
            // A Status is never converted to another form.
            Err(error) => (text(&json!({ "type": "ERROR", "object": error.to_status() })), true),
        }
    }

    fn change(&mut self, kind: EventKind, shared: &SharedItem) -> Result<Bytes, ApiError> {
        if self.render.accepted.pretty {
            // For a person: encoded for this watch alone.
            let object = self.form(&*shared.item().object()?);
            return Ok(text(&json!({ "type": kind.as_str(), "object": object })));
        }
        let id = match self.render.accepted.transform {
            Transform::Table(_) if self.first => None,
            Transform::Table(version) => Some(form_id(version, 2 + self.render.include as u32)),
            Transform::PartialObjectMetadata(version) => Some(form_id(version, 1)),
            _ => return shared.item().frame(kind),
        };
        let object = match id {
            Some(id) => {
                shared.form(id, |object| Ok(self.form(object).to_string().into_bytes().into()))?
            }
            None => self.form(&*shared.item().object()?).to_string().into_bytes().into(),
        };
        Ok([kind.frame_start().as_bytes(), &object, FRAME_END.as_bytes()].concat().into())
    }

    fn form(&mut self, object: &Object) -> Value {
        match self.render.accepted.transform {
            Transform::Table(version) => {
                let tables = self.render.tables(version);
                let metadata = json!({ "resourceVersion": object.resource_version() });
                let table = tables.table(metadata, vec![tables.row(object)], self.first);
                self.first = false;
                table
            }
            Transform::PartialObjectMetadata(version) => partial(object, version),
            _ => json!(object),
        }
    }

    fn bookmark(&mut self, revision: &str, initial_events_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision, "creationTimestamp": null });
        if initial_events_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let object = json!({
            "kind": self.render.def.gvk.kind,
            "apiVersion": self.render.def.gvk.api_version(),
            "metadata": metadata,
        });
        let form = match self.render.accepted.transform {
            Transform::Table(version) => {
                // The end of the initial events must be told even to a client without objects.
                let keep = self.render.include != IncludeObject::None || initial_events_end;
                let meta = Object::from_value(object).unwrap_or_default();
                let row = json!({
                    "cells": [],
                    "object": if keep { partial(&meta, version) } else { Value::Null },
                });
                let tables = self.render.tables(version);
                let list = json!({ "resourceVersion": revision });
                let table = tables.table(list, vec![row], self.first);
                self.first = false;
                table
            }
            Transform::PartialObjectMetadata(version) => {
                partial(&Object::from_value(object).unwrap_or_default(), version)
            }
            _ => object,
        };
        json!({ "type": "BOOKMARK", "object": form })
    }
}

fn text(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

/// Of a form that all watches of an event may share.
fn form_id(version: &str, form: u32) -> FormId {
    form * 2 + u32::from(version == "v1")
}
