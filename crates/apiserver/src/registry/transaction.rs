//! Writes of several objects, of one kind or more, that happen together or not at all.
//!
//! The objects pass the same rules as any other write: what is created was judged by
//! [`Store::prepare`], what is replaced is judged as an update. All stores must be over the
//! [`Kv`] that the transaction is committed to.

use super::store::Store;
use super::{NewObject, Part};
use crate::auth::Permit;
use crate::meta::Object;
use crate::status::ApiError;
use crate::storage::{Change, Commit, Kv, Prepared, Revision, commit};
use crate::warnings::Warnings;

/// Several writes that happen together. At most 128 parts and 1.5 MiB are certain to be taken by
/// every store.
#[derive(Debug, Default)]
pub struct Transaction {
    parts: Vec<Prepared>,
}

impl Transaction {
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a new object where there is none.
    ///
    /// # Errors
    /// 400 when its key can't be a place in the store.
    pub fn create(
        &mut self,
        _permit: &Permit,
        store: &Store,
        object: NewObject,
    ) -> Result<(), ApiError> {
        let part = store.inner.objects.store().prepare_create(object.into_object())?;
        self.parts.push(part);
        Ok(())
    }

    /// Puts `new` in place of `old`, which must be stored unchanged.
    ///
    /// # Errors
    /// As [`Store::update`], but that a conflict in the store shows only in the commit.
    pub fn replace(
        &mut self,
        _permit: &Permit,
        store: &Store,
        part: Part,
        (old, new): (&Object, Object),
    ) -> Result<(), ApiError> {
        let objects = store.inner.objects.store();
        let revision = revision_of(old);
        let prepared = match store.inner.transition(part, new, old, &Warnings::new())? {
            Change::Put(object) => objects.prepare_replace(revision, object)?,
            Change::Delete(object) => objects.prepare_delete(&object.key(), revision)?,
            Change::Keep => objects.prepare_guard(&old.key(), revision)?,
        };
        self.parts.push(prepared);
        Ok(())
    }

    /// Nothing happens unless `object` is stored unchanged.
    ///
    /// # Errors
    /// 400 when its key can't be a place in the store.
    pub fn guard(
        &mut self,
        _permit: &Permit,
        store: &Store,
        object: &Object,
    ) -> Result<(), ApiError> {
        let objects = store.inner.objects.store();
        self.parts.push(objects.prepare_guard(&object.key(), revision_of(object))?);
        Ok(())
    }

    /// Adds a part of a kind that no registry serves.
    pub fn push(&mut self, _permit: &Permit, part: Prepared) {
        self.parts.push(part);
    }

    /// Carries out all parts, or none.
    ///
    /// # Errors
    /// Those of a write; after a 504 nobody knows whether it happened.
    pub async fn commit(self, kv: &dyn Kv) -> Result<Commit, ApiError> {
        commit(kv, self.parts).await
    }
}

fn revision_of(object: &Object) -> Revision {
    object.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default()
}
