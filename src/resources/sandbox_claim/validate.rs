use std::collections::{BTreeMap, BTreeSet};

use apiserver::field::{ErrorType, FieldError};
use apiserver::request::duration;
use sandbox_api::{
    ClaimShutdownPolicy, EnvVar, ObjectReference, PodMetadata, SandboxClaim, SandboxClaimSpec, keys,
};
use serde::Serialize;
use serde_json::Value;

use crate::resources::{blueprint, names};

/// A UUID, a hash in hex and most request ids are shorter.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 63;

/// The rules for a claim by itself.
pub(super) fn claim(claim: &SandboxClaim) -> Vec<FieldError> {
    let spec = &claim.spec;
    let mut errors = Vec::new();
    // A Sandbox made for the claim has the claim's name.
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    names::check(&mut errors, "metadata.name", name, names::dns_1123_label);
    check_source(&mut errors, spec);
    if let Some(key) = &spec.idempotency_key {
        let field = "spec.idempotencyKey";
        if key.is_empty() {
            errors.push(FieldError::invalid(field, &Value::from(""), "must not be empty"));
        } else if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            errors.push(FieldError::too_long(field, IDEMPOTENCY_KEY_BYTES_MAX));
        }
    }
    if let Some(text) = &spec.timeout
        && duration::parse(text).is_none_or(|limit| limit.is_zero())
    {
        let detail = "must be a positive duration, for example 30s";
        errors.push(FieldError::invalid("spec.timeout", &Value::from(text.as_str()), detail));
    }
    if let Some(metadata) = &spec.additional_pod_metadata {
        check_pod_metadata(&mut errors, metadata);
    }
    check_env(&mut errors, &spec.env);
    errors.extend(blueprint::volume_claim_templates(&spec.volume_claim_templates));
    errors
}

/// What may not change.
pub(super) fn change(new: &SandboxClaim, old: &SandboxClaim) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut check = |field: &str, same: bool, value: Value, detail: &str| {
        if !same {
            errors.push(FieldError::invalid(format!("spec.{field}"), &value, detail));
        }
    };
    let (new, old_spec) = (&new.spec, &old.spec);
    let key = json(&new.idempotency_key);
    let same_key = new.idempotency_key == old_spec.idempotency_key;
    check("idempotencyKey", same_key, key, "field is immutable");

    let bound = old.status.as_ref().is_some_and(|status| status.sandbox.is_some());
    if !bound {
        return errors;
    }
    let detail = "field is immutable once the claim is bound";
    let same = new.warm_pool_ref == old_spec.warm_pool_ref;
    check("warmPoolRef", same, json(&new.warm_pool_ref), detail);
    let same = new.sandbox_template_ref == old_spec.sandbox_template_ref;
    check("sandboxTemplateRef", same, json(&new.sandbox_template_ref), detail);
    check("env", new.env == old_spec.env, json(&new.env), detail);
    let same = new.volume_claim_templates == old_spec.volume_claim_templates;
    check("volumeClaimTemplates", same, json(&new.volume_claim_templates), detail);
    let same = new.replicas() == old_spec.replicas();
    check("replicas", same, json(&new.replicas), detail);
    errors
}

/// What is allowed but surely not meant.
pub(super) fn warnings(claim: &SandboxClaim) -> Vec<String> {
    let Some(lifecycle) = &claim.spec.lifecycle else { return Vec::new() };
    let ends = lifecycle.shutdown_time.is_some() || lifecycle.ttl_seconds_after_finished.is_some();
    if ends || lifecycle.shutdown_policy() == ClaimShutdownPolicy::Retain {
        return Vec::new();
    }
    vec![
        "spec.lifecycle.shutdownPolicy: no effect without shutdownTime or ttlSecondsAfterFinished"
            .into(),
    ]
}

fn check_source(errors: &mut Vec<FieldError>, spec: &SandboxClaimSpec) {
    if spec.warm_pool_ref.is_some() == spec.sandbox_template_ref.is_some() {
        let detail = "exactly one of warmPoolRef or sandboxTemplateRef must be set";
        errors.push(FieldError::raw(ErrorType::Invalid, "spec", "\"object\"", detail));
    }
    for (field, reference) in
        [("warmPoolRef", &spec.warm_pool_ref), ("sandboxTemplateRef", &spec.sandbox_template_ref)]
    {
        if reference.as_ref().is_some_and(|ObjectReference { name }| name.is_empty()) {
            errors.push(FieldError::required(format!("spec.{field}.name"), ""));
        }
    }
}

/// Who claims need not be who runs the platform: keys by which the server or Kubernetes steers Pods
/// are refused, not dropped, so that the claimant learns it.
fn check_pod_metadata(errors: &mut Vec<FieldError>, metadata: &PodMetadata) {
    let field = "spec.additionalPodMetadata.labels";
    names::check_labels(errors, field, &metadata.labels);
    refuse(errors, field, &metadata.labels, keys::is_reserved);
    let field = "spec.additionalPodMetadata.annotations";
    names::check_annotations(errors, field, &metadata.annotations);
    refuse(errors, field, &metadata.annotations, |key| {
        keys::is_reserved(key) || (is_of_kubernetes(key) && key != keys::SAFE_TO_EVICT)
    });
}

fn refuse(
    errors: &mut Vec<FieldError>,
    field: &str,
    map: &BTreeMap<String, String>,
    refused: impl Fn(&str) -> bool,
) {
    for key in map.keys().filter(|key| refused(key)) {
        errors.push(FieldError::forbidden(format!("{field}[{key}]"), "the key is reserved"));
    }
}

/// Whether the key is in a domain whose annotations change how Kubernetes treats a Pod.
fn is_of_kubernetes(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    let domain = domain.to_ascii_lowercase();
    ["kubernetes.io", "k8s.io"].iter().any(|parent| {
        domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn check_env(errors: &mut Vec<FieldError>, env: &[EnvVar]) {
    let mut seen = BTreeSet::new();
    for (index, var) in env.iter().enumerate() {
        let at = format!("spec.env[{index}]");
        let container = var.container_name.as_deref().unwrap_or_default();
        let name = Value::from(var.name.as_str());
        if var.name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if var.name.contains('=') || !var.name.chars().all(|c| matches!(c, ' '..='~')) {
            let detail = "must consist of printable ASCII characters without '='";
            errors.push(FieldError::invalid(format!("{at}.name"), &name, detail));
        } else if !seen.insert((container, var.name.as_str())) {
            errors.push(FieldError::duplicate(format!("{at}.name"), &name));
        }
        if !container.is_empty() {
            let field = format!("{at}.containerName");
            names::check(errors, &field, container, names::dns_1123_label);
        }
    }
}

/// For the text of an error only.
fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
