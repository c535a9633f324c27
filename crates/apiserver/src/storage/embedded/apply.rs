//! What the writer does to the tables: transactions and the sweep of compacted history.

use bytes::Bytes;
use redb::{ReadableTable as _, Table, WriteTransaction};

use super::super::{Expect, KeyValue, KvBatch, KvError, KvEvent, Outcome, Revision, Write};
use super::error::kv_error;
use super::read::{key_value, missing};
use super::tables::{COMPACTED, CURRENT, EVENTS, META, REVISION, VERSIONS, fact};

/// The open tables of one commit.
pub(super) struct Tables<'t> {
    versions: Table<'t, (&'static [u8], i64), Option<&'static [u8]>>,
    current: Table<'t, &'static [u8], i64>,
    events: Table<'t, (i64, u32), (&'static [u8], i64)>,
    meta: Table<'t, &'static str, i64>,
    pub(super) revision: Revision,
    /// Whether there is anything to commit.
    pub(super) dirty: bool,
}

impl<'t> Tables<'t> {
    pub(super) fn of(txn: &'t WriteTransaction) -> Result<Self, KvError> {
        let meta = txn.open_table(META).map_err(kv_error)?;
        let revision = fact(&meta, REVISION).map_err(kv_error)?;
        Ok(Self {
            versions: txn.open_table(VERSIONS).map_err(kv_error)?,
            current: txn.open_table(CURRENT).map_err(kv_error)?,
            events: txn.open_table(EVENTS).map_err(kv_error)?,
            meta,
            revision,
            dirty: false,
        })
    }

    /// One transaction: its outcome, and what watches must hear of it.
    pub(super) fn transact(
        &mut self,
        guards: &[(String, Expect)],
        writes: Vec<Write>,
    ) -> Result<(Outcome, Option<KvBatch>), KvError> {
        let mut current = Vec::with_capacity(guards.len());
        for (key, _) in guards {
            current.push(self.current(key.as_bytes())?);
        }
        let holds = guards.iter().zip(&current).all(|((_, expect), kv)| match (expect, kv) {
            // As in etcd, revision 0 is that of a key that does not exist.
            (Expect::Absent | Expect::Revision(0), None) => true,
            (Expect::Revision(revision), Some(kv)) => kv.mod_revision == *revision,
            _ => false,
        });
        if !holds {
            return Ok((Outcome::Conflict(current), None));
        }
        let revision = self.revision + 1;
        let mut events = Vec::with_capacity(writes.len());
        for write in writes {
            let place = u32::try_from(events.len()).expect("a transaction has at most 128 writes");
            events.extend(self.write(write, revision, place)?);
        }
        // As in etcd, what changes nothing makes no revision.
        if events.is_empty() {
            return Ok((Outcome::Done(self.revision), None));
        }
        self.meta.insert(REVISION, revision).map_err(kv_error)?;
        self.revision = revision;
        self.dirty = true;
        Ok((Outcome::Done(revision), Some(KvBatch { events, revision })))
    }

    fn write(
        &mut self,
        write: Write,
        revision: Revision,
        place: u32,
    ) -> Result<Option<KvEvent>, KvError> {
        let (key, value) = match write {
            Write::Put { key, value } => (key, Some(value)),
            Write::Delete { key } => (key, None),
        };
        let bytes = key.as_bytes();
        let previous = self.current(bytes)?;
        if value.is_none() && previous.is_none() {
            return Ok(None);
        }
        let before = previous.as_ref().map_or(0, |kv| kv.mod_revision);
        self.versions.insert((bytes, revision), value.as_deref()).map_err(kv_error)?;
        self.events.insert((revision, place), (bytes, before)).map_err(kv_error)?;
        match value {
            Some(_) => self.current.insert(bytes, revision).map_err(kv_error)?,
            None => self.current.remove(bytes).map_err(kv_error)?,
        };
        let previous: Option<Bytes> = previous.map(|kv| kv.value);
        Ok(Some(KvEvent { key, value, previous, revision }))
    }

    fn current(&self, key: &[u8]) -> Result<Option<KeyValue>, KvError> {
        let Some(revision) = self.current.get(key).map_err(kv_error)? else { return Ok(None) };
        let revision = revision.value();
        let value = self.versions.get((key, revision)).map_err(kv_error)?;
        let value = value.as_ref().and_then(|value| value.value());
        key_value(key, value.ok_or_else(|| missing(key, revision))?, revision).map(Some)
    }

    /// From now on nothing before `revision` can be read; [`Tables::sweep`] removes it.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), KvError> {
        let compacted = fact(&self.meta, COMPACTED).map_err(kv_error)?;
        if revision <= compacted {
            return Err(KvError::Compacted { asked: revision, compacted });
        }
        if revision > self.revision {
            return Err(KvError::Future { asked: revision, current: self.revision });
        }
        self.meta.insert(COMPACTED, revision).map_err(kv_error)?;
        self.dirty = true;
        Ok(())
    }

    /// Removes up to `limit` events before the compacted revision with what they superseded;
    /// whether more are left. What changed at the compacted revision itself stays whole, so that
    /// a watch may begin there.
    pub(super) fn sweep(&mut self, limit: usize) -> Result<bool, KvError> {
        let compacted = fact(&self.meta, COMPACTED).map_err(kv_error)?;
        let mut old = Vec::new();
        for entry in self.events.range(..(compacted, 0)).map_err(kv_error)?.take(limit) {
            let (place, event) = entry.map_err(kv_error)?;
            let (key, before) = event.value();
            old.push((place.value(), key.to_vec(), before));
        }
        for (place, key, before) in &old {
            let key = key.as_slice();
            if *before > 0 {
                self.versions.remove((key, *before)).map_err(kv_error)?;
            }
            let deleted = {
                let value = self.versions.get((key, place.0)).map_err(kv_error)?;
                value.is_some_and(|value| value.value().is_none())
            };
            if deleted {
                self.versions.remove((key, place.0)).map_err(kv_error)?;
            }
            self.events.remove(*place).map_err(kv_error)?;
        }
        self.dirty |= !old.is_empty();
        Ok(old.len() == limit)
    }
}
