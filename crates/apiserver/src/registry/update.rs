//! Update, patch and the internal read-modify-write; all are one transition from the stored object
//! to the next.

use serde_json::{Map, Value};

use super::store::{Inner, fill_namespace};
use super::{Part, Store, Validation, metadata};
use crate::auth::Permit;
use crate::field::FieldError;
use crate::meta::{Object, ObjectKey};
use crate::patch::Patch;
use crate::request::{FieldValidation, Preconditions, WriteOptions};
use crate::status::ApiError;
use crate::storage::{Change, Updated};
use crate::warnings::Warnings;

impl Store {
    /// Replaces the object or its status.
    ///
    /// An update that leaves a deleted object without finalizers removes it. One that changes
    /// nothing writes nothing.
    ///
    /// # Errors
    /// 400 when body and key disagree; 404; 409 when the resource version or uid is not the current
    /// one; 422, also for a missing resource version.
    pub async fn update(
        &self,
        _permit: &Permit,
        key: &ObjectKey,
        part: Part,
        mut object: Object,
        options: &WriteOptions,
        warnings: &Warnings,
    ) -> Result<Object, ApiError> {
        let inner = &self.inner;
        check_identity(&mut object, key)?;
        let change = |old: &Object| {
            inner.check_types(&object)?;
            if object.resource_version().is_none_or(|version| version == "0") {
                let error = metadata::missing_resource_version();
                return Err(ApiError::invalid(&inner.def.gvk, &key.name, &[error]));
            }
            inner.transition(part, object.clone(), old, warnings)
        };
        written(inner.objects.guaranteed_update(key, options.dry_run, change).await?)
    }

    /// Applies a patch to the object or its status. Without a resource version in the patch it
    /// is repeated on the newest object until it fits.
    ///
    /// # Errors
    /// As [`Store::update`] and [`Patch::decode`]; 422 when the patch does not fit the object or,
    /// with strict field validation, leaves unknown fields.
    pub async fn patch(
        &self,
        _permit: &Permit,
        key: &ObjectKey,
        part: Part,
        patch: &Patch,
        options: &WriteOptions,
        warnings: &Warnings,
    ) -> Result<Object, ApiError> {
        let inner = &self.inner;
        let decoded = patch.decode()?;
        let change = |old: &Object| {
            let mut value = old.clone().into_value();
            decoded.apply(&mut value)?;
            let mut object = Object::from_value(value).ok_or_else(|| {
                ApiError::bad_request("the patch makes something else than an object")
            })?;
            inner.check_gvk(&object)?;
            check_identity(&mut object, key)?;
            inner.prune_patched(&mut object, patch, options.field_validation, warnings)?;
            inner.transition(part, object, old, warnings)
        };
        written(inner.objects.guaranteed_update(key, options.dry_run, change).await?)
    }

    /// A guarded read-modify-write for actions and the internal loop. `f` may be called again on a
    /// newer object after a lost race; its error ends the attempt.
    ///
    /// # Errors
    /// As [`Store::update`], and whatever `f` answers.
    pub async fn mutate<F>(
        &self,
        _permit: &Permit,
        key: &ObjectKey,
        part: Part,
        options: &WriteOptions,
        warnings: &Warnings,
        mut f: F,
    ) -> Result<Object, ApiError>
    where
        F: FnMut(&mut Object) -> Result<(), ApiError> + Send,
    {
        let inner = &self.inner;
        let change = |old: &Object| {
            let mut object = old.clone();
            f(&mut object)?;
            inner.transition(part, object, old, warnings)
        };
        written(inner.objects.guaranteed_update(key, options.dry_run, change).await?)
    }
}

fn written(updated: Updated) -> Result<Object, ApiError> {
    match updated {
        Updated::Stored(object) | Updated::Deleted(object) => Ok(object),
    }
}

impl Inner {
    /// What `new` makes of `old`, by the rules of an update.
    pub(super) fn transition(
        &self,
        part: Part,
        mut new: Object,
        old: &Object,
        warnings: &Warnings,
    ) -> Result<Change, ApiError> {
        self.check_types(&new)?;
        let uid = Some(new.uid()).filter(|uid| !uid.is_empty()).map(str::to_owned);
        self.check_preconditions(&Preconditions { uid, resource_version: None }, old)?;
        if new.resource_version().is_some_and(|version| Some(version) != old.resource_version()) {
            return Err(ApiError::modified(&self.resource, old.name()));
        }
        match part {
            Part::Main => {
                self.prepare_main(&mut new, old, warnings)?;
            }
            Part::Status => {
                if let Some(decorator) = &self.def.decorator {
                    decorator.strip(&mut new);
                }
                let mut next = old.clone();
                match new.0.shift_remove("status") {
                    Some(status) => _ = next.0.insert("status".into(), status),
                    None => _ = next.0.shift_remove("status"),
                }
                new = next;
                let errors = self.def.schema.validate(&new);
                let validation = match errors.is_empty() {
                    true => self.def.strategy.validate_status_update(&new, old),
                    false => Validation::default(),
                };
                self.verdict(old.name(), errors, validation, warnings)?;
            }
        }
        let released = new.deletion_timestamp().is_some() && new.finalizers().is_empty();
        Ok(if released { Change::Delete(new) } else { Change::Put(new) })
    }

    fn prepare_main(
        &self,
        new: &mut Object,
        old: &Object,
        warnings: &Warnings,
    ) -> Result<(), ApiError> {
        let def = &self.def;
        keep_system_fields(new, old);
        if def.has_status() {
            match old.0.get("status") {
                Some(status) => _ = new.0.insert("status".into(), status.clone()),
                None => _ = new.0.shift_remove("status"),
            }
        }
        metadata::dedupe_owner_references(new, warnings);
        new.set_gvk(&def.gvk);
        def.schema.apply_defaults(new);
        def.strategy.prepare_for_update(new, old);
        if !same_desired_state(new, old, def.has_status()) {
            new.set_meta("generation", old.generation() + 1);
        }
        let mut errors = def.schema.validate(new);
        let validation = match errors.is_empty() {
            true => def.strategy.validate_update(new, old),
            false => Validation::default(),
        };
        errors.extend(metadata::validate(new, def.namespaced));
        errors.extend(metadata::validate_update(new, old));
        self.verdict(old.name(), errors, validation, warnings)
    }

    fn check_gvk(&self, object: &Object) -> Result<(), ApiError> {
        let gvk = &self.def.gvk;
        for (what, given, expected) in [
            ("API version", object.api_version(), gvk.api_version()),
            ("kind", object.kind(), gvk.kind.clone()),
        ] {
            if given != expected {
                return Err(ApiError::bad_request(format!(
                    "the {what} in the data ({given}) does not match the expected {what} \
                     ({expected})"
                )));
            }
        }
        Ok(())
    }

    fn prune_patched(
        &self,
        object: &mut Object,
        patch: &Patch,
        validation: FieldValidation,
        warnings: &Warnings,
    ) -> Result<(), ApiError> {
        let unknown = self.def.schema.prune(object);
        if unknown.is_empty() || validation == FieldValidation::Ignore {
            return Ok(());
        }
        let texts: Vec<String> =
            unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
        if validation == FieldValidation::Warn {
            for text in texts {
                warnings.add(text);
            }
            return Ok(());
        }
        let body = Value::String(String::from_utf8_lossy(&patch.body).into_owned());
        let detail = format!("strict decoding error: {}", texts.join(", "));
        let error = FieldError::invalid("patch", &body, &detail);
        Err(ApiError::invalid(&self.def.gvk, object.name(), &[error]))
    }
}

/// Name and namespace of body and URL must agree.
fn check_identity(object: &mut Object, key: &ObjectKey) -> Result<(), ApiError> {
    if object.name() != key.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object.name(),
            key.name
        )));
    }
    fill_namespace(object, key.namespace.as_deref())
}

/// What a client may leave out but not change; what it does change is validated later.
fn keep_system_fields(new: &mut Object, old: &Object) {
    let empty = Map::new();
    let before = old.metadata().unwrap_or(&empty);
    let mut keep = |field: &str, always: bool| {
        let absent = new
            .metadata()
            .and_then(|m| m.get(field))
            .is_none_or(|value| value.is_null() || value == "");
        if !always && !absent {
            return;
        }
        match before.get(field) {
            Some(value) => new.set_meta(field, value.clone()),
            None => _ = new.metadata_mut().shift_remove(field),
        }
    };
    for field in ["uid", "creationTimestamp", "generateName"] {
        keep(field, false);
    }
    // A deletion can't be taken back.
    keep("deletionTimestamp", old.deletion_timestamp().is_some());
    keep("deletionGracePeriodSeconds", false);
    for field in ["generation", "resourceVersion", "selfLink"] {
        keep(field, true);
    }
    // Ownership of fields is not tracked yet.
    keep("managedFields", true);
}

/// Whether everything but metadata (and the status, if it has an endpoint of its own) is equal.
fn same_desired_state(new: &Object, old: &Object, has_status: bool) -> bool {
    let counts = |key: &str| match key {
        "apiVersion" | "kind" | "metadata" => false,
        "status" => !has_status,
        _ => true,
    };
    let covers = |a: &Object, b: &Object| {
        a.0.iter().filter(|(key, _)| counts(key)).all(|(key, value)| b.0.get(key) == Some(value))
    };
    covers(new, old) && covers(old, new)
}
