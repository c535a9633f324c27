//! Whether a Sandbox's state allows an action. Pure.

use jiff::Timestamp;
use sandbox_api::{OperatingMode, Sandbox, condition};

/// What an action finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// It is so already: nothing to write.
    Already,
    /// The text of the conflict.
    Refused(&'static str),
}

/// Suspending a suspended Sandbox and resuming a running one are no errors.
pub(super) fn set_mode(sandbox: &Sandbox, mode: OperatingMode, now: Timestamp) -> Verdict {
    if let Some(text) = at_an_end(sandbox, now) {
        return Verdict::Refused(text);
    }
    if sandbox.spec.operating_mode() == mode {
        // A finished Pod doesn't make a Sandbox that was asked to run fail to be so, but nothing
        // would ever become ready or suspended.
        return if finished(sandbox) { Verdict::Refused(FINISHED) } else { Verdict::Already };
    }
    if finished(sandbox) { Verdict::Refused(FINISHED) } else { Verdict::Go }
}

/// A finished Sandbox may be restarted: its Pod is made anew.
pub(super) fn restart(sandbox: &Sandbox, now: Timestamp) -> Verdict {
    if let Some(text) = at_an_end(sandbox, now) {
        return Verdict::Refused(text);
    }
    match sandbox.spec.operating_mode() {
        OperatingMode::Running => Verdict::Go,
        OperatingMode::Suspended => Verdict::Refused("the Sandbox is suspended; resume it instead"),
    }
}

const FINISHED: &str = "the Sandbox has finished: its Pod ended by itself";

fn at_an_end(sandbox: &Sandbox, now: Timestamp) -> Option<&'static str> {
    if sandbox.metadata.deletion_timestamp.is_some() {
        return Some("the Sandbox is being deleted");
    }
    let expired = sandbox.spec.shutdown_time.as_ref().is_some_and(|time| time.0 <= now);
    expired.then_some("the Sandbox has expired")
}

fn finished(sandbox: &Sandbox) -> bool {
    sandbox
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .any(|condition| condition.type_ == condition::FINISHED && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sandbox(extra: &Value) -> Sandbox {
        let mut value = json!({
            "metadata": { "name": "s" },
            "spec": { "podTemplate": { "spec": { "containers": [] } } },
        });
        json_merge(&mut value, extra);
        serde_json::from_value(value).unwrap()
    }

    fn json_merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    json_merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    #[test]
    fn what_each_state_allows() {
        use OperatingMode::{Running, Suspended};
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let finished = json!({ "status": { "conditions": [{
            "type": "Finished", "status": "True", "reason": "PodFailed", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] } });
        let deleting = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        let expired = json!({ "spec": { "shutdownTime": "2026-01-01T00:00:00Z" } });
        let later = json!({ "spec": { "shutdownTime": "2026-01-03T00:00:00Z" } });
        let suspended = json!({ "spec": { "operatingMode": "Suspended" } });
        let refused = |text| Verdict::Refused(text);
        let cases = [
            (json!({}), Verdict::Go, Verdict::Already, Verdict::Go),
            (later, Verdict::Go, Verdict::Already, Verdict::Go),
            (
                suspended,
                Verdict::Already,
                Verdict::Go,
                refused("the Sandbox is suspended; resume it instead"),
            ),
            (finished, refused(FINISHED), refused(FINISHED), Verdict::Go),
            (
                deleting,
                refused("the Sandbox is being deleted"),
                refused("the Sandbox is being deleted"),
                refused("the Sandbox is being deleted"),
            ),
            (
                expired,
                refused("the Sandbox has expired"),
                refused("the Sandbox has expired"),
                refused("the Sandbox has expired"),
            ),
        ];
        for (extra, suspend, resume, again) in cases {
            let sandbox = sandbox(&extra);
            assert_eq!(set_mode(&sandbox, Suspended, now), suspend, "suspend {extra}");
            assert_eq!(set_mode(&sandbox, Running, now), resume, "resume {extra}");
            assert_eq!(restart(&sandbox, now), again, "restart {extra}");
        }
    }
}
