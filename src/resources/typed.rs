//! Strategies over typed objects.

use std::marker::PhantomData;
use std::sync::Arc;

use apiserver::field::{ErrorType, FieldError};
use apiserver::meta::Object;
use apiserver::registry::{Strategy, Validation};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind's rules over its typed form.
pub(super) trait Rules: 'static {
    type Kind: DeserializeOwned;

    /// Dotted paths of date-times: the one type that decodes to less than any JSON string.
    const TIMES: &'static [&'static str];

    /// The rules for a new object (`old` is `None`) and for a change.
    fn validate(new: &Self::Kind, old: Option<&Self::Kind>) -> Validation;
}

/// A [`Strategy`] that decodes and leaves the rest to `R`.
struct Typed<R>(PhantomData<fn() -> R>);

/// The strategy of the rules `R`.
pub(super) fn strategy<R: Rules>() -> Arc<dyn Strategy> {
    Arc::new(Typed::<R>(PhantomData))
}

impl<R: Rules> Strategy for Typed<R> {
    fn validate_create(&self, object: &Object) -> Validation {
        match object.to_typed() {
            Ok(new) => R::validate(&new, None),
            Err(error) => undecodable::<R>(object, &error),
        }
    }

    fn validate_update(&self, object: &Object, old: &Object) -> Validation {
        match object.to_typed() {
            // A stored object that no longer decodes must stay repairable: only the rules about
            // the change itself are lost for it.
            Ok(new) => R::validate(&new, old.to_typed().ok().as_ref()),
            Err(error) => undecodable::<R>(object, &error),
        }
    }
}

/// The schema has found wrong types before, with exact paths. This is for what it can not express.
fn undecodable<R: Rules>(object: &Object, error: &serde_json::Error) -> Validation {
    let mut errors: Vec<_> = R::TIMES
        .iter()
        .filter_map(|path| {
            let value = object.at(path)?;
            let text = value.as_str()?;
            let wrong = text.parse::<jiff::Timestamp>().is_err();
            wrong.then(|| {
                let detail = "must be a date-time as in RFC 3339 (e.g. '2026-01-02T15:04:05Z')";
                FieldError::invalid(*path, &Value::from(text), detail)
            })
        })
        .collect();
    if errors.is_empty() {
        let detail = error.to_string();
        errors.push(FieldError::raw(ErrorType::Invalid, "spec", "\"object\"", &detail));
    }
    Validation { errors, warnings: Vec::new() }
}
