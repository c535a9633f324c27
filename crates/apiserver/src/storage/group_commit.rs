//! [`GroupCommit`]: transactions that come in while others are on their way share the next one.
//!
//! A store that syncs to disk for each transaction does so once for a whole group. A group fails as
//! one; the store says which guards did not hold, so that those it failed for are told and the rest
//! is tried again, without them.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Usage, Write};
use crate::tasks::{CancellationToken, OnExit, Tasks};

/// Bounds of a group commit.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Guards, and writes, of one group: what every store takes.
    pub operations_max: usize,
    /// Bytes of the values of one group, of which the last transaction may exceed them.
    pub bytes_max: usize,
    /// Groups that are on their way at a time.
    pub in_flight: usize,
    /// Transactions that wait for a group; more wait for a place.
    pub queue: usize,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self { operations_max: 128, bytes_max: 512 * 1024, in_flight: 2, queue: 1024 }
    }
}

/// A [`Kv`] whose transactions are grouped. Everything else is the store's own, but for one promise:
/// transactions of a group share a revision, where [`Kv`] gives each its own.
#[derive(Debug)]
pub struct GroupCommit {
    inner: Arc<dyn Kv>,
    jobs: mpsc::Sender<Job>,
}

type Answer = Result<Outcome, KvError>;

struct Job {
    guards: Vec<(String, Expect)>,
    writes: Vec<Write>,
    answer: oneshot::Sender<Answer>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("guards", &self.guards.len()).finish_non_exhaustive()
    }
}

impl GroupCommit {
    /// Groups transactions until the tasks stop; those that come later go alone.
    pub fn start(inner: Arc<dyn Kv>, options: &GroupOptions, tasks: &Tasks) -> Self {
        let (jobs, queue) = mpsc::channel(options.queue);
        let queue = Arc::new(tokio::sync::Mutex::new(Queue { jobs: queue, left: VecDeque::new() }));
        for _ in 0..options.in_flight.max(1) {
            let (kv, queue, options) = (Arc::clone(&inner), Arc::clone(&queue), options.clone());
            let stop = tasks.stopping().clone();
            tasks.spawn("group-commit", OnExit::Shutdown, async move {
                loop {
                    // One worker gathers a group while others wait for the store.
                    let group = queue.lock().await.next(&options, &stop).await;
                    let Some(group) = group else { return };
                    run(&*kv, group).await;
                }
            });
        }
        Self { inner, jobs }
    }
}

struct Queue {
    jobs: mpsc::Receiver<Job>,
    /// Taken out, and not fit for the group of the moment.
    left: VecDeque<Job>,
}

impl Queue {
    /// The next group; `None` when the server stops and nothing waits.
    async fn next(&mut self, options: &GroupOptions, stop: &CancellationToken) -> Option<Vec<Job>> {
        let first = match self.left.pop_front() {
            Some(job) => job,
            None => tokio::select! {
                biased;
                job = self.jobs.recv() => job?,
                () = stop.cancelled() => {
                    self.jobs.close();
                    self.jobs.recv().await?
                }
            },
        };
        let mut room = Room::default();
        room.add(&first);
        let mut group = vec![first];
        let mut again = std::mem::take(&mut self.left);
        while let Some(job) = again.pop_front().or_else(|| self.jobs.try_recv().ok()) {
            if room.fits(&job, options) {
                room.add(&job);
                group.push(job);
            } else {
                self.left.push_back(job);
                if self.left.len() >= LEFT_MAX {
                    break;
                }
            }
        }
        self.left.append(&mut again);
        Some(group)
    }
}

/// Transactions that are passed over for one group.
const LEFT_MAX: usize = 64;

/// What a group holds.
#[derive(Default)]
struct Room {
    keys: HashSet<String>,
    guards: usize,
    writes: usize,
    bytes: usize,
}

impl Room {
    /// Whether the job can share the group: it touches no key of another, for what one does must
    /// not be seen by, or be in the way of, what another expects.
    fn fits(&self, job: &Job, options: &GroupOptions) -> bool {
        self.guards + job.guards.len() <= options.operations_max
            && self.writes + job.writes.len() <= options.operations_max
            && self.bytes < options.bytes_max
            && !keys(job).any(|key| self.keys.contains(key))
    }

    fn add(&mut self, job: &Job) {
        self.guards += job.guards.len();
        self.writes += job.writes.len();
        self.bytes += job.writes.iter().map(size).sum::<usize>();
        self.keys.extend(keys(job).map(str::to_owned));
    }
}

fn keys(job: &Job) -> impl Iterator<Item = &str> {
    let guards = job.guards.iter().map(|(key, _)| key.as_str());
    guards.chain(job.writes.iter().map(|write| match write {
        Write::Put { key, .. } | Write::Delete { key } => key.as_str(),
    }))
}

fn size(write: &Write) -> usize {
    match write {
        Write::Put { value, .. } => value.len(),
        Write::Delete { .. } => 0,
    }
}

/// Runs a group until everybody in it has an answer.
async fn run(kv: &dyn Kv, mut group: Vec<Job>) {
    while !group.is_empty() {
        // Whoever does not listen any more has not asked for anything.
        group.retain(|job| !job.answer.is_closed());
        let guards = group.iter().flat_map(|job| job.guards.iter().cloned()).collect();
        let writes = group.iter().flat_map(|job| job.writes.iter().cloned()).collect();
        match kv.txn(guards, writes).await {
            Ok(Outcome::Done(revision)) => {
                return group.into_iter().for_each(|job| tell(job, Ok(Outcome::Done(revision))));
            }
            Ok(Outcome::Conflict(values)) => group = without_failed(group, values),
            // Too much together need not be too much alone.
            Err(KvError::TooLarge { .. } | KvError::Other { .. }) if group.len() > 1 => {
                for job in group {
                    let answer = kv.txn(job.guards.clone(), job.writes.clone()).await;
                    tell(job, answer);
                }
                return;
            }
            Err(error) => return group.into_iter().for_each(|job| tell(job, Err(copy(&error)))),
        }
    }
}

/// Tells those whose guards did not hold; the rest is left.
fn without_failed(group: Vec<Job>, values: Vec<Option<super::KeyValue>>) -> Vec<Job> {
    let mut values = values.into_iter();
    let mut rest = Vec::new();
    for job in group {
        let found: Vec<_> = values.by_ref().take(job.guards.len()).collect();
        let holds =
            job.guards.iter().zip(&found).all(|((_, expect), value)| expect.holds(value.as_ref()));
        if holds && found.len() == job.guards.len() {
            rest.push(job);
        } else {
            tell(job, Ok(Outcome::Conflict(found)));
        }
    }
    rest
}

fn tell(job: Job, answer: Answer) {
    // Nobody is there to hear it: the same as a lost answer.
    drop(job.answer.send(answer));
}

/// The same failure for another of the group.
fn copy(error: &KvError) -> KvError {
    match error {
        KvError::Compacted { asked, compacted } => {
            KvError::Compacted { asked: *asked, compacted: *compacted }
        }
        KvError::Future { asked, current } => KvError::Future { asked: *asked, current: *current },
        KvError::TooLarge { detail } => KvError::TooLarge { detail: detail.clone() },
        KvError::NoSpace { detail } => KvError::NoSpace { detail: detail.clone() },
        KvError::Unavailable { detail } => KvError::Unavailable { detail: detail.clone() },
        KvError::Other { detail } => KvError::Other { detail: detail.clone() },
    }
}

#[async_trait]
impl Kv for GroupCommit {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        self.inner.get(key, at).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        self.inner.list(prefix, page).await
    }

    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError> {
        self.inner.count(prefix).await
    }

    async fn txn(&self, guards: Vec<(String, Expect)>, writes: Vec<Write>) -> Answer {
        let (answer, answered) = oneshot::channel();
        match self.jobs.send(Job { guards, writes, answer }).await {
            Ok(()) => answered.await.unwrap_or_else(|_| {
                let detail = "the server is shutting down".into();
                Err(KvError::Unavailable { detail })
            }),
            Err(mpsc::error::SendError(job)) => self.inner.txn(job.guards, job.writes).await,
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        self.inner.watch(prefix, from).await
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.inner.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), KvError> {
        self.inner.compact(revision).await
    }

    async fn health(&self) -> Result<(), KvError> {
        self.inner.health().await
    }

    async fn usage(&self) -> Result<Option<Usage>, KvError> {
        self.inner.usage().await
    }
}
