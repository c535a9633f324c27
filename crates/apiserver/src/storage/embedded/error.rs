//! Why the embedded store can't be opened, and what redb's failures mean to callers.

use std::io;
use std::path::{Path, PathBuf};

use redb::{DatabaseError, StorageError};

use super::super::KvError;

/// Why the store's file can't be used. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two writers would destroy each other's data.
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
    /// Restore a copy, or remove the file to begin anew.
    #[error("{path} is damaged: {detail}")]
    Damaged { path: PathBuf, detail: String },
    /// Written by another version of the server.
    #[error("{path} has format {found}; this version reads {expected}")]
    Format { path: PathBuf, found: i64, expected: i64 },
    #[error("no space left for {path}")]
    DiskFull { path: PathBuf },
    #[error("opening {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("opening {path}: {detail}")]
    Other { path: PathBuf, detail: String },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            _ if is_full(&source) => Self::DiskFull { path },
            // What redb says of a file that is not its own.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Damaged { path, detail: source.to_string() }
            }
            _ => Self::Io { path, source },
        }
    }

    pub(super) fn database(path: &Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse { path: path.to_owned() },
            DatabaseError::Storage(StorageError::Io(source)) => Self::io(path, source),
            DatabaseError::Storage(StorageError::Corrupted(detail)) => {
                Self::Damaged { path: path.to_owned(), detail }
            }
            other => Self::Other { path: path.to_owned(), detail: other.to_string() },
        }
    }

    pub(super) fn redb(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(source) => Self::io(path, source),
            redb::Error::Corrupted(detail) => Self::Damaged { path: path.to_owned(), detail },
            // Tables of our names with other types.
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }) => {
                Self::Damaged { path: path.to_owned(), detail: error.to_string() }
            }
            other => Self::Other { path: path.to_owned(), detail: other.to_string() },
        }
    }
}

/// No space, no quota, or a file as large as it may be.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// A failure at work: whether a write happened is unknown, so it is never `Other`. `NoSpace` is to
/// be made sure of by the writer.
pub(super) fn kv_error(error: impl Into<redb::Error>) -> KvError {
    let detail = match error.into() {
        redb::Error::Io(error) if is_full(&error) => {
            return KvError::NoSpace { detail: format!("the disk is full: {error}") };
        }
        redb::Error::Corrupted(detail) => format!("the store's file is damaged: {detail}"),
        redb::Error::PreviousIo => "an earlier I/O error closed the store's file".into(),
        other => other.to_string(),
    };
    KvError::Unavailable { detail }
}
