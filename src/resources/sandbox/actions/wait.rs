//! `?wait=` and `?timeout=`: the answer comes when the loop has done what was asked.

use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::meta::Object;
use apiserver::registry::Store;
use apiserver::status::ApiError;
use sandbox_api::{OperatingMode, Sandbox, condition};
use serde_json::Value;

use crate::wait::{last, reached, timeout};

/// Longest time an answer is given before the deadline.
const MARGIN: Duration = Duration::from_millis(500);

pub(super) struct Wait;

impl Wait {
    /// How long to wait; `None` = not at all.
    pub(super) fn parse(query: &[(String, String)]) -> Result<Option<Duration>, ApiError> {
        let timeout = timeout(query)?;
        match last(query, "wait") {
            Some("true" | "1" | "") => Ok(Some(timeout)),
            None | Some("false" | "0") => Ok(None),
            Some(other) => {
                let text = format!("invalid wait {other:?}: must be true or false");
                Err(ApiError::bad_request(text))
            }
        }
    }
}

/// Waits until the status made from `written`, or from a newer generation, says so.
pub(super) async fn wait_for(
    store: &Store,
    permit: &Permit,
    written: Object,
    mode: OperatingMode,
    limit: Duration,
) -> Result<Object, ApiError> {
    let generation = written.generation();
    let (kind, text) = match mode {
        OperatingMode::Running => (condition::READY, "Ready"),
        OperatingMode::Suspended => (condition::SUSPENDED, "Suspended"),
    };
    let done = |object: &Object| says(object, kind, generation);
    wait_until(store, permit, written, (text, done), limit).await
}

/// Waits until the Sandbox is ready with a Pod that was not there when `written` was.
pub(super) async fn wait_for_another_pod(
    store: &Store,
    permit: &Permit,
    written: Object,
    limit: Duration,
) -> Result<Object, ApiError> {
    let (generation, before) = (written.generation(), started(&written));
    let done = move |object: &Object| {
        started(object) != before && says(object, condition::READY, generation)
    };
    wait_until(store, permit, written, ("Ready again", done), limit).await
}

/// When the present Pod was started.
fn started(object: &Object) -> Option<String> {
    object.at("status.startTime").and_then(Value::as_str).map(str::to_owned)
}

async fn wait_until(
    store: &Store,
    permit: &Permit,
    written: Object,
    (text, wanted): (&str, impl Fn(&Object) -> bool),
    limit: Duration,
) -> Result<Object, ApiError> {
    let name = written.name().to_owned();
    // The front and our own chain take the same parameter as the request's deadline; the typed
    // answer must come before theirs.
    let patience = limit - (limit / 10).min(MARGIN);
    let done = reached(store, permit, written, wanted);
    match tokio::time::timeout(patience, done).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::timeout(&format!(
            "Sandbox {name:?} did not become {text} within {limit:?}; the request was accepted and goes on"
        ))),
    }
}

/// Whether the condition is true as of `generation`; an older one tells of another wish.
fn says(object: &Object, kind: &str, generation: i64) -> bool {
    let Ok(sandbox) = object.to_typed::<Sandbox>() else { return false };
    sandbox.status.iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.type_ == kind
            && condition.status == "True"
            && condition.observed_generation.unwrap_or_default() >= generation
    })
}

#[cfg(test)]
mod tests {
    use apiserver::request::duration;
    use serde_json::json;

    use super::*;
    use crate::wait::DEFAULT;

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn wait_and_timeout_are_parsed() {
        let parse =
            |pairs: &[(&str, &str)]| Wait::parse(&query(pairs)).map_err(|error| error.to_string());
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[("wait", "false"), ("timeout", "5s")]), Ok(None));
        assert_eq!(parse(&[("wait", "true")]), Ok(Some(DEFAULT)));
        let short = Duration::from_millis(1500);
        assert_eq!(parse(&[("wait", "true"), ("timeout", "1.5s")]), Ok(Some(short)));
        for (name, value) in [
            ("wait", "ready"),
            ("timeout", "30"),
            ("timeout", "56s"),
            ("timeout", ""),
            ("timeout", "-1s"),
        ] {
            let error = parse(&[(name, value)]).unwrap_err();
            assert!(error.contains(&format!("invalid {name} {value:?}")), "{error}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, millis) in
            [("0", 0), ("300ms", 300), ("1m30s", 90_000), ("1h", 3_600_000), (".5s", 500)]
        {
            assert_eq!(duration::parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1", "1x", "1.2.3s", "1s2", "--1s", "1e3s"] {
            assert_eq!(duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_condition_of_an_older_generation_does_not_count() {
        let object = |observed: i64, status: &str| {
            Object::from_value(json!({
                "metadata": { "name": "s" },
                "spec": { "podTemplate": { "spec": { "containers": [] } } },
                "status": { "conditions": [{
                    "type": "Ready", "status": status, "reason": "R", "message": "",
                    "observedGeneration": observed, "lastTransitionTime": "2026-01-01T00:00:00Z",
                }] },
            }))
            .unwrap()
        };
        assert!(says(&object(2, "True"), "Ready", 2));
        assert!(!says(&object(1, "True"), "Ready", 2));
        assert!(!says(&object(2, "False"), "Ready", 2));
    }
}
