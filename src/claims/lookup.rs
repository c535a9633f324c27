//! Pools and templates as a claim needs them: typed, from the watch cache, decoded once per
//! revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use apiserver::auth::Permit;
use apiserver::meta::ObjectKey;
use apiserver::registry::{Item, Store};
use apiserver::request::GetOptions;
use apiserver::status::ApiError;
use serde::de::DeserializeOwned;

/// Decoded objects that are kept; beyond that all are dropped and decoded anew.
const KEPT_MAX: usize = 10_000;

/// The objects of one kind, typed. Clones share what was decoded.
#[derive(Debug)]
pub struct Lookup<T> {
    store: Store,
    permit: Permit,
    decoded: Mutex<HashMap<ObjectKey, (i64, Arc<T>)>>,
}

impl<T: DeserializeOwned + Send + Sync> Lookup<T> {
    pub fn new(store: Store, permit: Permit) -> Self {
        Self { store, permit, decoded: Mutex::default() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The object, as the cache knows it; what it does not know is asked of the store, so that an
    /// object that was just made is found.
    ///
    /// # Errors
    /// 500 when it can't be decoded, 503 when the store is away.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Arc<T>>, ApiError> {
        let cached = GetOptions { resource_version: "0".into() };
        let item = match self.store.get_item(&self.permit, key, &cached).await {
            Err(error) if error.is_not_found() => {
                match self.store.get_item(&self.permit, key, &GetOptions::default()).await {
                    Err(error) if error.is_not_found() => return Ok(None),
                    item => item?,
                }
            }
            item => item?,
        };
        self.decode(&item).map(Some)
    }

    /// The typed form of an item.
    ///
    /// # Errors
    /// 500 when it can't be decoded.
    pub fn decode(&self, item: &Item) -> Result<Arc<T>, ApiError> {
        let key = item.key();
        if let Some((revision, known)) = self.lock().get(&key)
            && *revision == item.revision()
        {
            return Ok(Arc::clone(known));
        }
        let typed: T = item.object()?.to_typed().map_err(ApiError::internal)?;
        let typed = Arc::new(typed);
        let mut decoded = self.lock();
        if decoded.len() >= KEPT_MAX {
            decoded.clear();
        }
        decoded.insert(key, (item.revision(), Arc::clone(&typed)));
        Ok(typed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, (i64, Arc<T>)>> {
        self.decoded.lock().expect("no holder of this lock panics")
    }
}
