//! Events in the real cluster, by the Kubernetes client's recorder: it counts repetitions as series.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{self, EventType, Recorder, Reporter};

use super::KubeCluster;
use crate::cluster::events::{Event, EventError, EventSink, Severity, Subject};

/// What the API server takes.
const NOTE_BYTES_MAX: usize = 1024;

/// Tells Events in the name of `controller`, from this host.
pub(super) fn recorder(client: kube::Client, controller: &str) -> Recorder {
    Recorder::new(client, Reporter::from(controller))
}

#[async_trait]
impl EventSink for KubeCluster {
    async fn publish(&self, event: &Event) -> Result<(), EventError> {
        let (event, about) = (convert(event), reference(&event.about));
        let publish = self.0.recorder.publish(&event, &about);
        match tokio::time::timeout(self.0.config.timeout, publish).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(translate(error)),
            Err(_) => Err(EventError::Unavailable {
                detail: format!("no answer within {:?}", self.0.config.timeout),
            }),
        }
    }
}

fn convert(event: &Event) -> events::Event {
    let end = event.note.floor_char_boundary(NOTE_BYTES_MAX);
    events::Event {
        type_: match event.severity {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: event.reason.into(),
        action: event.action.into(),
        note: Some(event.note[..end].to_owned()),
        secondary: event.related.as_ref().map(reference),
    }
}

/// Without a resourceVersion: with one, no Event would be the repetition of another.
fn reference(subject: &Subject) -> ObjectReference {
    ObjectReference {
        api_version: Some(sandbox_api::API_VERSION.into()),
        kind: Some(subject.kind.into()),
        namespace: subject.key.namespace.clone(),
        name: Some(subject.key.name.clone()),
        uid: Some(subject.uid.clone()),
        ..ObjectReference::default()
    }
}

fn translate(error: kube::Error) -> EventError {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            EventError::Rejected { message: status.message }
        }
        other => EventError::Unavailable { detail: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use apiserver::meta::ObjectKey;
    use kube::core::Status;

    use super::*;

    #[test]
    fn an_event_is_what_the_api_server_takes() {
        let subject = |kind, name: &str| Subject {
            kind,
            key: ObjectKey::namespaced("ns", name),
            uid: format!("{name}-uid"),
        };
        let event = Event::warning(subject("SandboxClaim", "c"), ("A", "B"), "é".repeat(600));
        let got = convert(&event.with(subject("Sandbox", "s")));
        assert_eq!(got.note.map(|note| note.len()), Some(1024), "cut between two characters");
        assert_eq!(got.type_, EventType::Warning);
        let related = got.secondary.unwrap();
        assert_eq!(related.api_version.as_deref(), Some("sandbox.x-k8s.io/v1beta1"));
        assert_eq!(related.uid.as_deref(), Some("s-uid"));
        assert_eq!(related.resource_version, None);
    }

    #[test]
    fn what_can_be_tried_again() {
        let of = |code: u16| {
            let status = Status::failure("why", "").with_code(code).boxed();
            translate(kube::Error::Api(status))
        };
        for code in [400, 403, 404, 409, 422] {
            assert_eq!(of(code), EventError::Rejected { message: "why".into() }, "{code}");
        }
        for code in [429, 500, 503] {
            assert!(matches!(of(code), EventError::Unavailable { .. }), "{code}");
        }
    }
}
