use apiserver::registry::Validation;
use sandbox_api::Sandbox;

use super::validate;
use crate::resources::typed::Rules;

/// The rules of a Sandbox.
pub(super) struct SandboxRules;

impl Rules for SandboxRules {
    type Kind = Sandbox;
    const TIMES: &'static [&'static str] = &["spec.shutdownTime"];

    fn validate(new: &Sandbox, old: Option<&Sandbox>) -> Validation {
        let mut errors = validate::name(new);
        errors.extend(validate::blueprint(&new.spec).validate());
        if let Some(old) = old {
            errors.extend(validate::change(new, old));
        }
        Validation { errors, warnings: validate::blueprint(&new.spec).warnings() }
    }
}
