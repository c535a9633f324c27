//! All watch streams of a client.
//!
//! Watches share one stream, which costs etcd and the connection one stream for all of them. But
//! etcd tells progress for a stream as a whole, and only while each of its watches is up to date
//! and the store has reached each watch's start (mvcc's progressIfSync). So only watches from now
//! (start revision 0) are put on the shared stream: they are up to date from the beginning, and
//! no request for progress goes unanswered for long. History is read on a stream of its own; a
//! watch that is through with it moves to the shared one (see [`super::watch`]).
//!
//! A progress message may have been made before a watch and be sent after etcd's confirmation of
//! it. On the shared stream that is harmless: its revision is below the watch's beginning.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, WatchClient};
use tokio::sync::{Semaphore, mpsc, oneshot, watch as channel};
use tokio::time::timeout;

use super::super::{KvError, Revision};
use super::MESSAGE_BYTES_MAX;
use super::stream::{Join, Joined, Pace, Patience, run};
use crate::tasks::{OnExit, Tasks};

/// Stops its tasks, and with them all watches, when it is dropped.
pub(super) struct Streams {
    client: Client,
    tasks: Tasks,
    deadline: Duration,
    progress_interval: Duration,
    shared: Mutex<Option<mpsc::Sender<Join>>>,
    /// Wakes the streams, which then ask etcd how far they are; up to where it is wanted.
    asked: channel::Sender<Revision>,
    /// The highest revision that etcd has answered with.
    seen: AtomicI64,
    waiting: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new(client: Client, deadline: Duration, progress_interval: Duration) -> Self {
        Self {
            client,
            tasks: Tasks::new(),
            deadline,
            progress_interval,
            shared: Mutex::new(None),
            asked: channel::Sender::new(0),
            seen: AtomicI64::new(0),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    pub(super) fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> Revision {
        self.seen.load(Ordering::Relaxed)
    }

    /// One request per stream, repeated until it is answered with what has been seen by now.
    pub(super) fn request_progress(&self) {
        self.asked.send_replace(self.seen());
    }

    /// A watch from now on the shared stream.
    pub(super) async fn join(&self, prefix: &str) -> Result<Joined, KvError> {
        let joins = self.shared();
        self.ask(&joins, prefix, 0).await
    }

    /// A watch from `from` on a stream of its own, which may wait a while for its reader and asks
    /// often whether it is through with history.
    pub(super) async fn replay(&self, prefix: &str, from: Revision) -> Result<Joined, KvError> {
        let patience = Patience { longest: self.deadline, waiting: self.waiting.clone() };
        let pace = Pace { ask: REPLAY_ASK, patience: Some(patience), ..self.pace() };
        let joins = self.open(pace);
        self.ask(&joins, prefix, from).await
    }

    fn pace(&self) -> Pace {
        Pace {
            deadline: self.deadline,
            ask: self.progress_interval,
            silence: self.progress_interval.saturating_mul(SILENT_ROUNDS_MAX),
            patience: None,
        }
    }

    fn shared(&self) -> mpsc::Sender<Join> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some(joins) if !joins.is_closed() => joins.clone(),
            // None yet, or it broke or was idle.
            _ => shared.insert(self.open(self.pace())).clone(),
        }
    }

    fn open(&self, pace: Pace) -> mpsc::Sender<Join> {
        let (joins, receiver) = mpsc::channel(JOINS_MAX);
        let client: WatchClient =
            self.client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        let stop = self.tasks.stopping().clone();
        let driver = run(client, receiver, self.asked.subscribe(), pace, stop);
        self.tasks.spawn("etcd-watch-stream", OnExit::Ignore, driver);
        joins
    }

    async fn ask(
        &self,
        joins: &mpsc::Sender<Join>,
        prefix: &str,
        from: Revision,
    ) -> Result<Joined, KvError> {
        let (answer, receiver) = oneshot::channel();
        let asking = async {
            let join = Join { prefix: prefix.to_owned(), from, answer };
            joins.send(join).await.map_err(|_| broken())?;
            receiver.await.map_err(|_| broken())?
        };
        timeout(self.deadline, asking).await.map_err(|_| KvError::Unavailable {
            detail: format!("no watch within {:?}", self.deadline),
        })?
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

fn broken() -> KvError {
    KvError::Unavailable { detail: "the watch stream has ended".into() }
}

/// Rounds of unanswered requests for progress after which a stream counts as dead.
const SILENT_ROUNDS_MAX: u32 = 6;
/// How often a stream with history asks whether it is through; etcd works at it as often.
const REPLAY_ASK: Duration = Duration::from_millis(100);
/// See [`Patience`].
const WAITING_MAX: usize = 2;
const JOINS_MAX: usize = 64;
