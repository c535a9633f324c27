//! Watches: history from the file, then the writer's own news, without gap or duplicate.
//!
//! The writer publishes a revision after its commit and under the hub's lock. A watch joins under
//! the same lock and so knows exactly which revisions come to it (those after the published one);
//! everything before, it reads from the file. A watch whose buffer is full ends; it can be begun
//! again where it stood, for history is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::{KvBatch, KvError, KvWatch, Revision};
use super::{Shared, blocking};

/// Where the writer and the watches meet.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// Wakes the watches, which then tell how far they have come.
    asked: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    /// Everything up to this revision has been sent to the watches.
    published: Revision,
    watches: Vec<Listener>,
    /// Why the last commit failed; `None` = it did not.
    failure: Option<String>,
    closed: bool,
}

#[derive(Debug)]
struct Listener {
    prefix: String,
    from: Revision,
    sender: mpsc::Sender<KvBatch>,
}

impl Hub {
    pub(super) fn new(published: Revision) -> Self {
        let watches = Vec::new();
        let state = State { published, watches, failure: None, closed: false };
        Self { state: Mutex::new(state), asked: watch::Sender::new(()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // No step leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a committed revision to the watches. Whoever can't take it loses its place.
    pub(super) fn publish(&self, batch: &KvBatch) {
        let mut state = self.state();
        state.published = batch.revision;
        state.watches.retain(|watch| {
            if batch.revision < watch.from {
                return !watch.sender.is_closed();
            }
            let events: Vec<_> = batch
                .events
                .iter()
                .filter(|event| event.key.starts_with(&watch.prefix))
                .cloned()
                .collect();
            if events.is_empty() {
                return !watch.sender.is_closed();
            }
            match watch.sender.try_send(KvBatch { events, revision: batch.revision }) {
                Ok(()) => true,
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
            }
        });
    }

    pub(super) fn request_progress(&self) {
        self.asked.send_replace(());
    }

    pub(super) fn published(&self) -> Revision {
        self.state().published
    }

    /// From the returned revision (exclusive) on, news come to the receiver.
    fn join(
        &self,
        prefix: &str,
        from: Revision,
        batches_max: usize,
    ) -> Result<(mpsc::Receiver<KvBatch>, Revision), KvError> {
        let mut state = self.state();
        if state.closed {
            return Err(closed());
        }
        let (sender, receiver) = mpsc::channel(batches_max);
        state.watches.push(Listener { prefix: prefix.to_owned(), from, sender });
        Ok((receiver, state.published))
    }

    pub(super) fn set_failure(&self, failure: Option<String>) {
        self.state().failure = failure;
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.watches.clear();
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }
}

struct Watch {
    shared: Arc<Shared>,
    prefix: String,
    /// The first revision not yet delivered.
    next: Revision,
    /// History up to here has been read, not necessarily delivered.
    read: Revision,
    /// History is wanted up to here.
    wanted: Revision,
    pending: VecDeque<KvBatch>,
    /// `None` = still far behind.
    live: Option<mpsc::Receiver<KvBatch>>,
    progress_interval: Duration,
    asked: watch::Receiver<()>,
    batches_max: usize,
    done: bool,
}

/// Starts a watch; `from` 0 = from now.
pub(super) fn start(
    shared: Arc<Shared>,
    prefix: &str,
    from: Revision,
    compacted: Revision,
    progress_interval: Duration,
    batches_max: usize,
) -> Result<KvWatch, KvError> {
    let published = shared.hub.published();
    let from = if from > 0 { from } else { published + 1 };
    if from < compacted {
        return Err(KvError::Compacted { asked: from, compacted });
    }
    let asked = shared.hub.asked.subscribe();
    let mut watch = Watch {
        shared,
        prefix: prefix.to_owned(),
        next: from,
        read: from - 1,
        wanted: published,
        pending: VecDeque::new(),
        live: None,
        progress_interval,
        asked,
        batches_max,
        done: false,
    };
    if watch.read >= published {
        watch.join()?;
    }
    Ok(Box::pin(stream::unfold(watch, |mut watch| async move {
        if watch.done {
            return None;
        }
        let item = watch.batch().await;
        watch.done = item.is_err();
        Some((item, watch))
    })))
}

impl Watch {
    async fn batch(&mut self) -> Result<KvBatch, KvError> {
        loop {
            if let Some(batch) = self.pending.pop_front() {
                return Ok(self.delivered(batch));
            }
            if self.read < self.wanted {
                self.replay().await?;
                continue;
            }
            let Some(live) = &mut self.live else {
                // Late, so that little comes in while history is still being read.
                self.join()?;
                continue;
            };
            tokio::select! {
                biased;
                news = live.recv() => match news {
                    Some(batch) => return Ok(self.delivered(batch)),
                    None => return Err(self.lost()),
                },
                Ok(()) = self.asked.changed() => {}
                () = sleep(self.progress_interval) => {}
            }
            // In this order: what was published before is in the buffer.
            let published = self.shared.hub.published();
            match live.try_recv() {
                Ok(batch) => return Ok(self.delivered(batch)),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.lost()),
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            // A watch that starts in the future hears nothing of revisions before its start.
            if published + 1 >= self.next {
                return Ok(self.delivered(KvBatch { events: Vec::new(), revision: published }));
            }
        }
    }

    fn delivered(&mut self, batch: KvBatch) -> KvBatch {
        self.next = batch.revision + 1;
        batch
    }

    fn join(&mut self) -> Result<(), KvError> {
        let from = self.read + 1;
        let (receiver, published) = self.shared.hub.join(&self.prefix, from, self.batches_max)?;
        self.live = Some(receiver);
        self.wanted = published;
        Ok(())
    }

    /// One step of history.
    async fn replay(&mut self) -> Result<(), KvError> {
        let (prefix, from, to) = (self.prefix.clone(), self.read + 1, self.wanted);
        let events = move |shared: &Shared| shared.snapshot()?.events(&prefix, from, to);
        let (batches, reached) = blocking(self.shared.clone(), events).await?;
        self.pending = batches.into();
        self.read = reached;
        Ok(())
    }

    fn lost(&self) -> KvError {
        if self.shared.hub.is_closed() {
            return closed();
        }
        KvError::Unavailable {
            detail: format!(
                "the watch of {} fell more than {} revisions behind",
                self.prefix, self.batches_max
            ),
        }
    }
}

pub(super) fn closed() -> KvError {
    KvError::Unavailable { detail: "the store is closed".into() }
}
