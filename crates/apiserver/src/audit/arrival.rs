//! The chain's hold on a request's record: from its head, before anybody knows whose it is, to its
//! answer.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::event::{Event, ObjectRef, UserInfo};
use super::record::OBJECT_BYTES_MAX;
use super::{Audit, Auditor, Record, Stage, redact};
use crate::auth::{Attributes, Authentication, Method};
use crate::server::{Body, response};
use crate::status::ApiError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_MAX: usize = 32;
/// Kubernetes' limit, and its mark.
const USER_AGENT_BYTES_MAX: usize = 1024;
const CUT: &str = "...TRUNCATED";

/// A request that has come in.
#[derive(Default)]
pub(crate) struct Arrival {
    pending: Option<Box<Pending>>,
    record: Record,
}

struct Pending {
    auditor: Arc<Auditor>,
    /// Without the user, for whom its level is not known yet.
    event: Event,
    attributes: Attributes,
    forwarded_for: Vec<String>,
}

impl Audit {
    pub(crate) fn arrival(
        &self,
        parts: &Parts,
        attributes: &Attributes,
        audit_id: &str,
        peer: IpAddr,
    ) -> Arrival {
        let Some(auditor) = self.0.clone() else { return Arrival::default() };
        let is_proxied = matches!(
            attributes, Attributes::Resource { subresource, .. } if subresource == "proxy"
        );
        let uri = redact::request_uri(&parts.uri, is_proxied);
        let mut event = Event::received(audit_id.into(), uri, auditor.clock.now());
        let (Attributes::Resource { verb, .. } | Attributes::NonResource { verb, .. }) = attributes;
        event.verb.clone_from(verb);
        event.user_agent = user_agent(&parts.headers);
        event.object_ref = ObjectRef::of(attributes);
        event.source_ips = vec![peer.to_canonical().to_string()];
        let (attributes, forwarded_for) = (attributes.clone(), forwarded_for(&parts.headers));
        let pending = Pending { auditor, event, attributes, forwarded_for };
        Arrival { pending: Some(Box::new(pending)), record: Record::default() }
    }
}

impl Arrival {
    /// The user is known; the record is left with the request for whoever has to add to it.
    ///
    /// # Errors
    /// 500 if its first stage must be stored and can't be.
    pub(crate) fn authenticated(
        &mut self,
        by: &Authentication,
        parts: &mut Parts,
    ) -> Result<(), ApiError> {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        pending.event.user = UserInfo::from(&by.user);
        if by.method == Method::FrontProxy {
            // Of others it is hearsay.
            pending.event.source_ips.splice(0..0, pending.forwarded_for.drain(..));
            pending.event.source_ips.dedup();
        }
        let auditor = pending.auditor.clone();
        self.record = pending.open(Some(by));
        parts.extensions.insert(self.record.clone());
        if !self.record.reached(Stage::RequestReceived) && auditor.log.is_strict() {
            auditor.counters.rejected();
            return Err(ApiError::internal("failed to store audit event"));
        }
        Ok(())
    }

    /// Nobody knows the user. As in Kubernetes the one stage of it is ResponseStarted
    /// (`[apiserver] pkg/endpoints/filters/authn_audit.go`).
    pub(crate) fn unauthenticated(&mut self, error: &ApiError) {
        let Some(pending) = self.pending.take() else { return };
        let record = pending.open(None);
        let why = error.log().unwrap_or("no credentials were accepted");
        let told = ApiError::new(error.reason().clone(), format!("Authentication failed: {why}"));
        record.ended(Stage::ResponseStarted, &told);
    }

    /// What the authorizer said, as kube-apiserver notes it; nothing if it could not tell.
    pub(crate) fn decided(&self, decision: &'static str) {
        self.record.annotate("authorization.k8s.io/decision", decision);
    }

    /// The answer is on its way. A request that lasts stays open as long as its body.
    pub(crate) async fn answered(
        &mut self,
        response: Response<Body>,
        is_long_running: bool,
    ) -> (Response<Body>, Option<Record>) {
        let record = std::mem::take(&mut self.record);
        record.answered(response.status(), response.extensions());
        if is_long_running {
            record.reached(Stage::ResponseStarted);
            return (response, Some(record));
        }
        if !record.wants_response() {
            return (response, None);
        }
        (with_body(&record, response).await, None)
    }

    pub(crate) fn panicked(&mut self, error: &ApiError) {
        std::mem::take(&mut self.record).ended(Stage::Panic, error);
    }
}

impl Pending {
    fn open(self, by: Option<&Authentication>) -> Record {
        let Self { auditor, mut event, attributes, .. } = self;
        let recording = auditor.policy.recording(by.map(|by| &by.user), &attributes);
        auditor.counters.level(recording.level);
        event.level = recording.level;
        Record::open(auditor, recording, event)
    }
}

/// The response, whose body has been read for the record if that is cheap: whole, small and plain.
async fn with_body(record: &Record, response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let size = body.size_hint().exact();
    let is_small = size.is_some_and(|bytes| bytes <= OBJECT_BYTES_MAX as u64);
    if !is_small || parts.headers.contains_key(CONTENT_ENCODING) {
        record.response_too_large();
        return Response::from_parts(parts, body);
    }
    match body.collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            record.response(&bytes, kind);
            Response::from_parts(parts, response::full(bytes))
        }
        Err(error) => response::error(&ApiError::internal(error)),
    }
}

fn user_agent(headers: &HeaderMap) -> String {
    let bytes = headers.get(USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
    let cut = bytes.len() > USER_AGENT_BYTES_MAX;
    let kept = String::from_utf8_lossy(&bytes[..bytes.len().min(USER_AGENT_BYTES_MAX)]);
    if cut { format!("{kept}{CUT}") } else { kept.into_owned() }
}

/// Addresses only; what else somebody wrote there is not one.
fn forwarded_for(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(X_FORWARDED_FOR).iter();
    let texts = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let addresses = texts.filter_map(|text| text.trim().parse::<IpAddr>().ok());
    addresses.take(FORWARDED_MAX).map(|address| address.to_string()).collect()
}
