//! Create.

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

impl Store {
    /// Stores a new object; the scope fills an absent namespace.
    ///
    /// # Errors
    /// 400 for a set resource version or another namespace than the scope's; 404 or 403 when the
    /// namespace is missing or ends; 422; 409 when the name is taken (for generated names: after
    /// eight attempts).
    pub async fn create(
        &self,
        _permit: &Permit,
        scope: &Scope,
        mut object: Object,
        options: &WriteOptions,
        warnings: &Warnings,
    ) -> Result<Object, ApiError> {
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
        let base = match object.meta_str("generateName") {
            Some(base) if object.name().is_empty() => base.to_owned(),
            _ => return inner.create_named(object, options, warnings).await,
        };
        let mut attempt = 1;
        loop {
            let mut candidate = object.clone();
            candidate.set_meta("name", names::generate(&base));
            match inner.create_named(candidate, options, warnings).await {
                Err(error) if *error.reason() == Reason::AlreadyExists => {
                    if attempt == names::ATTEMPTS_MAX {
                        return Err(no_unique_name(&error));
                    }
                    attempt += 1;
                }
                done => return done,
            }
        }
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

    async fn create_named(
        &self,
        mut object: Object,
        options: &WriteOptions,
        warnings: &Warnings,
    ) -> Result<Object, ApiError> {
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
        self.objects.create(&object.key(), &object, options.dry_run).await
    }
}

fn no_unique_name(error: &ApiError) -> ApiError {
    let message =
        format!("{error}, the server was not able to generate a unique name for the object");
    ApiError::new(Reason::AlreadyExists, message)
        .with_details(error.details().cloned().unwrap_or_default())
        .with_retry_after(1)
}
