//! The truth, from one watch of etcd that no replica takes part in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use apiserver::storage::{Kv, KvError, KvEvent, Page};
use apiserver::tasks::CancellationToken;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::time::sleep;

use super::wait_until;
use crate::lab::replica::PREFIX;
use crate::model::history::{Content, Fact, Filter, Revision, Selector};
use crate::model::truth::Truth;
use crate::recorder::Recorder;

/// How far the reference watch has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reference(Arc<AtomicI64>);

impl Reference {
    /// Everything up to here is recorded.
    pub(crate) fn reached(&self) -> Revision {
        self.0.load(Ordering::SeqCst)
    }

    /// Records every change until `stop`. Survives every fault of etcd by starting again behind
    /// what it has.
    ///
    /// # Errors
    /// When a change was missed, which nothing but a compaction beyond [`Self::reached`] can cause.
    pub(crate) async fn follow(
        &self,
        kv: &dyn Kv,
        recorder: &Recorder,
        stop: &CancellationToken,
    ) -> Result<()> {
        stop.run_until_cancelled(self.record(kv, recorder)).await.unwrap_or(Ok(()))
    }

    async fn record(&self, kv: &dyn Kv, recorder: &Recorder) -> Result<()> {
        loop {
            let mut watch = match kv.watch(PREFIX, self.reached() + 1).await {
                Ok(watch) => watch,
                Err(error) => {
                    may_pass(error)?;
                    sleep(PAUSE).await;
                    continue;
                }
            };
            while let Some(batch) = watch.next().await {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        may_pass(error)?;
                        break;
                    }
                };
                for event in &batch.events {
                    ensure!(event.revision > self.reached(), "etcd repeats {event:?}");
                    let fact = fact(event)?;
                    recorder.add(|history| history.facts.push(fact));
                }
                self.0.fetch_max(batch.revision, Ordering::SeqCst);
            }
        }
    }

    /// Waits for the last change, and compares the outcome with what etcd holds.
    pub(crate) async fn complete(&self, kv: &dyn Kv, recorder: &Recorder) -> Result<()> {
        let (_, last) = kv.count(PREFIX).await?;
        wait_until("the reference watch", || async { self.reached() >= last }).await?;
        let listed = kv.list(PREFIX, Page { at: Some(last), ..Page::default() }).await?;
        let facts = recorder.facts();
        let truth = Truth::new(facts);
        let everything = Filter { namespace: None, selector: Selector::Everything };
        let state = truth.state(last, &everything);
        let expected: Vec<(String, Revision)> =
            state.iter().map(|live| (live.key.to_owned(), live.revision)).collect();
        let found: Vec<(String, Revision)> =
            listed.items.iter().map(|kv| (short(&kv.key), kv.mod_revision)).collect();
        ensure!(expected == found, "the reference missed something: {expected:?}, {found:?}");
        Ok(())
    }
}

fn may_pass(error: KvError) -> Result<()> {
    match error {
        KvError::Compacted { .. } => bail!("a compaction outran the reference watch: {error}"),
        _ => Ok(()),
    }
}

fn fact(event: &KvEvent) -> Result<Fact> {
    let content = event
        .value
        .as_ref()
        .map(|value| {
            let object: Value = serde_json::from_slice(value)?;
            Content::of(&object).with_context(|| format!("not one of our objects: {object}"))
        })
        .transpose()?;
    Ok(Fact { revision: event.revision, key: short(&event.key), content })
}

fn short(key: &str) -> String {
    key.strip_prefix(PREFIX).unwrap_or(key).to_owned()
}

const PAUSE: Duration = Duration::from_millis(100);
