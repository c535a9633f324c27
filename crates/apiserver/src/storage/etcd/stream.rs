//! One gRPC watch stream and the watches on it, driven by one task.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use etcd_client::{WatchClient, WatchOptions, WatchRequestSender, WatchResponseStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch as channel};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::debug;

use super::super::{KvBatch, KvError, Revision};
use super::error::kv_error;
use super::events::Assembler;
use super::feed::{Feed, FeedSender, Pushed, feed};
use super::prefix_end;
use crate::tasks::CancellationToken;

/// Asks for a watch on the stream.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) prefix: String,
    /// 0 = from now.
    pub(super) from: Revision,
    pub(super) answer: oneshot::Sender<Result<Joined, KvError>>,
}

/// A watch that etcd has confirmed.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) feed: Feed,
    /// etcd's revision just after it. A watch from now has all changes after this one, and
    /// perhaps some before.
    pub(super) revision: Revision,
}

/// How a stream is driven.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// For the answer to a request, and for etcd to take one.
    pub(super) deadline: Duration,
    /// How often etcd is asked how far the stream is.
    pub(super) ask: Duration,
    /// A stream that is silent for longer is dead.
    pub(super) silence: Duration,
    /// How a watch with a full buffer may make its stream wait; `None` = it ends at once.
    pub(super) patience: Option<Patience>,
}

/// What a stream does not read stays in the window of the connection, which has room for two
/// streams that wait (hyper: 5 MiB, 2 MiB for each) before it stands still for all.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) longest: Duration,
    /// A permit for each stream that may wait.
    pub(super) waiting: Arc<Semaphore>,
}

/// Drives a stream until nobody needs it, `stop` is cancelled, or it breaks, which ends all its
/// watches. The stream is opened with the first join.
pub(super) async fn run(
    mut client: WatchClient,
    mut joins: mpsc::Receiver<Join>,
    mut asked: channel::Receiver<Revision>,
    pace: Pace,
    stop: CancellationToken,
) {
    let Some(first) = joins.recv().await else { return };
    let opening = client.watch(first.prefix.as_str(), Some(options(&first)));
    let (requests, responses) = match timeout(pace.deadline, opening).await {
        Ok(Ok(stream)) => stream.split(),
        Ok(Err(error)) => return refuse(first, kv_error(&error)),
        Err(_) => return refuse(first, late(pace.deadline)),
    };
    let mut stream = Stream {
        requests,
        pace,
        watches: HashMap::new(),
        creating: VecDeque::from([first]),
        gone: Arc::new(Notify::new()),
        heard: Instant::now(),
        wanted: 0,
        ask_again: None,
    };
    let error = match stream.drive(responses, &mut joins, &mut asked, &stop).await {
        Ok(()) => return,
        Err(error) => error,
    };
    debug!(%error, watches = stream.watches.len(), "a watch stream has ended");
    let detail = error.to_string();
    for (_, listener) in stream.watches {
        listener.feed.end(KvError::Unavailable { detail: detail.clone() });
    }
    for join in stream.creating {
        refuse(join, KvError::Unavailable { detail: detail.clone() });
    }
}

struct Stream {
    requests: WatchRequestSender,
    pace: Pace,
    watches: HashMap<i64, Listener>,
    /// etcd answers in the order it was asked.
    creating: VecDeque<Join>,
    /// Some watch is not listened to any more.
    gone: Arc<Notify>,
    /// When etcd last said anything.
    heard: Instant,
    /// Somebody waits until the stream has come this far.
    wanted: Revision,
    /// etcd does not answer a request for progress while one of the watches is behind.
    ask_again: Option<Instant>,
}

struct Listener {
    feed: FeedSender,
    assembler: Assembler,
}

impl Stream {
    async fn drive(
        &mut self,
        mut responses: WatchResponseStream,
        joins: &mut mpsc::Receiver<Join>,
        asked: &mut channel::Receiver<Revision>,
        stop: &CancellationToken,
    ) -> Result<(), KvError> {
        let mut ticks = interval_at(Instant::now() + self.pace.ask, self.pace.ask);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let gone = self.gone.clone();
        let mut open = true;
        loop {
            let ask_again = self.ask_again.unwrap_or_else(|| Instant::now() + self.pace.silence);
            tokio::select! {
                () = stop.cancelled() => return Err(unavailable("the store is closed")),
                message = responses.message() => {
                    let message = message.map_err(|error| kv_error(&error))?;
                    let message = message.ok_or_else(|| unavailable("etcd ended the stream"))?;
                    self.heard = Instant::now();
                    self.take(message.0).await?;
                }
                join = joins.recv(), if open && self.creating.len() < CREATING_MAX => match join {
                    Some(join) => self.create(join).await?,
                    None => open = false,
                },
                Ok(()) = asked.changed() => {
                    self.wanted = *asked.borrow_and_update();
                    self.ask().await?;
                    self.ask_again = Some(Instant::now() + ASK_AGAIN);
                }
                () = sleep_until(ask_again), if self.ask_again.is_some() => {
                    self.ask().await?;
                    self.ask_again = Some(Instant::now() + ASK_AGAIN);
                }
                () = gone.notified() => self.sweep().await?,
                _ = ticks.tick() => {
                    if self.is_idle() {
                        return Ok(());
                    }
                    if self.heard.elapsed() > self.pace.silence {
                        return Err(unavailable("the watch stream fell silent"));
                    }
                    self.ask().await?;
                }
            }
            if !open && self.is_idle() {
                return Ok(());
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.watches.is_empty() && self.creating.is_empty()
    }

    async fn take(&mut self, message: PbWatchResponse) -> Result<(), KvError> {
        let revision = message.header.map_or(0, |header| header.revision);
        if message.created {
            let join = self.creating.pop_front();
            let join =
                join.ok_or_else(|| unavailable("etcd made a watch that nobody asked for"))?;
            if message.canceled {
                refuse(join, unavailable(&format!("no watch: {}", message.cancel_reason)));
            } else {
                self.created(message.watch_id, revision, join);
            }
            return Ok(());
        }
        if message.canceled {
            if let Some(listener) = self.watches.remove(&message.watch_id) {
                listener.feed.end(match message.compact_revision {
                    0 => unavailable(&format!("etcd ended it: {}", message.cancel_reason)),
                    compacted => KvError::Compacted { asked: 0, compacted },
                });
            }
            return Ok(());
        }
        if message.events.is_empty() {
            self.progress(message.watch_id, revision);
            return Ok(());
        }
        // Of a watch that was cancelled a moment ago, else.
        let Some(listener) = self.watches.get_mut(&message.watch_id) else { return Ok(()) };
        let end = match listener.assembler.add(message.events, message.fragment) {
            Ok(None) => return Ok(()),
            Ok(Some(batch)) => match push(&listener.feed, batch, self.pace.patience.as_ref()).await
            {
                Pushed::Queued => return Ok(()),
                Pushed::Full(_) => unavailable("the watch does not keep up with the changes"),
                Pushed::Gone => unavailable("nobody listens"),
            },
            Err(error) => error,
        };
        self.remove(message.watch_id, end).await
    }

    fn created(&mut self, id: i64, revision: Revision, join: Join) {
        let (sender, feed) = feed(self.gone.clone());
        let listener = Listener { feed: sender, assembler: Assembler::default() };
        self.watches.insert(id, listener);
        // Who no longer waits for it drops the feed, which sweeps the watch away.
        drop(join.answer.send(Ok(Joined { feed, revision })));
    }

    fn progress(&mut self, id: i64, revision: Revision) {
        if id != EVERY_WATCH {
            if let Some(listener) = self.watches.get(&id) {
                listener.feed.progress(revision);
            }
            return;
        }
        for listener in self.watches.values() {
            listener.feed.progress(revision);
        }
        // A member that is behind its leader answers with less.
        if revision >= self.wanted {
            self.ask_again = None;
        }
    }

    async fn create(&mut self, join: Join) -> Result<(), KvError> {
        let options = options(&join);
        let asking = self.requests.watch(join.prefix.as_str(), Some(options));
        let sent = sent(self.pace.deadline, asking).await;
        self.creating.push_back(join);
        sent
    }

    async fn ask(&mut self) -> Result<(), KvError> {
        sent(self.pace.deadline, self.requests.request_progress()).await
    }

    async fn remove(&mut self, id: i64, error: KvError) -> Result<(), KvError> {
        if let Some(listener) = self.watches.remove(&id) {
            listener.feed.end(error);
        }
        sent(self.pace.deadline, self.requests.cancel(id)).await
    }

    /// Ends the watches to which nobody listens.
    async fn sweep(&mut self) -> Result<(), KvError> {
        let gone: Vec<i64> = self
            .watches
            .iter()
            .filter_map(|(id, listener)| listener.feed.is_gone().then_some(*id))
            .collect();
        for id in gone {
            self.remove(id, unavailable("nobody listens")).await?;
        }
        Ok(())
    }
}

async fn push(feed: &FeedSender, batch: KvBatch, patience: Option<&Patience>) -> Pushed {
    match (feed.push(batch, Duration::ZERO).await, patience) {
        (Pushed::Full(batch), Some(patience)) => match patience.waiting.try_acquire() {
            Ok(_permit) => feed.push(batch, patience.longest).await,
            Err(_) => Pushed::Full(batch),
        },
        (pushed, _) => pushed,
    }
}

fn options(join: &Join) -> WatchOptions {
    WatchOptions::new()
        .with_range(prefix_end(&join.prefix))
        .with_start_revision(join.from)
        .with_prev_key()
        // A transaction with large values before and after may exceed what gRPC transports.
        .with_fragment()
}

/// Requests wait in a short queue; a stream on which it does not move is broken.
async fn sent<F>(deadline: Duration, sending: F) -> Result<(), KvError>
where
    F: Future<Output = Result<(), etcd_client::Error>>,
{
    match timeout(deadline, sending).await {
        Ok(sent) => sent.map_err(|error| kv_error(&error)),
        Err(_) => Err(late(deadline)),
    }
}

fn refuse(join: Join, error: KvError) {
    // Nobody may wait for it any more.
    drop(join.answer.send(Err(error)));
}

fn late(deadline: Duration) -> KvError {
    unavailable(&format!("no watch within {deadline:?}"))
}

fn unavailable(detail: &str) -> KvError {
    KvError::Unavailable { detail: detail.to_owned() }
}

/// The id in answers to a request for progress.
const EVERY_WATCH: i64 = -1;
/// Between requests for progress while etcd does not answer; it looks after watches that are
/// behind as often (`watchResyncPeriod`).
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Fewer than the requests that etcd-client queues, so that they are always taken.
const CREATING_MAX: usize = 64;
