//! Objects of one kind over [`Kv`]: values are the JSON objects without `resourceVersion`, which
//! is the revision of the write.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{parse_revision, read_error, write_error};
use super::{Expect, KeySpace, Kv, Outcome, Revision, Write};
use crate::meta::{GroupResource, Gvk, Object, ObjectKey};
use crate::status::{ApiError, Reason};

/// The objects of one kind. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResourceStore {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) keys: Arc<KeySpace>,
    pub(super) gvk: Arc<Gvk>,
    pub(super) resource: Arc<GroupResource>,
}

/// What an update makes of the current object.
#[derive(Debug)]
pub enum Change {
    /// Store this; nothing is written if it equals what is stored.
    Put(Object),
    /// Remove the object; it is answered with its last content.
    Delete(Object),
    /// Leave it as it is.
    Keep,
}

/// What has become of an updated object.
#[derive(Debug)]
pub enum Updated {
    Stored(Object),
    Deleted(Object),
}

/// Lost races after which an update gives up.
const ATTEMPTS_MAX: u32 = 100;

impl ResourceStore {
    pub fn new(
        kv: Arc<dyn Kv>,
        prefix: &str,
        gvk: Gvk,
        resource: GroupResource,
        namespaced: bool,
    ) -> Self {
        Self {
            kv,
            keys: Arc::new(KeySpace::new(prefix, &resource, namespaced)),
            gvk: Arc::new(gvk),
            resource: Arc::new(resource),
        }
    }

    /// The current object, not older than `resource_version` (as on the wire).
    ///
    /// # Errors
    /// 404; 504 when `resource_version` is in the future; 500 when the value can't be decoded.
    pub async fn get(&self, key: &ObjectKey, resource_version: &str) -> Result<Object, ApiError> {
        let least = parse_revision(resource_version, &self.resource)?.unwrap_or_default();
        let path = self.keys.object(key)?;
        let got = self.kv.get(&path, None).await.map_err(read_error)?;
        if least > got.revision {
            return Err(ApiError::too_large_resource_version(least, got.revision));
        }
        let kv = got.kv.ok_or_else(|| ApiError::not_found(&self.resource, &key.name))?;
        self.decode(&kv.key, &kv.value, kv.mod_revision)
    }

    /// Stores a new object.
    ///
    /// # Errors
    /// 409 AlreadyExists, with the prefix `object is being deleted: ` when the existing one is.
    pub async fn create(
        &self,
        key: &ObjectKey,
        object: &Object,
        dry_run: bool,
    ) -> Result<Object, ApiError> {
        let path = self.keys.object(key)?;
        let existing = if dry_run {
            self.kv.get(&path, None).await.map_err(read_error)?.kv
        } else {
            let put = Write::Put { key: path.clone(), value: encode(object) };
            let outcome =
                self.kv.txn(vec![(path, Expect::Absent)], vec![put]).await.map_err(write_error)?;
            match outcome {
                Outcome::Done(revision) => return Ok(self.stamped(object.clone(), revision)),
                Outcome::Conflict(mut current) => current.pop().flatten(),
            }
        };
        let Some(kv) = existing else {
            if dry_run {
                let mut object = object.clone();
                object.set_gvk(&self.gvk);
                return Ok(object);
            }
            // Deleted between compare and answer can't be: both are one transaction.
            return Err(ApiError::internal("a refused create named no existing object"));
        };
        let error = ApiError::already_exists(&self.resource, &key.name);
        let deleting = self
            .decode(&kv.key, &kv.value, kv.mod_revision)
            .is_ok_and(|existing| existing.deletion_timestamp().is_some());
        if deleting {
            let message = format!("object is being deleted: {error}");
            let details = error.details().cloned().unwrap_or_default();
            return Err(ApiError::new(Reason::AlreadyExists, message).with_details(details));
        }
        Err(error)
    }

    /// Reads, lets `change` decide, writes if nobody was faster; else begins again.
    ///
    /// # Errors
    /// 404, and whatever `change` answers.
    pub async fn guaranteed_update<F>(
        &self,
        key: &ObjectKey,
        dry_run: bool,
        mut change: F,
    ) -> Result<Updated, ApiError>
    where
        F: FnMut(&Object) -> Result<Change, ApiError> + Send,
    {
        let path = self.keys.object(key)?;
        let mut current = self.kv.get(&path, None).await.map_err(read_error)?.kv;
        for _ in 0..ATTEMPTS_MAX {
            let kv =
                current.take().ok_or_else(|| ApiError::not_found(&self.resource, &key.name))?;
            let old = self.decode(&kv.key, &kv.value, kv.mod_revision)?;
            let (object, write, deleted) = match change(&old)? {
                Change::Keep => return Ok(Updated::Stored(old)),
                Change::Put(object) => {
                    let object = self.stamped(object, kv.mod_revision);
                    if object == old {
                        return Ok(Updated::Stored(old));
                    }
                    let write = Write::Put { key: path.clone(), value: encode(&object) };
                    (object, write, false)
                }
                Change::Delete(object) => (object, Write::Delete { key: path.clone() }, true),
            };
            let revision = if dry_run {
                kv.mod_revision
            } else {
                let guard = (path.clone(), Expect::Revision(kv.mod_revision));
                match self.kv.txn(vec![guard], vec![write]).await.map_err(write_error)? {
                    Outcome::Done(revision) => revision,
                    Outcome::Conflict(mut values) => {
                        current = values.pop().flatten();
                        continue;
                    }
                }
            };
            let object = self.stamped(object, revision);
            return Ok(if deleted { Updated::Deleted(object) } else { Updated::Stored(object) });
        }
        Err(ApiError::new(
            Reason::ServerTimeout,
            format!("{} {:?} changes too often", self.resource, key.name),
        ))
    }

    /// An object from its stored form.
    ///
    /// # Errors
    /// 500; a value that can't be read is never passed over in silence.
    pub(super) fn decode(
        &self,
        key: &str,
        value: &[u8],
        revision: Revision,
    ) -> Result<Object, ApiError> {
        let object: Object = serde_json::from_slice(value).map_err(|error| {
            ApiError::internal(format!(
                "object {key} at revision {revision} can't be decoded: {error}"
            ))
        })?;
        Ok(self.stamped(object, revision))
    }

    fn stamped(&self, mut object: Object, revision: Revision) -> Object {
        object.set_gvk(&self.gvk);
        object.set_resource_version(revision);
        object
    }
}

fn encode(object: &Object) -> Bytes {
    let mut object = object.clone();
    object.remove_meta("resourceVersion");
    serde_json::to_vec(&object).expect("a JSON object serializes").into()
}
