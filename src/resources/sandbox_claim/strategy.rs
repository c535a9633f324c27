use apiserver::registry::Validation;
use sandbox_api::SandboxClaim;

use super::validate;
use crate::resources::typed::Rules;

/// The rules of a SandboxClaim.
pub(super) struct ClaimRules;

impl Rules for ClaimRules {
    type Kind = SandboxClaim;
    const TIMES: &'static [&'static str] = &["spec.lifecycle.shutdownTime"];

    fn validate(new: &SandboxClaim, old: Option<&SandboxClaim>) -> Validation {
        let mut errors = validate::claim(new);
        if let Some(old) = old {
            errors.extend(validate::change(new, old));
        }
        Validation { errors, warnings: validate::warnings(new) }
    }
}
