//! What the audit is told of a stream: which Pod and container, which command, and how it went.
//! Never what passes through it.

use std::time::Duration;

use apiserver::audit::Record;
use apiserver::meta::{Object, ObjectKey};
use serde_json::Value;
use tokio::time::Instant;

use super::kind::Kind;
use super::splice::Ended;

const SANDBOX: &str = "sandbox.x-k8s.io/sandbox";
const POD: &str = "sandbox.x-k8s.io/pod";
const CONTAINER: &str = "sandbox.x-k8s.io/container";
/// The arguments, as a JSON array.
const COMMAND: &str = "sandbox.x-k8s.io/command";
const EXIT_CODE: &str = "sandbox.x-k8s.io/exit-code";
const BYTES_TO_POD: &str = "sandbox.x-k8s.io/bytes-to-pod";
const BYTES_FROM_POD: &str = "sandbox.x-k8s.io/bytes-from-pod";
const DURATION_SECONDS: &str = "sandbox.x-k8s.io/duration-seconds";
const ENDED: &str = "sandbox.x-k8s.io/ended";

/// A stream that is recorded. The request lasts, for the audit, as long as this does.
pub(super) struct Audited {
    record: Record,
    kind: &'static Kind,
    began: Instant,
}

impl Audited {
    /// `container` is the one that is taken where the query names none.
    pub(super) fn begin(
        record: &Record,
        kind: &'static Kind,
        sandbox: &Object,
        (pod, container): (&ObjectKey, &str),
        query: Option<&str>,
    ) -> Self {
        let asked = |name: &'static str| {
            let all = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            let values = all.filter(move |(key, value)| key == name && !value.is_empty());
            values.map(|(_, value)| value.into_owned())
        };
        record.annotate(SANDBOX, sandbox.name());
        record.annotate(POD, &*pod.name);
        if kind.takes("container") {
            let named = asked("container").next();
            record.annotate(CONTAINER, named.unwrap_or_else(|| container.to_owned()));
        }
        if kind.takes("command") {
            let command: Vec<String> = asked("command").collect();
            record.annotate(COMMAND, Value::from(command).to_string());
        }
        Self { record: record.clone(), kind, began: Instant::now() }
    }

    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// `bytes` to the Pod and from it.
    pub(super) fn end(self, why: Ended, bytes: (u64, u64), exit_code: Option<i64>) {
        let note = |key: &str, value: String| self.record.annotate(key, value);
        // On other streams that channel means something else.
        if let Some(code) = exit_code.filter(|_| matches!(self.kind.name, "exec" | "attach")) {
            note(EXIT_CODE, code.to_string());
        }
        note(BYTES_TO_POD, bytes.0.to_string());
        note(BYTES_FROM_POD, bytes.1.to_string());
        note(DURATION_SECONDS, format!("{:.3}", self.took().as_secs_f64()));
        note(ENDED, why.name().to_owned());
    }
}
