//! What the audit, the metrics and the log are told of a stream: which Pod and container, which
//! command, and how it went. Never what passes through it.

use apiserver::audit::Record;
use apiserver::meta::{Object, ObjectKey};
use sandbox_api::keys;
use serde_json::Value;
use tokio::time::Instant;
use tracing::info;

use super::kind::Kind;
use super::metrics::StreamMetrics;
use super::splice::Ended;

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
        record.annotate(keys::AUDITED_SANDBOX, sandbox.name());
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

    pub(super) fn opened(&self, metrics: &StreamMetrics) {
        info!("stream opened");
        metrics.opened(self.kind.name);
    }

    /// `bytes` to the Pod and from it.
    pub(super) fn closed(
        self,
        metrics: &StreamMetrics,
        why: Ended,
        bytes: (u64, u64),
        exit_code: Option<i64>,
    ) {
        let took = self.began.elapsed();
        // On other streams that channel means something else.
        let exit_code = exit_code.filter(|_| matches!(self.kind.name, "exec" | "attach"));
        let why = why.of_command(exit_code);
        metrics.closed(self.kind.name, why, took);
        info!(ended = ?why, seconds = took.as_secs(), "stream closed");
        let note = |key: &str, value: String| self.record.annotate(key, value);
        if let Some(code) = exit_code {
            note(EXIT_CODE, code.to_string());
        }
        note(BYTES_TO_POD, bytes.0.to_string());
        note(BYTES_FROM_POD, bytes.1.to_string());
        note(DURATION_SECONDS, format!("{:.3}", took.as_secs_f64()));
        note(ENDED, why.name().to_owned());
    }
}
