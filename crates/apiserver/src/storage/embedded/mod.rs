//! [`Kv`] in one file, without a server: redb, a copy-on-write B-tree in pure Rust.
//!
//! For one process on one node: a second one is refused. The promises are etcd's: one revision
//! counter over all keys, guarded transactions, reads and watches from any revision that has not
//! been compacted, and an acknowledged write survives the end of the process and of the power.
//! Reads are snapshots and wait for nobody; all writes go through one thread (`writer`). Pages
//! that compaction frees are used again; the file does not shrink.

mod apply;
mod error;
mod file;
mod read;
mod tables;
mod watch;
mod writer;

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{timeout, timeout_at};

pub use self::error::OpenError;
use self::file::StoreFile;
use self::read::Snapshot;
use self::watch::{Hub, closed};
use self::writer::Job;
use super::{
    Expect, Got, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Usage, Write, limits,
};

/// Where the store is and what it may take.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Made if it does not exist; the store's file is in it.
    pub directory: PathBuf,
    /// Pages of the file that are kept in memory, at most.
    pub cache_bytes: usize,
    /// For each call; a watch has it for its start and for each step through history.
    pub deadline: Duration,
    /// How often a watch tells how far it has come while nothing happens.
    pub progress_interval: Duration,
    /// Revisions that a watch may be behind before it is ended.
    pub watch_batches_max: usize,
}

impl EmbeddedOptions {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            cache_bytes: 256 * 1024 * 1024,
            deadline: DEADLINE,
            progress_interval: Duration::from_secs(5),
            watch_batches_max: 1024,
        }
    }
}

/// A file as our store. Dropping it waits for the writes that were begun.
pub struct EmbeddedKv {
    shared: Arc<Shared>,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    options: EmbeddedOptions,
}

/// What the writer and the watches have in common.
struct Shared {
    file: StoreFile,
    hub: Hub,
}

impl Shared {
    fn snapshot(&self) -> Result<Snapshot, KvError> {
        self.file.with(Snapshot::of)
    }
}

impl fmt::Debug for EmbeddedKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedKv").field("options", &self.options).finish_non_exhaustive()
    }
}

impl EmbeddedKv {
    /// Opens the store, or makes an empty one. Blocks while the file is verified, which takes as
    /// long as it takes to read it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        let (file, revision) = StoreFile::open(&options.directory, options.cache_bytes)?;
        let shared = Arc::new(Shared { file, hub: Hub::new(revision) });
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let of_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                // However it ends, nobody may wait for it.
                let _closer = Closer(&of_writer.hub);
                writer::run(&of_writer, receiver);
            })
            .map_err(|error| OpenError::io(&options.directory, error))?;
        Ok(Self { shared, jobs: Some(jobs), writer: Some(writer), options })
    }

    /// The store's file in a data directory.
    pub fn file(directory: &Path) -> PathBuf {
        directory.join(tables::FILE)
    }

    /// Reads from a snapshot, away from the runtime's threads.
    async fn read<T, F>(&self, read: F) -> Result<T, KvError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot) -> Result<T, KvError> + Send + 'static,
    {
        let answer = blocking(self.shared.clone(), move |shared| read(&shared.snapshot()?));
        timeout(self.options.deadline, answer).await.map_err(|_| self.late())?
    }

    /// Hands a job to the writer and waits for the answer.
    async fn submit<T>(
        &self,
        job: Job,
        answer: oneshot::Receiver<Result<T, KvError>>,
    ) -> Result<T, KvError> {
        let deadline = tokio::time::Instant::now() + self.options.deadline;
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        timeout_at(deadline, jobs.send(job))
            .await
            .map_err(|_| self.late())?
            .map_err(|_| closed())?;
        timeout_at(deadline, answer).await.map_err(|_| self.late())?.map_err(|_| closed())?
    }

    fn late(&self) -> KvError {
        KvError::Unavailable { detail: format!("no answer within {:?}", self.options.deadline) }
    }
}

impl Drop for EmbeddedKv {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            // A panic has been reported by the thread itself.
            drop(writer.join());
        }
    }
}

struct Closer<'a>(&'a Hub);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[async_trait]
impl Kv for EmbeddedKv {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        let key = key.to_owned();
        self.read(move |snapshot| snapshot.get(&key, at)).await
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        let prefix = prefix.to_owned();
        self.read(move |snapshot| snapshot.list(&prefix, &page)).await
    }

    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError> {
        let prefix = prefix.to_owned();
        self.read(move |snapshot| Ok((snapshot.count(&prefix)?, snapshot.revision))).await
    }

    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        let bytes = limits::check(&guards, &writes)?;
        let (answer, receiver) = oneshot::channel();
        self.submit(Job::Txn { guards, writes, bytes, answer }, receiver).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        let compacted = self.read(|snapshot| Ok(snapshot.compacted)).await?;
        let shared = self.shared.clone();
        let (interval, limit) = (self.options.progress_interval, self.options.watch_batches_max);
        watch::start(shared, prefix, from, compacted, interval, limit)
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.shared.hub.request_progress();
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), KvError> {
        let (answer, receiver) = oneshot::channel();
        self.submit(Job::Compact { revision, answer }, receiver).await
    }

    async fn health(&self) -> Result<(), KvError> {
        if let Some(detail) = self.shared.hub.failure() {
            return Err(KvError::Unavailable { detail });
        }
        if self.jobs.as_ref().is_none_or(mpsc::Sender::is_closed) {
            return Err(closed());
        }
        let read = self.read(|snapshot| Ok(snapshot.revision));
        timeout(HEALTH_DEADLINE, read).await.map_err(|_| KvError::Unavailable {
            detail: format!("no answer within {HEALTH_DEADLINE:?}"),
        })??;
        Ok(())
    }

    /// The file's blocks on disk, for it has holes.
    async fn usage(&self) -> Result<Option<Usage>, KvError> {
        let file = tokio::fs::metadata(Self::file(&self.options.directory)).await;
        let file = file.map_err(|error| KvError::Unavailable { detail: error.to_string() })?;
        let bytes = file.blocks() * BLOCK_BYTES;
        Ok(Some(Usage { bytes, quota_bytes: None, is_full: self.shared.file.is_full() }))
    }
}

/// Runs `work` where it may block.
async fn blocking<T, F>(shared: Arc<Shared>, work: F) -> Result<T, KvError>
where
    T: Send + 'static,
    F: FnOnce(&Shared) -> Result<T, KvError> + Send + 'static,
{
    spawn_blocking(move || work(&shared))
        .await
        .map_err(|error| KvError::Unavailable { detail: format!("a read failed: {error}") })?
}

/// The unit of `st_blocks`, whatever the file system's own.
const BLOCK_BYTES: u64 = 512;
const DEADLINE: Duration = Duration::from_secs(5);
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);
/// Transactions that wait for the writer; with the limit above, 384 MiB at the very most.
const JOBS_MAX: usize = 256;
