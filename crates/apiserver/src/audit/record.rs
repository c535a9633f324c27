//! One request that is recorded, from its head to its end.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, StatusCode};
use serde_json::{Value, json};

use super::event::{Event, ObjectRef};
use super::{Auditor, Level, Recording, Stage, redact};
use crate::meta::Object;
use crate::schema::decode::decode_yaml;
use crate::status::ApiError;

/// Larger objects are not recorded (`[apiserver] plugin/pkg/audit/truncate`, whose limit for an
/// event is 100 KiB).
pub(super) const OBJECT_BYTES_MAX: usize = 128 << 10;
/// Kubernetes' mark of an event that lacks its objects for their size.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// What is recorded of one request; nothing, if the policy says so. Clones are of the same request,
/// and the last one that goes ends it.
#[derive(Clone, Default)]
pub struct Record(Option<Arc<Open>>);

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Record").field(&self.0.is_some()).finish()
    }
}

struct Open {
    auditor: Arc<Auditor>,
    recording: Recording,
    state: Mutex<State>,
}

struct State {
    event: Event,
    /// Its last stage has been told.
    is_over: bool,
}

/// The Status that an error response says, left on the response for the record.
#[derive(Debug, Clone)]
pub(crate) struct Said(pub(crate) ApiError);

impl Record {
    pub(super) fn open(auditor: Arc<Auditor>, recording: Recording, event: Event) -> Self {
        if recording.level == Level::None {
            return Self::default();
        }
        let state = Mutex::new(State { event, is_over: false });
        Self(Some(Arc::new(Open { auditor, recording, state })))
    }

    /// Of the request with this head.
    pub fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Adds to the event. Keys are qualified names; an empty value is none.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if let Some(open) = self.0.as_ref().filter(|_| !value.is_empty()) {
            open.state().event.annotations.insert(key.into(), value);
        }
    }

    /// The object that the request is about, for what its path did not tell.
    pub(crate) fn names(&self, object: &Object) {
        let Some(open) = &self.0 else { return };
        open.state().event.object_ref.get_or_insert_with(ObjectRef::default).complete(object);
    }

    /// The request's body, once it has been understood.
    pub(crate) fn request(&self, body: &Bytes, content_type: Option<&str>) {
        let Some(open) = self.at(Level::Request) else { return };
        let object = open.object(body, content_type);
        open.state().event.request_object = object;
    }

    /// How the work ended, for a client that does not hear it.
    pub(crate) fn worked<T>(&self, result: &Result<T, ApiError>) {
        let Some(open) = &self.0 else { return };
        let status = match result {
            Ok(_) => json!({"metadata": {}, "code": 200}),
            Err(error) => of_error(error),
        };
        open.state().event.response_status.get_or_insert(status);
    }

    /// What the client is told.
    pub(super) fn answered(&self, code: StatusCode, said: &Extensions) {
        let Some(open) = &self.0 else { return };
        let status = match said.get::<Said>() {
            Some(Said(error)) => of_error(error),
            None => json!({"metadata": {}, "code": code.as_u16()}),
        };
        open.state().event.response_status = Some(status);
    }

    /// The answer's body.
    pub(super) fn response(&self, body: &Bytes, content_type: Option<&str>) {
        let Some(open) = self.at(Level::RequestResponse) else { return };
        let object = open.object(body, content_type);
        open.state().event.response_object = object;
    }

    /// An answer's body that is too large for the record, or has no known end.
    pub(super) fn response_too_large(&self) {
        if let Some(open) = self.at(Level::RequestResponse) {
            open.too_large();
        }
    }

    pub(super) fn wants_response(&self) -> bool {
        self.at(Level::RequestResponse).is_some()
    }

    /// A stage before the last. `false` if it could not be stored.
    pub(super) fn reached(&self, stage: Stage) -> bool {
        self.0.as_ref().is_none_or(|open| open.tell(stage, &mut open.state()))
    }

    /// The request ends here, with another stage than ResponseComplete.
    pub(super) fn ended(&self, stage: Stage, error: &ApiError) {
        let Some(open) = &self.0 else { return };
        let mut state = open.state();
        state.event.response_status = Some(of_error(error));
        open.tell(stage, &mut state);
        state.is_over = true;
    }

    fn at(&self, level: Level) -> Option<&Open> {
        self.0.as_deref().filter(|open| open.recording.level >= level)
    }
}

impl Open {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, stage: Stage, state: &mut State) -> bool {
        if !self.recording.wants(stage) {
            return true;
        }
        state.event.stage = stage;
        state.event.stage_timestamp = self.auditor.clock.now();
        self.auditor.write(&state.event)
    }

    /// `None` for what is no object, which is not told, and for what is too large.
    fn object(&self, body: &Bytes, content_type: Option<&str>) -> Option<Value> {
        if body.len() > OBJECT_BYTES_MAX {
            self.too_large();
            return None;
        }
        let mut value = match content_type {
            Some(kind) if kind.contains("yaml") => decode_yaml(body).ok()?.0,
            _ => serde_json::from_slice(body).ok()?,
        };
        redact::object(&mut value, self.recording.omit_managed_fields);
        Some(value)
    }

    fn too_large(&self) {
        self.state().event.annotations.insert(TRUNCATED.into(), "true".into());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.state();
        if state.is_over {
            return;
        }
        // Kubernetes says code 200 here. Nobody knows what the client would have been told.
        let early = || json!({"metadata": {}, "message": "Connection closed early"});
        state.event.response_status.get_or_insert_with(early);
        self.tell(Stage::ResponseComplete, &mut state);
    }
}

/// Kubernetes leaves out kind and version.
fn of_error(error: &ApiError) -> Value {
    let mut status = error.to_status();
    if let Some(map) = status.as_object_mut() {
        map.shift_remove("kind");
        map.shift_remove("apiVersion");
    }
    status
}
