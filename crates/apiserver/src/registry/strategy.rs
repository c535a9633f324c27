//! What is special about a kind. Everything else is generic.

use crate::field::FieldError;
use crate::meta::Object;

/// The errors (none = valid) and warnings of a validation.
#[derive(Debug, Default)]
pub struct Validation {
    pub errors: Vec<FieldError>,
    pub warnings: Vec<String>,
}

/// A kind's rules. Pure: no IO, no clock. Structural rules (types, enums, required fields,
/// unknown fields) and defaults come from the kind's schema; status isolation, generation,
/// metadata rules and finalizers from the registry. Order on create: schema defaults,
/// `prepare_for_create`, schema validation, metadata validation, `validate_create`.
pub trait Strategy: Send + Sync {
    /// Changes a new object before validation (defaults that depend on other fields, normal form).
    fn prepare_for_create(&self, object: &mut Object) {
        _ = object;
    }

    /// The same for an update of anything but the status; `old` is the stored object.
    fn prepare_for_update(&self, object: &mut Object, old: &Object) {
        _ = (object, old);
    }

    fn validate_create(&self, object: &Object) -> Validation {
        _ = object;
        Validation::default()
    }

    fn validate_update(&self, object: &Object, old: &Object) -> Validation {
        _ = (object, old);
        Validation::default()
    }

    fn validate_status_update(&self, object: &Object, old: &Object) -> Validation {
        _ = (object, old);
        Validation::default()
    }
}
