//! What a claim may change of its template: judged when it is admitted, and applied to the Sandbox
//! that is made for it. Pure.

use std::collections::BTreeMap;

use apiserver::field::FieldError;
use k8s_openapi::api::core::v1::{Container, EnvVar as PodEnvVar};
use sandbox_api::{
    EnvVar, InjectionPolicy, PodMetadata, SandboxClaimSpec, SandboxSpec, SandboxTemplateSpec,
};
use serde_json::Value;

/// What the template's policies have against the claim.
pub(super) fn check(claim: &SandboxClaimSpec, template: &SandboxTemplateSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(metadata) = &claim.additional_pod_metadata {
        check_metadata(&mut errors, metadata, template.pod_template.metadata.as_ref());
    }
    check_env(&mut errors, claim, template);
    check_volumes(&mut errors, claim, template);
    errors
}

/// What the template sets is the platform's, not the claimant's.
fn check_metadata(
    errors: &mut Vec<FieldError>,
    asked: &PodMetadata,
    template: Option<&PodMetadata>,
) {
    let Some(template) = template else { return };
    let fields = [
        ("labels", &asked.labels, &template.labels),
        ("annotations", &asked.annotations, &template.annotations),
    ];
    for (field, asked, set) in fields {
        for key in asked.iter().filter(|(key, value)| set.get(*key).is_some_and(|it| it != *value))
        {
            errors.push(FieldError::forbidden(
                format!("spec.additionalPodMetadata.{field}[{}]", key.0),
                "the template sets it to another value",
            ));
        }
    }
}

fn check_env(
    errors: &mut Vec<FieldError>,
    claim: &SandboxClaimSpec,
    template: &SandboxTemplateSpec,
) {
    if claim.env.is_empty() {
        return;
    }
    let policy = template.env_vars_injection_policy();
    if policy == InjectionPolicy::Disallowed {
        let detail = "the template's envVarsInjectionPolicy is Disallowed";
        errors.push(FieldError::forbidden("spec.env", detail));
        return;
    }
    let containers = &template.pod_template.spec.containers;
    for (index, var) in claim.env.iter().enumerate() {
        let Some(container) = container_of(containers, var) else {
            let name = Value::from(var.container_name.as_deref().unwrap_or_default());
            errors.push(FieldError::not_found(format!("spec.env[{index}].containerName"), &name));
            continue;
        };
        if policy == InjectionPolicy::Overrides {
            continue;
        }
        // What comes from elsewhere may hold any name.
        if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
            let detail = "the container takes its environment from elsewhere, and the template's \
                          envVarsInjectionPolicy allows new names only";
            errors.push(FieldError::forbidden(format!("spec.env[{index}]"), detail));
        } else if container.env.iter().flatten().any(|known| known.name == var.name) {
            let detail = "the template sets it, and its envVarsInjectionPolicy allows new names \
                          only";
            errors.push(FieldError::forbidden(format!("spec.env[{index}].name"), detail));
        }
    }
}

fn check_volumes(
    errors: &mut Vec<FieldError>,
    claim: &SandboxClaimSpec,
    template: &SandboxTemplateSpec,
) {
    if claim.volume_claim_templates.is_empty() {
        return;
    }
    let policy = template.volume_claim_templates_policy();
    if policy == InjectionPolicy::Disallowed {
        let detail = "the template's volumeClaimTemplatesPolicy is Disallowed";
        errors.push(FieldError::forbidden("spec.volumeClaimTemplates", detail));
        return;
    }
    if policy == InjectionPolicy::Overrides {
        return;
    }
    for (index, volume) in claim.volume_claim_templates.iter().enumerate() {
        let name = volume.name();
        let taken = template.volume_claim_templates.iter().any(|known| known.name() == name)
            || template.pod_template.spec.volumes.iter().flatten().any(|known| known.name == name);
        if taken {
            let detail = "the template has it, and its volumeClaimTemplatesPolicy allows new names \
                          only";
            let field = format!("spec.volumeClaimTemplates[{index}].metadata.name");
            errors.push(FieldError::forbidden(field, detail));
        }
    }
}

/// The container that a variable is for; without a name, the first.
fn container_of<'a>(containers: &'a [Container], var: &EnvVar) -> Option<&'a Container> {
    match var.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => containers.iter().find(|container| container.name == name),
        None => containers.first(),
    }
}

/// Puts what the claim asks for into the Sandbox that is made for it; the policies have agreed.
pub(super) fn apply(claim: &SandboxClaimSpec, sandbox: &mut SandboxSpec) {
    if let Some(metadata) = &claim.additional_pod_metadata {
        add_metadata(metadata, sandbox);
    }
    for var in &claim.env {
        let containers = &mut sandbox.pod_template.spec.containers;
        let wanted = container_of(containers, var).map(|container| container.name.clone());
        let Some(container) =
            containers.iter_mut().find(|container| Some(&container.name) == wanted.as_ref())
        else {
            continue;
        };
        let env = container.env.get_or_insert_default();
        env.retain(|known| known.name != var.name);
        env.push(PodEnvVar {
            name: var.name.clone(),
            value: Some(var.value.clone()),
            ..PodEnvVar::default()
        });
    }
    for volume in &claim.volume_claim_templates {
        sandbox.volume_claim_templates.retain(|known| known.name() != volume.name());
        sandbox.volume_claim_templates.push(volume.clone());
    }
}

/// Adds the claim's labels and annotations to those of the Pod.
pub(super) fn add_metadata(metadata: &PodMetadata, sandbox: &mut SandboxSpec) {
    let own = sandbox.pod_template.metadata.get_or_insert_default();
    let add = |into: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>| {
        into.extend(from.iter().map(|(key, value)| (key.clone(), value.clone())));
    };
    add(&mut own.labels, &metadata.labels);
    add(&mut own.annotations, &metadata.annotations);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(extra: &Value) -> SandboxTemplateSpec {
        let mut spec = json!({
            "podTemplate": {
                "metadata": {"labels": {"team": "a"}},
                "spec": {
                    "containers": [
                        {"name": "main", "image": "i", "env": [{"name": "HOME", "value": "/"}]},
                        {"name": "side", "image": "i",
                         "envFrom": [{"configMapRef": {"name": "c"}}]},
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
                },
            },
            "volumeClaimTemplates": [{"metadata": {"name": "work"}, "spec": {}}],
        });
        for (key, value) in extra.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn policies() {
        let env = |name: &str, container: &str| json!({"env": [{"name": name, "value": "v", "containerName": container}]});
        let volume = |name: &str| json!({"volumeClaimTemplates": [{"metadata": {"name": name}, "spec": {}}]});
        let env_policy = |policy: &str| json!({"envVarsInjectionPolicy": policy});
        let volume_policy = |policy: &str| json!({"volumeClaimTemplatesPolicy": policy});
        let label = |value: &str| json!({"additionalPodMetadata": {"labels": {"team": value}}});
        for (claim, policy, expected) in [
            (json!({}), json!({}), ""),
            (label("a"), json!({}), ""),
            (label("b"), json!({}), "spec.additionalPodMetadata.labels[team]"),
            (env("A", "main"), json!({}), "spec.env"),
            (env("A", "main"), env_policy("Allowed"), ""),
            (env("A", ""), env_policy("Allowed"), ""),
            (env("HOME", ""), env_policy("Allowed"), "spec.env[0].name"),
            (env("A", "side"), env_policy("Allowed"), "spec.env[0]"),
            (env("A", "none"), env_policy("Allowed"), "spec.env[0].containerName"),
            (env("HOME", "main"), env_policy("Overrides"), ""),
            (env("A", "side"), env_policy("Overrides"), ""),
            (volume("data"), json!({}), "spec.volumeClaimTemplates"),
            (volume("data"), volume_policy("Allowed"), ""),
            (
                volume("work"),
                volume_policy("Allowed"),
                "spec.volumeClaimTemplates[0].metadata.name",
            ),
            (volume("tmp"), volume_policy("Allowed"), "spec.volumeClaimTemplates[0].metadata.name"),
            (volume("work"), volume_policy("Overrides"), ""),
        ] {
            let spec: SandboxClaimSpec = serde_json::from_value(claim.clone()).unwrap();
            let found: Vec<String> =
                check(&spec, &template(&policy)).iter().map(ToString::to_string).collect();
            let fields: Vec<&str> = found
                .iter()
                .filter_map(|text| text.split_once(": ").map(|(field, _)| field))
                .collect();
            let expected: Vec<&str> =
                Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
            assert_eq!(fields, expected, "{claim} {policy}: {found:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_in_the_sandbox() {
        let claim: SandboxClaimSpec = serde_json::from_value(json!({
            "additionalPodMetadata": {"labels": {"user": "u"}},
            "env": [
                {"name": "HOME", "value": "/home"},
                {"name": "B", "value": "2", "containerName": "side"},
            ],
            "volumeClaimTemplates": [{"metadata": {"name": "work"}, "spec": {"volumeName": "v"}}],
        }))
        .unwrap();
        let template = template(&json!({}));
        let mut sandbox = SandboxSpec {
            pod_template: template.pod_template,
            volume_claim_templates: template.volume_claim_templates,
            ..SandboxSpec::default()
        };
        apply(&claim, &mut sandbox);
        let spec = serde_json::to_value(&sandbox).unwrap();
        assert_eq!(spec["podTemplate"]["metadata"]["labels"], json!({"team": "a", "user": "u"}));
        let containers = &spec["podTemplate"]["spec"]["containers"];
        assert_eq!(containers[0]["env"], json!([{"name": "HOME", "value": "/home"}]));
        assert_eq!(containers[1]["env"], json!([{"name": "B", "value": "2"}]));
        assert_eq!(spec["volumeClaimTemplates"].as_array().unwrap().len(), 1);
        assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeName"], "v");
    }
}
