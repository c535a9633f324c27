//! [`Prepared`]: one write with its guard, to happen together with others in one transaction.

use super::error::write_error;
use super::resource_store::encode;
use super::{Expect, KeyValue, Kv, Outcome, ResourceStore, Revision, Write};
use crate::meta::{Object, ObjectKey};
use crate::status::ApiError;

/// A part of a transaction: a guard on one object and what becomes of it.
#[derive(Debug)]
pub struct Prepared {
    store: ResourceStore,
    path: String,
    expect: Expect,
    write: Option<Write>,
    /// What is stored afterwards, without its resource version.
    object: Option<Object>,
}

/// What has become of a transaction.
#[derive(Debug)]
pub enum Commit {
    /// Everything happened. What each part stored, in their order; `None` for those that stored
    /// nothing.
    Done(Vec<Option<Object>>),
    /// Nothing happened.
    Conflict(Vec<Conflicting>),
}

/// A part of a transaction that did not find what it expected.
#[derive(Debug)]
pub struct Conflicting {
    /// Its place among the parts, from 0.
    pub part: usize,
    /// What is stored now, if there is something that can be read.
    pub current: Option<Object>,
}

impl ResourceStore {
    /// A new object, where there is none.
    ///
    /// # Errors
    /// 400 when the key can't be a place in the store.
    pub fn prepare_create(&self, object: Object) -> Result<Prepared, ApiError> {
        let path = self.keys.object(&object.key())?;
        Ok(self.put(path, Expect::Absent, object))
    }

    /// `object` in place of what has `revision`.
    ///
    /// # Errors
    /// As [`ResourceStore::prepare_create`].
    pub fn prepare_replace(
        &self,
        revision: Revision,
        object: Object,
    ) -> Result<Prepared, ApiError> {
        let path = self.keys.object(&object.key())?;
        Ok(self.put(path, Expect::Revision(revision), object))
    }

    /// Nothing in place of what has `revision`.
    ///
    /// # Errors
    /// As [`ResourceStore::prepare_create`].
    pub fn prepare_delete(
        &self,
        key: &ObjectKey,
        revision: Revision,
    ) -> Result<Prepared, ApiError> {
        let path = self.keys.object(key)?;
        let write = Some(Write::Delete { key: path.clone() });
        let (store, expect) = (self.clone(), Expect::Revision(revision));
        Ok(Prepared { store, path, expect, write, object: None })
    }

    /// A condition alone: the object still has `revision`.
    ///
    /// # Errors
    /// As [`ResourceStore::prepare_create`].
    pub fn prepare_guard(&self, key: &ObjectKey, revision: Revision) -> Result<Prepared, ApiError> {
        let path = self.keys.object(key)?;
        let (store, expect) = (self.clone(), Expect::Revision(revision));
        Ok(Prepared { store, path, expect, write: None, object: None })
    }

    fn put(&self, path: String, expect: Expect, object: Object) -> Prepared {
        let write = Some(Write::Put { key: path.clone(), value: encode(&object) });
        Prepared { store: self.clone(), path, expect, write, object: Some(object) }
    }
}

/// Carries out all parts, or none.
///
/// # Errors
/// Those of a write; after a 504 nobody knows whether it happened.
pub async fn commit(kv: &dyn Kv, parts: Vec<Prepared>) -> Result<Commit, ApiError> {
    let guards = parts.iter().map(|part| (part.path.clone(), part.expect.clone())).collect();
    let writes = parts.iter().filter_map(|part| part.write.clone()).collect();
    Ok(match kv.txn(guards, writes).await.map_err(write_error)? {
        Outcome::Done(revision) => Commit::Done(
            parts
                .into_iter()
                .map(|part| part.object.map(|object| part.store.stamped(object, revision)))
                .collect(),
        ),
        Outcome::Conflict(values) => Commit::Conflict(conflicts(&parts, &values)),
    })
}

fn conflicts(parts: &[Prepared], values: &[Option<KeyValue>]) -> Vec<Conflicting> {
    let found = parts.iter().zip(values).enumerate();
    found
        .filter(|(_, (part, value))| !part.expect.holds(value.as_ref()))
        .map(|(place, (part, value))| {
            let current = value
                .as_ref()
                .and_then(|kv| part.store.decode(&kv.key, &kv.value, kv.mod_revision).ok());
            Conflicting { part: place, current }
        })
        .collect()
}
