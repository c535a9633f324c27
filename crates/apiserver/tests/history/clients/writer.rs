//! A client that writes.

use std::time::Duration;

use anyhow::Result;
use apiserver::tasks::CancellationToken;
use http::Method;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Actor, Answer, Ask, COLORS, SHADES, collection, object};
use crate::model::history::{Action, Draft, Revision, Seen, Span, Write, WriteOutcome};

impl Actor {
    /// Writes until `stop`.
    pub(crate) async fn write(mut self, stop: CancellationToken) {
        let mut count = 0;
        while !stop.is_cancelled() {
            count += 1;
            let value = format!("{}-{count}", self.name);
            let (namespace, name) = self.key();
            self.write_once(&namespace, &name, value).await;
            sleep(Duration::from_millis(self.rng.random_range(0..PAUSE_MAX_MS))).await;
        }
    }

    /// One object in each namespace that almost every selector matches: who watches sees it come.
    pub(crate) async fn write_last(&mut self, namespace: &str) -> Result<Revision> {
        for attempt in 0..LAST_ATTEMPTS {
            let draft = Draft {
                value: format!("{}-{namespace}-{attempt}", self.name),
                color: COLORS[0].into(),
                shade: SHADES[0].into(),
            };
            let name = format!("last-{attempt}");
            let ask = create(namespace, &name, &draft);
            let action = Action::Create(draft);
            if let WriteOutcome::Stored(seen) = self.send(namespace, &name, ask, action).await {
                return Ok(seen.revision);
            }
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("the last write was not acknowledged in {LAST_ATTEMPTS} attempts")
    }

    async fn write_once(&mut self, namespace: &str, name: &str, value: String) {
        let key = format!("{namespace}/{name}");
        let known = self.board.object(&key);
        match (self.rng.random_range(0..20), known) {
            (0..=4, _) | (5..=17, None) => {
                let draft = self.draft(value);
                let ask = create(namespace, name, &draft);
                self.send(namespace, name, ask, Action::Create(draft)).await;
            }
            (5..=8, Some((revision, known))) => {
                self.update(namespace, name, value, (revision, known)).await;
            }
            (9..=11, Some(_)) => {
                // As a careful client does: read, change, write.
                if let Some(current) = self.read_for_update(namespace, name).await {
                    self.update(namespace, name, value, current).await;
                }
            }
            (12..=17, Some((revision, _))) => {
                let expected = self.rng.random_bool(0.2).then_some(revision);
                self.patch(namespace, name, value, expected).await;
            }
            (_, known) => {
                let expected =
                    known.filter(|_| self.rng.random_bool(0.3)).map(|(revision, _)| revision);
                let body = expected.map(|revision| {
                    json!({
                        "apiVersion": "v1",
                        "kind": "DeleteOptions",
                        "preconditions": {"resourceVersion": revision.to_string()},
                    })
                });
                let ask = object(Method::DELETE, namespace, name, body);
                self.send(namespace, name, ask, Action::Delete { expected }).await;
            }
        }
    }

    fn draft(&mut self, value: String) -> Draft {
        Draft { value, color: self.pick(&COLORS), shade: self.pick(&SHADES) }
    }

    async fn update(
        &mut self,
        namespace: &str,
        name: &str,
        value: String,
        (revision, mut body): (Revision, Value),
    ) {
        let draft = self.draft(value);
        body["metadata"]["labels"]["color"] = draft.color.as_str().into();
        body["spec"]["value"] = draft.value.as_str().into();
        body["spec"]["shade"] = draft.shade.as_str().into();
        let ask = object(Method::PUT, namespace, name, Some(body));
        self.send(namespace, name, ask, Action::Update(draft, revision)).await;
    }

    async fn patch(
        &mut self,
        namespace: &str,
        name: &str,
        value: String,
        expected: Option<Revision>,
    ) {
        let mut body = json!({"spec": {"value": value}});
        let color = self.rng.random_bool(0.5).then(|| self.pick(&COLORS));
        if let Some(color) = &color {
            body["metadata"]["labels"]["color"] = color.as_str().into();
        }
        if let Some(revision) = expected {
            body["metadata"]["resourceVersion"] = revision.to_string().into();
        }
        let mut ask = object(Method::PATCH, namespace, name, Some(body));
        ask.content_type = "application/merge-patch+json";
        self.send(namespace, name, ask, Action::Patch { value, color, expected }).await;
    }

    async fn send(
        &mut self,
        namespace: &str,
        name: &str,
        ask: Ask,
        action: Action,
    ) -> WriteOutcome {
        let replica = self.replica();
        let (answer, start, end) = self.timed(replica, ask).await;
        let outcome = outcome(answer, &action);
        if let (WriteOutcome::Stored(seen), body) = &outcome {
            self.board.saw_object(seen, body);
        }
        let (outcome, _) = outcome;
        let span = Span { client: self.name.clone(), replica, start, end };
        let key = format!("{namespace}/{name}");
        let write = Write { span, key, action, outcome: outcome.clone() };
        self.recorder.add(|history| history.writes.push(write));
        outcome
    }
}

fn create(namespace: &str, name: &str, draft: &Draft) -> Ask {
    let body = json!({
        "apiVersion": "history.x-k8s.io/v1",
        "kind": "Thing",
        "metadata": {"name": name, "labels": {"color": draft.color}},
        // Of some weight, so that a slow watcher holds its server up.
        "spec": {"value": draft.value, "shade": draft.shade, "padding": "x".repeat(PADDING_BYTES)},
    });
    let path = collection(Some(namespace));
    Ask { method: Method::POST, path, content_type: "application/json", body: Some(body) }
}

/// What the answer means, and the object in it.
fn outcome(answer: Result<Answer>, action: &Action) -> (WriteOutcome, Value) {
    let unknown = |detail: String| (WriteOutcome::Unknown { detail }, Value::Null);
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unknown(format!("{error:#}")),
    };
    match answer.code {
        200 | 201 if matches!(action, Action::Delete { .. }) => {
            let uid = answer.body.pointer("/details/uid").and_then(Value::as_str);
            let uid = uid.unwrap_or_default().to_owned();
            (WriteOutcome::Deleted { uid }, Value::Null)
        }
        200 | 201 => match Seen::of(&answer.body) {
            Some(seen) => (WriteOutcome::Stored(seen), answer.body),
            None => {
                let reason = format!("not one of our objects: {}", answer.body);
                (WriteOutcome::Refused { code: answer.code, reason }, Value::Null)
            }
        },
        code @ 400..500 => {
            let reason = answer.text("reason").to_owned();
            (WriteOutcome::Refused { code, reason }, Value::Null)
        }
        code => unknown(format!("{code} {}", answer.text("message"))),
    }
}

const PAUSE_MAX_MS: u64 = 60;
const PADDING_BYTES: usize = 2000;
const LAST_ATTEMPTS: usize = 50;
