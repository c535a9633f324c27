//! Objects of one kind over [`Kv`]: values are the JSON objects without `resourceVersion`, which
//! is the revision of the write.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{parse_revision, read_error, unreadable, write_error};
use super::item::ItemKind;
use super::{EventKind, Expect, Item, KeySpace, KeyValue, Kv, Outcome, Revision, Write};
use crate::meta::{GroupResource, Gvk, Object, ObjectKey};
use crate::status::{ApiError, Reason};

/// The objects of one kind. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResourceStore {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) keys: Arc<KeySpace>,
    pub(super) kind: Arc<ItemKind>,
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

/// The object that an update begins with.
enum Current {
    Read(Object),
    /// From a cache.
    Suggested(Object),
    Absent,
}

/// What an update is to write, and what is answered then.
enum Wanted {
    Nothing,
    Put(Object, Write),
    Delete(Object, Write),
}

/// Lost races after which an update gives up.
const ATTEMPTS_MAX: u32 = 100;

impl ResourceStore {
    /// `fields`: paths that field selectors may name besides name and namespace.
    pub fn new(
        kv: Arc<dyn Kv>,
        prefix: &str,
        gvk: Gvk,
        resource: GroupResource,
        namespaced: bool,
        fields: &'static [&'static str],
    ) -> Self {
        let keys = KeySpace::new(prefix, &resource, namespaced);
        let kind = ItemKind::new(gvk, keys.root().to_owned(), fields);
        Self { kv, keys: Arc::new(keys), kind: Arc::new(kind), resource: Arc::new(resource) }
    }

    /// Lets a cache over the store find objects by the values of these labels.
    #[must_use]
    pub fn with_indexed_labels(mut self, labels: &'static [&'static str]) -> Self {
        // Before it is shared: nobody else has it yet.
        if let Some(kind) = Arc::get_mut(&mut self.kind) {
            kind.labels = labels;
        }
        self
    }

    /// The current object, not older than `resource_version` (as on the wire).
    ///
    /// # Errors
    /// 404; 504 when `resource_version` is in the future; 500 when the value can't be decoded.
    pub async fn get(
        &self,
        key: &ObjectKey,
        resource_version: &str,
    ) -> Result<Arc<Item>, ApiError> {
        let least = parse_revision(resource_version, &self.resource)?.unwrap_or_default();
        let path = self.keys.object(key)?;
        let got = self.kv.get(&path, None).await.map_err(read_error)?;
        if least > got.revision {
            return Err(ApiError::too_large_resource_version(least, got.revision));
        }
        let kv = got.kv.ok_or_else(|| ApiError::not_found(&self.resource, &key.name))?;
        Ok(self.item(&kv))
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
                object.set_gvk(&self.kind.gvk);
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

    /// Lets `change` decide what becomes of the object, writes if nobody was faster; else begins
    /// again. A `suggestion` of what is stored saves the read; it may be out of date.
    ///
    /// # Errors
    /// 404, and whatever `change` answers.
    pub async fn guaranteed_update<F>(
        &self,
        key: &ObjectKey,
        dry_run: bool,
        suggestion: Option<Arc<Item>>,
        mut change: F,
    ) -> Result<Updated, ApiError>
    where
        F: FnMut(&Object) -> Result<Change, ApiError> + Send,
    {
        let path = self.keys.object(key)?;
        // A dry run has no write that would find out.
        let suggestion = suggestion.filter(|_| !dry_run).and_then(|item| item.decode().ok());
        let mut current = match suggestion {
            Some(object) => Current::Suggested(object),
            None => self.read(&path).await?,
        };
        for _ in 0..ATTEMPTS_MAX {
            let (old, suggested) = match current {
                Current::Read(old) => (old, false),
                Current::Suggested(old) => (old, true),
                Current::Absent => return Err(ApiError::not_found(&self.resource, &key.name)),
            };
            let wanted = match self.wanted(&path, &old, &mut change) {
                // Only what is stored now may decide that nothing is written.
                Ok(Wanted::Nothing) | Err(_) if suggested => {
                    current = self.read(&path).await?;
                    continue;
                }
                wanted => wanted?,
            };
            let (object, write, deleted) = match wanted {
                Wanted::Nothing => return Ok(Updated::Stored(old)),
                Wanted::Put(object, write) => (object, write, false),
                Wanted::Delete(object, write) => (object, write, true),
            };
            let old_revision = revision_of(&old);
            let revision = if dry_run {
                old_revision
            } else {
                let guard = (path.clone(), Expect::Revision(old_revision));
                match self.kv.txn(vec![guard], vec![write]).await.map_err(write_error)? {
                    Outcome::Done(revision) => revision,
                    Outcome::Conflict(mut values) => {
                        current = self.current(values.pop().flatten())?;
                        continue;
                    }
                }
            };
            let object = self.stamped(object, revision);
            return Ok(if deleted { Updated::Deleted(object) } else { Updated::Stored(object) });
        }
        Err(self.changes_too_often(key))
    }

    /// Removes an object that can't be decoded
    /// (`[apiserver] pkg/registry/generic/registry/corrupt_obj_deleter.go`).
    ///
    /// # Errors
    /// 404; 409 when it can be decoded after all.
    pub async fn delete_unreadable(&self, key: &ObjectKey, dry_run: bool) -> Result<(), ApiError> {
        let path = self.keys.object(key)?;
        let mut current = self.kv.get(&path, None).await.map_err(read_error)?.kv;
        for _ in 0..ATTEMPTS_MAX {
            let kv =
                current.take().ok_or_else(|| ApiError::not_found(&self.resource, &key.name))?;
            if self.item(&kv).object().is_ok() {
                let cause = format!(
                    "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: {}, \
                     AdditionalErrorMsg: the object can be decoded",
                    kv.mod_revision
                );
                return Err(ApiError::conflict(&self.resource, &key.name, &cause));
            }
            if dry_run {
                return Ok(());
            }
            let guard = (path.clone(), Expect::Revision(kv.mod_revision));
            let delete = Write::Delete { key: path.clone() };
            match self.kv.txn(vec![guard], vec![delete]).await.map_err(write_error)? {
                Outcome::Done(_) => return Ok(()),
                Outcome::Conflict(mut values) => current = values.pop().flatten(),
            }
        }
        Err(self.changes_too_often(key))
    }

    fn changes_too_often(&self, key: &ObjectKey) -> ApiError {
        let text = format!("{} {:?} changes too often", self.resource, key.name);
        ApiError::new(Reason::Conflict, text)
    }

    /// What `change` makes of `old`, ready to be written.
    fn wanted<F>(&self, path: &str, old: &Object, change: &mut F) -> Result<Wanted, ApiError>
    where
        F: FnMut(&Object) -> Result<Change, ApiError>,
    {
        Ok(match change(old)? {
            Change::Keep => Wanted::Nothing,
            Change::Put(object) => {
                let object = self.stamped(object, revision_of(old));
                if object == *old {
                    return Ok(Wanted::Nothing);
                }
                let write = Write::Put { key: path.to_owned(), value: encode(&object) };
                Wanted::Put(object, write)
            }
            Change::Delete(object) => {
                Wanted::Delete(object, Write::Delete { key: path.to_owned() })
            }
        })
    }

    async fn read(&self, path: &str) -> Result<Current, ApiError> {
        self.current(self.kv.get(path, None).await.map_err(read_error)?.kv)
    }

    fn current(&self, kv: Option<KeyValue>) -> Result<Current, ApiError> {
        Ok(match kv {
            Some(kv) => Current::Read(self.decode(&kv.key, &kv.value, kv.mod_revision)?),
            None => Current::Absent,
        })
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
        let object: Object = serde_json::from_slice(value)
            .map_err(|error| unreadable(key, revision, &error.to_string()))?;
        Ok(self.stamped(object, revision))
    }

    /// A stored value as it is listed.
    pub(super) fn item(&self, kv: &KeyValue) -> Arc<Item> {
        let path = self.path(&kv.key);
        Arc::new(Item::new(&self.kind, path, &kv.value, kv.mod_revision, EventKind::Added))
    }

    /// The part of a key behind the kind's prefix.
    pub(super) fn path(&self, key: &str) -> Arc<str> {
        key.strip_prefix(self.keys.root()).unwrap_or(key).into()
    }

    pub(super) fn stamped(&self, mut object: Object, revision: Revision) -> Object {
        object.set_gvk(&self.kind.gvk);
        object.set_resource_version(revision);
        object
    }
}

fn revision_of(object: &Object) -> Revision {
    object.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default()
}

pub(super) fn encode(object: &Object) -> Bytes {
    let mut object = object.clone();
    object.remove_meta("resourceVersion");
    serde_json::to_vec(&object).expect("a JSON object serializes").into()
}
