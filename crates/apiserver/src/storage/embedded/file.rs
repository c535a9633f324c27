//! The open file, and what becomes of it when writing fails.
//!
//! After an I/O error redb refuses everything until the file is opened anew, which also tells
//! whether the failed commit is in it. So a full disk costs the writes that did not fit, and
//! nothing else: what was acknowledged stays readable, and writing goes on once there is room.
//! Opening reads the whole file, so it is not tried for each write to a full disk: first a probe
//! must find room. A tree that is copied on write needs room even to delete from it, so some is
//! kept in reserve for that; what compaction frees in the file is used again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use redb::Database;
use tracing::{info, warn};

use super::super::{KvError, Revision};
use super::error::{OpenError, is_full};
use super::tables;

/// The store's file.
pub(super) struct StoreFile {
    /// `None` = it could not be opened again.
    database: RwLock<Option<Database>>,
    directory: PathBuf,
    cache_bytes: usize,
    is_full: AtomicBool,
}

impl StoreFile {
    /// Also returns the revision of the last write.
    pub(super) fn open(
        directory: &Path,
        cache_bytes: usize,
    ) -> Result<(Self, Revision), OpenError> {
        let (database, revision) = tables::open(directory, cache_bytes)?;
        let file = Self {
            database: RwLock::new(Some(database)),
            directory: directory.to_owned(),
            cache_bytes,
            is_full: AtomicBool::new(false),
        };
        // Of a process that died while it looked for room.
        drop(fs::remove_file(file.probe()));
        file.keep_reserve();
        Ok((file, revision))
    }

    /// Reads or writes; short, for it keeps the file from being opened again.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, KvError>,
    ) -> Result<T, KvError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(database.as_ref().ok_or_else(|| KvError::Unavailable {
            detail: "the store's file could not be opened again after an I/O error".into(),
        })?)
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Before a commit that adds `growth` bytes, or removes only: mends what an earlier one left
    /// behind.
    pub(super) fn prepare(&self, growth: Option<usize>) -> Result<(), KvError> {
        match growth {
            Some(bytes) if self.is_full() => {
                self.look_for_room(bytes)?;
                self.keep_reserve();
            }
            None if self.is_full() => drop(fs::remove_file(self.reserve())),
            _ => {}
        }
        if self.with(|_| Ok(())).is_err() {
            self.reopen()?;
        }
        Ok(())
    }

    /// After a commit: whether there is room is known again.
    pub(super) fn committed(&self) {
        if self.is_full.swap(false, Ordering::Relaxed) {
            info!("the disk has room again");
        }
    }

    /// After a failed commit: opens the file anew and returns the revision that it is at.
    pub(super) fn recover(&self, failure: &KvError) -> Result<Revision, KvError> {
        if matches!(failure, KvError::NoSpace { .. }) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        let revision = self.reopen()?;
        warn!(error = %failure, revision, "a commit failed; the store's file was opened anew");
        Ok(revision)
    }

    fn reopen(&self) -> Result<Revision, KvError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        let mut attempts = 0;
        loop {
            attempts += 1;
            match tables::open(&self.directory, self.cache_bytes) {
                Ok((opened, revision)) => {
                    *database = Some(opened);
                    return Ok(revision);
                }
                // A reader that had begun before still holds the file.
                Err(OpenError::InUse { .. }) if attempts < REOPEN_ATTEMPTS_MAX => {
                    std::thread::sleep(REOPEN_PAUSE);
                }
                Err(error) => {
                    return Err(KvError::Unavailable { detail: error.to_string() });
                }
            }
        }
    }

    /// Writes a file as large as a commit of `bytes` may become, and removes it.
    fn look_for_room(&self, bytes: usize) -> Result<(), KvError> {
        let probe = self.probe();
        let written = fill(&probe, bytes.saturating_mul(PROBE_FACTOR).max(PROBE_BYTES_MIN));
        drop(fs::remove_file(&probe));
        written.map_err(|error| match is_full(&error) {
            true => KvError::NoSpace { detail: format!("the disk is full: {error}") },
            false => KvError::Unavailable { detail: format!("{}: {error}", probe.display()) },
        })
    }

    /// Makes the reserve if it is not there; without it, a full disk must be helped from outside.
    fn keep_reserve(&self) {
        let reserve = self.reserve();
        if reserve.exists() {
            return;
        }
        if let Err(error) = fill(&reserve, RESERVE_BYTES) {
            warn!(%error, "no room for a reserve of {RESERVE_BYTES} bytes");
            drop(fs::remove_file(&reserve));
        }
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join("room.reserve")
    }

    fn probe(&self) -> PathBuf {
        self.directory.join("room.probe")
    }
}

/// A file of zeros that really takes its place on the disk.
fn fill(path: &Path, bytes: usize) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0; BLOCK_BYTES];
    for _ in 0..bytes.div_ceil(BLOCK_BYTES) {
        file.write_all(&block)?;
    }
    // Some file systems find out only now.
    file.sync_data()
}

const BLOCK_BYTES: usize = 256 * 1024;
/// New pages, the old ones that snapshots still need, and the tree above them.
const PROBE_FACTOR: usize = 4;
const PROBE_BYTES_MIN: usize = 1024 * 1024;
/// Of the largest values that etcd takes too, a few may share a page with what is deleted.
const RESERVE_BYTES: usize = 8 * 1024 * 1024;
const REOPEN_ATTEMPTS_MAX: u32 = 100;
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
