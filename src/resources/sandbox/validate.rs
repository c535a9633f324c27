use apiserver::field::FieldError;
use sandbox_api::{Sandbox, SandboxPhase, SandboxSpec};

use crate::resources::blueprint::Blueprint;
use crate::resources::names;

/// What the Sandbox is made from.
pub(super) fn blueprint(spec: &SandboxSpec) -> Blueprint<'_> {
    Blueprint {
        pod_template: &spec.pod_template,
        volume_claim_templates: &spec.volume_claim_templates,
        isolation_level: spec.isolation_level(),
    }
}

/// The Pod, its host name and the Service share the Sandbox's name, so it must do for all of them.
/// Those of Services are stricter: they start with a letter.
pub(super) fn name(sandbox: &Sandbox) -> Vec<FieldError> {
    let name = sandbox.metadata.name.as_deref().unwrap_or_default();
    let rule = if sandbox.spec.service == Some(true) {
        names::dns_1035_label
    } else {
        names::dns_1123_label
    };
    let mut errors = Vec::new();
    names::check(&mut errors, "metadata.name", name, rule);
    errors
}

/// What may not change.
pub(super) fn change(new: &Sandbox, old: &Sandbox) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new.spec.volume_claim_templates != old.spec.volume_claim_templates {
        let detail = "volumeClaimTemplates is immutable";
        errors.push(FieldError::forbidden("spec.volumeClaimTemplates", detail));
    }
    // A running Pod keeps the isolation it was started with. The spec must not claim another one
    // for it, so the level changes only while there surely is no Pod.
    let phase = old.status.as_ref().and_then(|status| status.phase);
    if new.spec.isolation_level() != old.spec.isolation_level()
        && phase != Some(SandboxPhase::Suspended)
    {
        let detail = "may only be changed while the Sandbox is suspended";
        errors.push(FieldError::forbidden("spec.isolation.level", detail));
    }
    errors
}

#[cfg(test)]
mod tests;
