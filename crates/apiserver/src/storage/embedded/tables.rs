//! The tables of the store's file, and how it is opened.
//!
//! `VERSIONS` has every value and tombstone of the history window, `CURRENT` the revision of each
//! living key, `EVENTS` what changed at each revision. A change of these is a new [`FORMAT`].

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, TableError,
};

use super::super::Revision;
use super::error::OpenError;

/// (key, revision) -> the value written then; `None` = deleted then.
pub(super) const VERSIONS: TableDefinition<'_, (&[u8], i64), Option<&[u8]>> =
    TableDefinition::new("versions");
/// Living key -> the revision of its last write.
pub(super) const CURRENT: TableDefinition<'_, &[u8], i64> = TableDefinition::new("current");
/// (revision, place in its transaction) -> (key, revision of the value before; 0 = created).
pub(super) const EVENTS: TableDefinition<'_, (i64, u32), (&[u8], i64)> =
    TableDefinition::new("events");
/// The facts below.
pub(super) const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");

/// The revision of the last write.
pub(super) const REVISION: &str = "revision";
/// The oldest revision that can be read.
pub(super) const COMPACTED: &str = "compacted";
const FORMAT_KEY: &str = "format";

/// Of the tables above.
pub(super) const FORMAT: i64 = 1;
/// An empty etcd begins here too.
const FIRST_REVISION: Revision = 1;

/// Name of the store's file in the data directory.
pub(super) const FILE: &str = "store.redb";

/// Opens or makes the file in `directory`; returns it with its current revision.
///
/// Every page's checksum is verified first, which reads the whole file.
pub(super) fn open(
    directory: &Path,
    cache_bytes: usize,
) -> Result<(Database, Revision), OpenError> {
    // For the server's eyes only; a directory that is there already is its owner's affair.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| OpenError::io(directory, error))?;
    let path = directory.join(FILE);
    let create = || {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true).create(&path)
    };
    // redb may panic over a damaged file.
    let database = catch_unwind(AssertUnwindSafe(create))
        .map_err(|_| OpenError::Damaged {
            path: path.clone(),
            detail: "its structure is inconsistent".into(),
        })?
        .map_err(|error| OpenError::database(&path, error))?;
    let empty = {
        let read = database.begin_read().map_err(|error| OpenError::redb(&path, error))?;
        let mut tables = read.list_tables().map_err(|error| OpenError::redb(&path, error))?;
        tables.next().is_none()
    };
    if empty {
        initialise(&database).map_err(|error| OpenError::redb(&path, error))?;
        // The file's name must be as durable as its content.
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| OpenError::io(directory, error))?;
    }
    let revision = check(&database, &path)?;
    Ok((database, revision))
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    {
        txn.open_table(VERSIONS)?;
        txn.open_table(CURRENT)?;
        txn.open_table(EVENTS)?;
        let mut meta = txn.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(REVISION, FIRST_REVISION)?;
        meta.insert(COMPACTED, 0)?;
    }
    txn.commit()?;
    Ok(())
}

fn check(database: &Database, path: &Path) -> Result<Revision, OpenError> {
    let read = database.begin_read().map_err(|error| OpenError::redb(path, error))?;
    let found = match read.open_table(META) {
        Ok(meta) => fact(&meta, FORMAT_KEY).map_err(|error| OpenError::redb(path, error))?,
        Err(TableError::TableDoesNotExist(_)) => 0,
        Err(error) => return Err(OpenError::redb(path, error)),
    };
    if found != FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), found, expected: FORMAT });
    }
    let facts = (|| {
        read.open_table(VERSIONS)?;
        read.open_table(CURRENT)?;
        read.open_table(EVENTS)?;
        current_revision(&read)
    })();
    facts.map_err(|error| OpenError::redb(path, error))
}

fn current_revision(read: &ReadTransaction) -> Result<Revision, redb::Error> {
    Ok(fact(&read.open_table(META)?, REVISION)?)
}

/// A number of `META`; 0 if absent.
pub(super) fn fact(
    meta: &impl ReadableTable<&'static str, i64>,
    name: &str,
) -> Result<i64, redb::StorageError> {
    Ok(meta.get(name)?.map_or(0, |value| value.value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a later version is left alone.
    #[test]
    fn refuses_another_format() {
        let directory =
            std::env::temp_dir().join(format!("embedded-format-{}", crate::clock::new_uid()));
        let (database, _) = open(&directory, 1 << 20).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
        txn.commit().unwrap();
        drop(database);
        let error = open(&directory, 1 << 20).map(|_| ()).unwrap_err();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(matches!(error, OpenError::Format { found: 2, expected: 1, .. }), "{error}");
    }
}
