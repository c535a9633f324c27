//! [`Store`]: the registry of one kind.

use std::fmt;
use std::sync::Arc;

use crate::admission::Namespaces;
use crate::auth::Permit;
use crate::clock::Clock;
use crate::field::FieldError;
use crate::meta::{GroupResource, Object, ObjectKey, Scope};
use crate::request::{GetOptions, ListOptions, Preconditions, WatchOptions};
use crate::resource::ResourceDef;
use crate::status::ApiError;
use crate::storage::{
    CacheOptions, Cacher, Item, Kv, ObjectList, Objects, ResourceStore, WatchStream,
};
use crate::tasks::Tasks;
use crate::warnings::Warnings;

use super::{Validation, metadata};

/// One kind's objects with Kubernetes' life cycle. Cheap to clone.
///
/// Every method takes a [`Permit`]: there is no way to the objects around authorization. Returned
/// objects carry `apiVersion`, `kind` and `metadata.resourceVersion`.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) def: Arc<ResourceDef>,
    pub(super) resource: GroupResource,
    pub(super) objects: Objects,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) namespaces: Option<Arc<dyn Namespaces>>,
}

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status (if the kind has a status subresource).
    Main,
    /// The status alone.
    Status,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("def", &self.inner.def).finish_non_exhaustive()
    }
}

impl Store {
    /// `prefix` begins every key, usually `/registry`. Without `namespaces`, objects can be
    /// created in any namespace.
    pub fn new(
        def: Arc<ResourceDef>,
        kv: Arc<dyn Kv>,
        prefix: &str,
        clock: Arc<dyn Clock>,
        namespaces: Option<Arc<dyn Namespaces>>,
    ) -> Self {
        Self::over(Objects::direct(objects_of(&def, kv, prefix)), def, clock, namespaces)
    }

    /// As [`Store::new`], with lists and watches from a cache that follows `kv` until `tasks` stop.
    pub fn cached(
        def: Arc<ResourceDef>,
        kv: Arc<dyn Kv>,
        prefix: &str,
        clock: Arc<dyn Clock>,
        namespaces: Option<Arc<dyn Namespaces>>,
        (options, tasks): (CacheOptions, &Tasks),
    ) -> Self {
        let store = objects_of(&def, kv, prefix);
        let cache = Cacher::start(store.clone(), options, tasks);
        Self::over(Objects::cached(store, cache), def, clock, namespaces)
    }

    fn over(
        objects: Objects,
        def: Arc<ResourceDef>,
        clock: Arc<dyn Clock>,
        namespaces: Option<Arc<dyn Namespaces>>,
    ) -> Self {
        let resource = def.group_resource();
        Self { inner: Arc::new(Inner { def, resource, objects, clock, namespaces }) }
    }

    /// The cache, if this store has one.
    pub fn cache(&self) -> Option<&Cacher> {
        self.inner.objects.cache()
    }

    pub fn def(&self) -> &Arc<ResourceDef> {
        &self.inner.def
    }

    /// # Errors
    /// As [`Store::get_item`].
    pub async fn get(
        &self,
        permit: &Permit,
        key: &ObjectKey,
        options: &GetOptions,
    ) -> Result<Arc<Object>, ApiError> {
        self.get_item(permit, key, options).await?.object()
    }

    /// The object in its wire form.
    ///
    /// # Errors
    /// 404; 504 when the asked resource version is in the future.
    pub async fn get_item(
        &self,
        _permit: &Permit,
        key: &ObjectKey,
        options: &GetOptions,
    ) -> Result<Arc<Item>, ApiError> {
        self.inner.objects.get(key, &options.resource_version).await
    }

    /// # Errors
    /// 400 for a field that can't be selected by; else as [`Cacher::list`].
    pub async fn list(
        &self,
        _permit: &Permit,
        scope: &Scope,
        options: &ListOptions,
    ) -> Result<ObjectList, ApiError> {
        options.field_selector.validate(self.inner.def.selectable_fields)?;
        self.inner.objects.list(scope, options).await
    }

    /// # Errors
    /// 400 for a field that can't be selected by; else as [`Cacher::watch`].
    pub async fn watch(
        &self,
        _permit: &Permit,
        scope: &Scope,
        options: &WatchOptions,
    ) -> Result<WatchStream, ApiError> {
        options.field_selector.validate(self.inner.def.selectable_fields)?;
        self.inner.objects.watch(scope, options).await
    }
}

fn objects_of(def: &ResourceDef, kv: Arc<dyn Kv>, prefix: &str) -> ResourceStore {
    let resource = def.group_resource();
    let fields = def.selectable_fields;
    ResourceStore::new(kv, prefix, def.gvk.clone(), resource, def.namespaced, fields)
        .with_indexed_labels(def.indexed_labels)
}

impl Inner {
    /// # Errors
    /// 422 with every error of the schema, the metadata and the strategy; warnings are passed on.
    pub(super) fn verdict(
        &self,
        name: &str,
        mut errors: Vec<FieldError>,
        validation: Validation,
        warnings: &Warnings,
    ) -> Result<(), ApiError> {
        for text in validation.warnings {
            warnings.add(text);
        }
        errors.extend(validation.errors);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(&self.def.gvk, name, &errors))
        }
    }

    /// # Errors
    /// 422 when members of the metadata are of the wrong type.
    pub(super) fn check_types(&self, object: &Object) -> Result<(), ApiError> {
        let errors = metadata::type_errors(object);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid(&self.def.gvk, object.name(), &errors))
        }
    }

    /// # Errors
    /// 409 when uid or resource version are not the current ones.
    pub(super) fn check_preconditions(
        &self,
        preconditions: &Preconditions,
        current: &Object,
    ) -> Result<(), ApiError> {
        let fail = |what: &str, asked: &str, found: &str| {
            let cause = format!(
                "Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}"
            );
            Err(ApiError::conflict(&self.resource, current.name(), &cause))
        };
        if let Some(uid) = &preconditions.uid
            && uid != current.uid()
        {
            return fail("UID", uid, current.uid());
        }
        if let Some(version) = &preconditions.resource_version {
            let found = current.resource_version().unwrap_or_default();
            if version != found {
                return fail("ResourceVersion", version, found);
            }
        }
        Ok(())
    }
}

/// Puts the scope's namespace where the body left it out.
///
/// # Errors
/// 400 when the body names another one.
pub(super) fn fill_namespace(object: &mut Object, namespace: Option<&str>) -> Result<(), ApiError> {
    match (object.namespace(), namespace) {
        (None, Some(namespace)) => object.set_meta("namespace", namespace),
        (None, None) => object.remove_meta("namespace"),
        (Some(given), Some(namespace)) if given == namespace => {}
        (Some(_), _) => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
    }
    Ok(())
}
