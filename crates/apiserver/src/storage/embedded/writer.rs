//! The one writer: a thread that takes what waits, applies it in one commit and then answers.
//!
//! Group commit: the disk is synced once for all transactions that came in during the sync before.
//! Nobody is answered, and no watch hears of anything, before the commit is on disk.

use std::sync::Arc;

use redb::{Database, Durability};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::super::{Expect, KvBatch, KvError, Outcome, Revision, Write};
use super::Shared;
use super::apply::Tables;
use super::error::kv_error;

/// Work for the writer. Whoever no longer waits for the answer changes nothing about the work.
#[derive(Debug)]
pub(super) enum Job {
    Txn {
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
        bytes: usize,
        answer: oneshot::Sender<Result<Outcome, KvError>>,
    },
    Compact {
        revision: Revision,
        answer: oneshot::Sender<Result<(), KvError>>,
    },
}

/// Runs until all senders are gone.
pub(super) fn run(shared: &Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
    // After a restart, what an earlier process did not finish.
    let mut sweep = true;
    loop {
        let first = match sweep {
            true => jobs.try_recv().ok(),
            false => match jobs.blocking_recv() {
                Some(job) => Some(job),
                None => break,
            },
        };
        if first.is_none() && jobs.is_closed() && jobs.is_empty() {
            break;
        }
        let batch = collect(first, &mut jobs);
        sweep = commit(shared, batch, sweep);
    }
    shared.hub.close();
}

/// What waits, up to the limits of one commit.
fn collect(first: Option<Job>, jobs: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut batch = Vec::from_iter(first);
    let mut total: usize = batch.iter().map(Job::bytes).sum();
    while batch.len() < COMMIT_JOBS_MAX && total < COMMIT_BYTES_MAX {
        let Ok(job) = jobs.try_recv() else { break };
        total += job.bytes();
        batch.push(job);
    }
    batch
}

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Txn { bytes, .. } => *bytes,
            Self::Compact { .. } => 0,
        }
    }

    fn grows(&self) -> bool {
        let is_put = |write: &Write| matches!(write, Write::Put { .. });
        matches!(self, Self::Txn { writes, .. } if writes.iter().any(is_put))
    }

    /// Its answer, to be replaced by the failure.
    fn untried(self) -> Answer {
        match self {
            Self::Txn { answer, .. } => Answer::Txn(answer, Ok(Outcome::Conflict(Vec::new()))),
            Self::Compact { answer, .. } => Answer::Compact(answer, Ok(())),
        }
    }
}

/// An answer that waits for the commit.
enum Answer {
    Txn(oneshot::Sender<Result<Outcome, KvError>>, Result<Outcome, KvError>),
    Compact(oneshot::Sender<Result<(), KvError>>, Result<(), KvError>),
}

impl Answer {
    /// The commit failed: nobody may believe that it was done.
    fn fail(self, error: &KvError) -> Self {
        match self {
            Self::Txn(to, _) => Self::Txn(to, Err(copy(error))),
            Self::Compact(to, _) => Self::Compact(to, Err(copy(error))),
        }
    }

    fn send(self) {
        // The caller may have given up.
        match self {
            Self::Txn(to, answer) => drop(to.send(answer)),
            Self::Compact(to, answer) => drop(to.send(answer)),
        }
    }
}

/// One commit; whether history is left to be swept.
fn commit(shared: &Shared, batch: Vec<Job>, mut sweep: bool) -> bool {
    let mut answers = Vec::with_capacity(batch.len());
    let mut news = Vec::new();
    // Deleting and compacting is what makes room, so it is tried on a full disk too.
    let growth = batch.iter().filter(|job| job.grows()).map(Job::bytes).reduce(|a, b| a + b);
    let failure = match shared.file.prepare(growth) {
        Ok(()) => shared
            .file
            .with(|database| apply(database, batch, &mut sweep, &mut answers, &mut news))
            .err()
            .and_then(|failure| settle(shared, failure, &news)),
        Err(failure) => {
            answers.extend(batch.into_iter().map(Job::untried));
            Some(failure)
        }
    };
    match failure {
        None => {
            shared.file.committed();
            shared.hub.set_failure(None);
            for batch in &news {
                shared.hub.publish(batch);
            }
            answers.into_iter().for_each(Answer::send);
            sweep
        }
        Some(failure) => {
            error!(error = %failure, "cannot commit to the store's file");
            // A full disk is no reason not to read.
            let is_ill = !matches!(failure, KvError::NoSpace { .. });
            shared.hub.set_failure(is_ill.then(|| failure.to_string()));
            answers.into_iter().for_each(|answer| answer.fail(&failure).send());
            // With the next commit, if there is one: no busy loop over a broken disk.
            false
        }
    }
}

/// Every job gets an entry in `answers`, whatever happens.
fn apply(
    database: &Database,
    batch: Vec<Job>,
    sweep: &mut bool,
    answers: &mut Vec<Answer>,
    news: &mut Vec<KvBatch>,
) -> Result<(), KvError> {
    let begin = || {
        let mut txn = database.begin_write().map_err(kv_error)?;
        txn.set_durability(Durability::Immediate)
            .map_err(|error| KvError::Other { detail: error.to_string() })?;
        Ok(txn)
    };
    let mut failure: Option<KvError> = None;
    let txn = begin();
    let mut dirty = false;
    {
        let mut tables = match &txn {
            Ok(txn) => Tables::of(txn),
            Err(error) => Err(copy(error)),
        };
        for job in batch {
            let tables = match &mut tables {
                Ok(tables) if failure.is_none() => Ok(tables),
                Ok(_) => Err(()),
                Err(error) => {
                    failure.get_or_insert(copy(error));
                    Err(())
                }
            };
            // The answer of a job that is not tried is replaced by the failure.
            match job {
                Job::Txn { guards, writes, answer, .. } => {
                    let done = match tables {
                        Ok(tables) => tables.transact(&guards, writes),
                        Err(()) => Ok((Outcome::Conflict(Vec::new()), None)),
                    };
                    match done {
                        Ok((outcome, batch)) => {
                            news.extend(batch);
                            answers.push(Answer::Txn(answer, Ok(outcome)));
                        }
                        Err(error) => {
                            failure.get_or_insert(copy(&error));
                            answers.push(Answer::Txn(answer, Err(error)));
                        }
                    }
                }
                Job::Compact { revision, answer } => {
                    let done = tables.map_or(Ok(()), |tables| tables.compact(revision));
                    *sweep |= done.is_ok();
                    answers.push(Answer::Compact(answer, done));
                }
            }
        }
        match &mut tables {
            Ok(tables) => {
                if *sweep && failure.is_none() {
                    *sweep = tables.sweep(SWEEP_EVENTS_MAX)?;
                }
                dirty = tables.dirty;
            }
            Err(error) => {
                failure.get_or_insert(copy(error));
            }
        }
    }
    match (failure, txn) {
        (Some(failure), _) | (None, Err(failure)) => Err(failure),
        (None, Ok(txn)) if dirty => txn.commit().map_err(kv_error),
        (None, Ok(txn)) => {
            if let Err(error) = txn.abort() {
                warn!(%error, "cannot end an empty transaction");
            }
            Ok(())
        }
    }
}

/// What has become of a failed commit: the file itself tells. `None` = it was done after all.
fn settle(shared: &Shared, failure: KvError, news: &[KvBatch]) -> Option<KvError> {
    let before = shared.hub.published();
    match shared.file.recover(&failure) {
        Ok(revision) if revision > before && news.last().map(|n| n.revision) == Some(revision) => {
            None
        }
        // Certainly not done.
        Ok(_) => Some(failure),
        Err(error) => Some(KvError::Unavailable {
            detail: format!("{failure}; the file can't be opened again: {error}"),
        }),
    }
}

fn copy(error: &KvError) -> KvError {
    match error {
        KvError::NoSpace { detail } => KvError::NoSpace { detail: detail.clone() },
        other => KvError::Unavailable { detail: other.to_string() },
    }
}

/// Limits of one commit, of which the last job may exceed the bytes by its own size.
const COMMIT_JOBS_MAX: usize = 256;
const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Removed per commit, so that writers wait little for a compaction.
const SWEEP_EVENTS_MAX: usize = 1000;
