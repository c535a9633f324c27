//! Create.

use serde_json::Value;

use super::store::{Inner, fill_namespace};
use super::{Store, Validation, metadata, names};
use crate::admission::check_namespace_lifecycle;
use crate::auth::Permit;
use crate::clock::{format_time, new_uid};
use crate::meta::{Object, Scope};
use crate::request::WriteOptions;
use crate::status::{ApiError, Reason};
use crate::warnings::Warnings;

/// Fields that only the server sets.
const SYSTEM_FIELDS: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "managedFields",
];

/// An object that passed everything a create asks of it, and is not stored yet.
#[derive(Debug, Clone)]
pub struct NewObject(Object);

impl NewObject {
    pub fn object(&self) -> &Object {
        &self.0
    }

    pub fn into_object(self) -> Object {
        self.0
    }

    /// With the status that the object is to be born with.
    #[must_use]
    pub fn with_status(mut self, status: Value) -> Self {
        self.0.0.insert("status".into(), status);
        self
    }
}

impl Store {
    /// Stores a new object; the scope fills an absent namespace.
    ///
    /// # Errors
    /// 400 for a set resource version or another namespace than the scope's; 404 or 403 when the
    /// namespace is missing or ends; 422; 409 when the name is taken (for generated names: after
    /// eight attempts).
    pub async fn create(
        &self,
        permit: &Permit,
        scope: &Scope,
        object: Object,
        options: &WriteOptions,
        warnings: &Warnings,
    ) -> Result<Object, ApiError> {
        let generated = object.name().is_empty() && object.meta_str("generateName").is_some();
        let mut attempt = 1;
        loop {
            let new = self.prepare(permit, scope, object.clone(), warnings).await?;
            let NewObject(new) = new;
            match self.inner.objects.create(&new.key(), &new, options.dry_run).await {
                Err(error) if generated && *error.reason() == Reason::AlreadyExists => {
                    if attempt == names::ATTEMPTS_MAX {
                        return Err(no_unique_name(&error));
                    }
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Does everything of [`Store::create`] but storing the object, with a generated name if one is
    /// asked for.
    ///
    /// # Errors
    /// As [`Store::create`], but that nobody looks whether the name is taken.
    pub async fn prepare(
        &self,
        _permit: &Permit,
        scope: &Scope,
        mut object: Object,
        warnings: &Warnings,
    ) -> Result<NewObject, ApiError> {
        let inner = &self.inner;
        if inner.def.namespaced && scope.namespace().is_none_or(str::is_empty) {
            return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
        }
        inner.check_types(&object)?;
        fill_namespace(&mut object, scope.namespace())?;
        if object.resource_version().is_some() {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        object.remove_meta("resourceVersion");
        if let (Some(namespaces), Some(namespace)) = (&inner.namespaces, scope.namespace()) {
            check_namespace_lifecycle(
                namespaces.as_ref(),
                namespace,
                &inner.resource,
                object.name(),
            )
            .await?;
        }
        inner.set_system_fields(&mut object, warnings);
        if let Some(base) = object.meta_str("generateName")
            && object.name().is_empty()
        {
            let name = names::generate(base);
            object.set_meta("name", name);
        }
        inner.judge_new(object, warnings).map(NewObject)
    }
}

impl Inner {
    fn set_system_fields(&self, object: &mut Object, warnings: &Warnings) {
        for field in SYSTEM_FIELDS {
            object.remove_meta(field);
        }
        object.set_gvk(&self.def.gvk);
        object.set_meta("uid", new_uid());
        object.set_meta("creationTimestamp", format_time(self.clock.now()));
        object.set_meta("generation", 1);
        if self.def.has_status() {
            object.0.shift_remove("status");
        }
        metadata::dedupe_owner_references(object, warnings);
    }

    fn judge_new(&self, mut object: Object, warnings: &Warnings) -> Result<Object, ApiError> {
        let def = &self.def;
        def.schema.apply_defaults(&mut object);
        def.strategy.prepare_for_create(&mut object);
        let mut errors = def.schema.validate(&object);
        // A kind's own rules mean something only for an object of the right structure.
        let validation = match errors.is_empty() {
            true => def.strategy.validate_create(&object),
            false => Validation::default(),
        };
        errors.extend(metadata::validate(&object, def.namespaced));
        self.verdict(object.name(), errors, validation, warnings)?;
        Ok(object)
    }
}

fn no_unique_name(error: &ApiError) -> ApiError {
    let message =
        format!("{error}, the server was not able to generate a unique name for the object");
    ApiError::new(Reason::AlreadyExists, message)
        .with_details(error.details().cloned().unwrap_or_default())
        .with_retry_after(1)
}
