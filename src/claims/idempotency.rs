//! `spec.idempotencyKey`: one record a key and namespace, written in the transaction that makes the
//! claim, so that two requests with one key never make two claims.
//!
//! The records are no served kind. One whose claim is gone counts as absent, and is removed by
//! whoever follows claims.

use std::sync::Arc;

use apiserver::meta::{GroupResource, Gvk, Object, ObjectKey};
use apiserver::status::ApiError;
use apiserver::storage::{Kv, Prepared, ResourceStore};
use sandbox_api::{GROUP, VERSION};
use serde_json::json;

use crate::hash::name_hash;

/// The records of used keys.
#[derive(Debug, Clone)]
pub(super) struct Records(ResourceStore);

/// Whom a key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub claim: String,
    pub uid: String,
    pub revision: i64,
}

impl Records {
    pub(super) fn new(kv: Arc<dyn Kv>, prefix: &str) -> Self {
        let gvk = Gvk::new(GROUP, VERSION, "ClaimIdempotencyRecord");
        let resource =
            GroupResource { group: GROUP.into(), resource: "claimidempotencyrecords".into() };
        Self(ResourceStore::new(kv, prefix, gvk, resource, true, &[]))
    }

    /// The part of the claim's transaction that takes the key, which must be as `before` says.
    ///
    /// # Errors
    /// 400 when the namespace can't be part of a key.
    pub(super) fn take(
        &self,
        namespace: &str,
        key: &str,
        claim: (&str, &str),
        before: Option<&Record>,
    ) -> Result<Prepared, ApiError> {
        let (name, uid) = claim;
        let object = Object::from_value(json!({
            "metadata": { "namespace": namespace, "name": name_hash(key) },
            "claim": { "name": name, "uid": uid },
        }))
        .unwrap_or_default();
        match before {
            None => self.0.prepare_create(object),
            Some(before) => self.0.prepare_replace(before.revision, object),
        }
    }

    /// The record that a transaction found in its way.
    pub(super) fn read(object: &Object) -> Option<Record> {
        let text = |path: &str| object.at(path).and_then(|value| value.as_str()).map(str::to_owned);
        let revision = object.resource_version()?.parse().ok()?;
        Some(Record { claim: text("claim.name")?, uid: text("claim.uid")?, revision })
    }

    /// The record of a key.
    ///
    /// # Errors
    /// 503 when the store is away.
    pub(super) async fn find(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<Record>, ApiError> {
        let key = ObjectKey::namespaced(namespace, name_hash(key));
        match self.0.get(&key, "").await {
            Ok(item) => Ok(Self::read(&*item.object()?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The part of a transaction that removes a record as it was read.
    ///
    /// # Errors
    /// 400 when the namespace can't be part of a key.
    pub(super) fn forget(
        &self,
        namespace: &str,
        key: &str,
        record: &Record,
    ) -> Result<Prepared, ApiError> {
        let key = ObjectKey::namespaced(namespace, name_hash(key));
        self.0.prepare_delete(&key, record.revision)
    }
}
