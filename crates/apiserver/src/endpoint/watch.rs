//! Watch streams on the wire (`[apiserver] pkg/endpoints/handlers/watch.go`): one JSON frame a
//! line. Every failure after the start is an ERROR event in a 200 stream.

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::reply::Render;
use crate::codec::Transform;
use crate::codec::partial::partial;
use crate::codec::table::IncludeObject;
use crate::meta::Object;
use crate::registry::{WatchEvent, WatchStream};
use crate::server::Body;

/// Annotation of the bookmark that ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub(super) fn respond(stream: WatchStream, render: Render) -> Response<Body> {
    let mut frames = Frames { render, first: true };
    let body = stream.map(move |event| Ok(Frame::data(frames.frame(event))));
    let mut answer = Response::new(StreamBody::new(body).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

struct Frames {
    render: Render,
    /// Column definitions go with the first Table alone.
    first: bool,
}

impl Frames {
    fn frame(&mut self, event: WatchEvent) -> Bytes {
        let value = match event {
            WatchEvent::Added(object) => self.event("ADDED", &object),
            WatchEvent::Modified(object) => self.event("MODIFIED", &object),
            WatchEvent::Deleted(object) => self.event("DELETED", &object),
            WatchEvent::Bookmark { revision, initial_events_end } => {
                self.bookmark(&revision.to_string(), initial_events_end)
            }
            // A Status is never converted to another form.
            WatchEvent::Error(error) => json!({ "type": "ERROR", "object": error.to_status() }),
        };
        let mut text = value.to_string();
        text.push('\n');
        text.into()
    }

    fn event(&mut self, kind: &str, object: &Object) -> Value {
        let form = match self.render.accepted.transform {
            Transform::Table(version) => {
                let tables = self.render.tables(version);
                let metadata = json!({ "resourceVersion": object.resource_version() });
                let table = tables.table(metadata, vec![tables.row(object)], self.first);
                self.first = false;
                table
            }
            Transform::PartialObjectMetadata(version) => partial(object, version),
            _ => json!(object),
        };
        json!({ "type": kind, "object": form })
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
