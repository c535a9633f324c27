//! [`Objects`]: the objects of one kind as the registry uses them, with or without a watch cache.

use std::sync::Arc;

use super::{Cacher, Change, Item, ObjectList, ResourceStore, Updated, WatchStream};
use crate::meta::{Object, ObjectKey, Scope};
use crate::request::{ListOptions, WatchOptions};
use crate::status::ApiError;

/// Reads come from the cache where there is one, writes always go to the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: ResourceStore,
    cache: Option<Cacher>,
}

impl Objects {
    /// Everything from the store.
    pub fn direct(store: ResourceStore) -> Self {
        Self { store, cache: None }
    }

    /// Through `cache`, which must be of this `store`.
    pub fn cached(store: ResourceStore, cache: Cacher) -> Self {
        Self { store, cache: Some(cache) }
    }

    pub fn store(&self) -> &ResourceStore {
        &self.store
    }

    pub fn cache(&self) -> Option<&Cacher> {
        self.cache.as_ref()
    }

    /// # Errors
    /// As [`ResourceStore::get`].
    pub async fn get(
        &self,
        key: &ObjectKey,
        resource_version: &str,
    ) -> Result<Arc<Item>, ApiError> {
        match &self.cache {
            Some(cache) => cache.get(key, resource_version).await,
            None => self.store.get(key, resource_version).await,
        }
    }

    /// # Errors
    /// As [`Cacher::list`].
    pub async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<ObjectList, ApiError> {
        match &self.cache {
            Some(cache) => cache.list(scope, options).await,
            None => self.store.list(scope, options).await,
        }
    }

    /// # Errors
    /// As [`Cacher::watch`].
    pub async fn watch(
        &self,
        scope: &Scope,
        options: &WatchOptions,
    ) -> Result<WatchStream, ApiError> {
        match &self.cache {
            Some(cache) => cache.watch(scope, options).await,
            None => self.store.watch(scope, options).await,
        }
    }

    /// # Errors
    /// As [`ResourceStore::create`].
    pub async fn create(
        &self,
        key: &ObjectKey,
        object: &Object,
        dry_run: bool,
    ) -> Result<Object, ApiError> {
        self.store.create(key, object, dry_run).await
    }

    /// # Errors
    /// As [`ResourceStore::guaranteed_update`].
    pub async fn guaranteed_update<F>(
        &self,
        key: &ObjectKey,
        dry_run: bool,
        change: F,
    ) -> Result<Updated, ApiError>
    where
        F: FnMut(&Object) -> Result<Change, ApiError> + Send,
    {
        let suggestion = self.cache.as_ref().and_then(|cache| cache.suggestion(key));
        self.store.guaranteed_update(key, dry_run, suggestion, change).await
    }
}
