//! Reads, each from one snapshot of the file.

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _};

use super::super::{Got, KeyValue, KvBatch, KvError, KvEvent, Listed, Page, Revision};
use super::error::kv_error;
use super::tables::{COMPACTED, CURRENT, EVENTS, META, REVISION, VERSIONS, fact};

/// The store as of one moment.
pub(super) struct Snapshot {
    read: ReadTransaction,
    versions: ReadOnlyTable<(&'static [u8], i64), Option<&'static [u8]>>,
    current: ReadOnlyTable<&'static [u8], i64>,
    pub(super) revision: Revision,
    /// The oldest revision that can be read.
    pub(super) compacted: Revision,
}

impl Snapshot {
    pub(super) fn of(database: &Database) -> Result<Self, KvError> {
        let read = database.begin_read().map_err(kv_error)?;
        let meta = read.open_table(META).map_err(kv_error)?;
        let revision = fact(&meta, REVISION).map_err(kv_error)?;
        let compacted = fact(&meta, COMPACTED).map_err(kv_error)?;
        let versions = read.open_table(VERSIONS).map_err(kv_error)?;
        let current = read.open_table(CURRENT).map_err(kv_error)?;
        Ok(Self { read, versions, current, revision, compacted })
    }

    pub(super) fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        let kv = match self.past(at)? {
            Some(at) => self.version_at(key, at)?,
            None => {
                let found = self.current.get(key.as_bytes()).map_err(kv_error)?;
                found.map(|revision| self.version(key.as_bytes(), revision.value())).transpose()?
            }
        };
        Ok(Got { kv, revision: self.revision })
    }

    pub(super) fn list(&self, prefix: &str, page: &Page) -> Result<Listed, KvError> {
        let past = self.past(page.at)?;
        let start = page.start.as_deref().map_or(prefix, |start| start.max(prefix));
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        let (mut items, count) = match past {
            Some(at) => self.list_past(prefix, start, limit, at)?,
            None => self.list_current(prefix, start, limit)?,
        };
        if page.keys_only {
            items.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        let revision = page.at.filter(|at| *at > 0).unwrap_or(self.revision);
        Ok(Listed { items, revision, count })
    }

    fn list_current(
        &self,
        prefix: &str,
        start: &str,
        limit: usize,
    ) -> Result<(Vec<KeyValue>, u64), KvError> {
        let (mut items, mut count) = (Vec::new(), 0);
        for entry in self.current.range(start.as_bytes()..).map_err(kv_error)? {
            let (key, revision) = entry.map_err(kv_error)?;
            if !key.value().starts_with(prefix.as_bytes()) {
                break;
            }
            count += 1;
            if items.len() < limit {
                items.push(self.version(key.value(), revision.value())?);
            }
        }
        Ok((items, count))
    }

    /// Walks all versions of the range; of each key the last one up to `at` counts.
    fn list_past(
        &self,
        prefix: &str,
        start: &str,
        limit: usize,
        at: Revision,
    ) -> Result<(Vec<KeyValue>, u64), KvError> {
        let (mut items, mut count) = (Vec::new(), 0);
        let mut last: Option<KeyValue> = None;
        let mut finish = |last: &mut Option<KeyValue>| {
            if let Some(kv) = last.take() {
                count += 1;
                if items.len() < limit {
                    items.push(kv);
                }
            }
        };
        for entry in self.versions.range((start.as_bytes(), 0)..).map_err(kv_error)? {
            let (place, value) = entry.map_err(kv_error)?;
            let (key, revision) = place.value();
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            if last.as_ref().is_some_and(|last| last.key.as_bytes() != key) {
                finish(&mut last);
            }
            if revision <= at {
                last = match value.value() {
                    Some(value) => Some(key_value(key, value, revision)?),
                    None => None,
                };
            }
        }
        finish(&mut last);
        Ok((items, count))
    }

    pub(super) fn count(&self, prefix: &str) -> Result<u64, KvError> {
        let mut count = 0;
        for entry in self.current.range(prefix.as_bytes()..).map_err(kv_error)? {
            if !entry.map_err(kv_error)?.0.value().starts_with(prefix.as_bytes()) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// The events under `prefix` of revisions `from..=to`, one batch per revision, and how far
    /// they reach: at most `to`, less when there are many.
    pub(super) fn events(
        &self,
        prefix: &str,
        from: Revision,
        to: Revision,
    ) -> Result<(Vec<KvBatch>, Revision), KvError> {
        if from < self.compacted {
            return Err(KvError::Compacted { asked: from, compacted: self.compacted });
        }
        let table = self.read.open_table(EVENTS).map_err(kv_error)?;
        let mut batches: Vec<KvBatch> = Vec::new();
        let (mut reached, mut seen, mut bytes) = (from, 0, 0);
        for entry in table.range((from, 0)..=(to, u32::MAX)).map_err(kv_error)? {
            let (place, event) = entry.map_err(kv_error)?;
            let (revision, _) = place.value();
            // Only whole revisions.
            if revision > reached && (seen >= REPLAY_EVENTS_MAX || bytes >= REPLAY_BYTES_MAX) {
                return Ok((batches, reached));
            }
            reached = revision;
            seen += 1;
            let (key, before) = event.value();
            if !key.starts_with(prefix.as_bytes()) {
                continue;
            }
            let event = self.event(key, revision, before)?;
            let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
            bytes += size(&event.value) + size(&event.previous);
            match batches.last_mut() {
                Some(batch) if batch.revision == revision => batch.events.push(event),
                _ => batches.push(KvBatch { events: vec![event], revision }),
            }
        }
        Ok((batches, to))
    }

    fn event(&self, key: &[u8], revision: Revision, before: Revision) -> Result<KvEvent, KvError> {
        let value = self.versions.get((key, revision)).map_err(kv_error)?;
        let value = value.ok_or_else(|| missing(key, revision))?;
        let previous = match before {
            0 => None,
            before => Some(self.version(key, before)?.value),
        };
        Ok(KvEvent {
            key: text(key)?,
            value: value.value().map(Bytes::copy_from_slice),
            previous,
            revision,
        })
    }

    /// The revision to read at, when the current state will not do.
    fn past(&self, at: Option<Revision>) -> Result<Option<Revision>, KvError> {
        match at {
            Some(at) if at > self.revision => {
                Err(KvError::Future { asked: at, current: self.revision })
            }
            // To etcd, 0 is now.
            Some(at) if at > 0 && at < self.compacted => {
                Err(KvError::Compacted { asked: at, compacted: self.compacted })
            }
            Some(at) if at > 0 && at < self.revision => Ok(Some(at)),
            _ => Ok(None),
        }
    }

    fn version_at(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, KvError> {
        let key = key.as_bytes();
        let mut versions = self.versions.range((key, 0)..=(key, at)).map_err(kv_error)?;
        let Some(last) = versions.next_back() else { return Ok(None) };
        let (place, value) = last.map_err(kv_error)?;
        value.value().map(|value| key_value(key, value, place.value().1)).transpose()
    }

    /// A value that must be there.
    fn version(&self, key: &[u8], revision: Revision) -> Result<KeyValue, KvError> {
        let value = self.versions.get((key, revision)).map_err(kv_error)?;
        match value.as_ref().and_then(|value| value.value()) {
            Some(value) => key_value(key, value, revision),
            None => Err(missing(key, revision)),
        }
    }
}

pub(super) fn key_value(
    key: &[u8],
    value: &[u8],
    mod_revision: Revision,
) -> Result<KeyValue, KvError> {
    Ok(KeyValue { key: text(key)?, value: Bytes::copy_from_slice(value), mod_revision })
}

fn text(key: &[u8]) -> Result<String, KvError> {
    String::from_utf8(key.to_vec())
        .map_err(|error| KvError::Other { detail: format!("a key is not UTF-8: {error}") })
}

pub(super) fn missing(key: &[u8], revision: Revision) -> KvError {
    let key = String::from_utf8_lossy(key);
    KvError::Other { detail: format!("{key} has no value at its revision {revision}") }
}

/// Of one replay step; bounds what a watch that catches up holds in memory.
const REPLAY_EVENTS_MAX: usize = 1000;
const REPLAY_BYTES_MAX: usize = 4 * 1024 * 1024;
