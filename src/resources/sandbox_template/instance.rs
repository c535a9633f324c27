//! What a Sandbox made from a template is: for warm pools and for claims alike.

use std::collections::BTreeMap;

use sandbox_api::{SandboxSpec, SandboxTemplate, SandboxTemplateSpec, keys};
use serde::Serialize;

use crate::hash;

/// 64 bits: two revisions of one template never share it.
const REVISION_BYTES: usize = 8;

/// What makes a Pod differ. Metadata does not count: it is brought to running Pods.
#[derive(Serialize)]
struct Fingerprint<'a> {
    pod: &'a k8s_openapi::api::core::v1::PodSpec,
    volumes: Vec<(&'a str, &'a k8s_openapi::api::core::v1::PersistentVolumeClaimSpec)>,
    service: Option<bool>,
    isolation: sandbox_api::IsolationLevel,
}

/// The revision of a template: a hash of what makes a Pod differ, the same for every spelling of
/// the same content.
pub fn revision(spec: &SandboxTemplateSpec) -> String {
    let volumes = &spec.volume_claim_templates;
    let fingerprint = Fingerprint {
        pod: &spec.pod_template.spec,
        volumes: volumes.iter().map(|volume| (volume.name(), &volume.spec)).collect(),
        service: spec.service,
        isolation: spec.isolation_level(),
    };
    let text = serde_json::to_vec(&fingerprint).expect("plain data serializes");
    hash::hex(&text, REVISION_BYTES)
}

/// The parts of a Sandbox that come from its template.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    pub spec: SandboxSpec,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// A Sandbox of the template. Code nobody reviewed gets no token of the cluster unless the template
/// asks for one.
pub fn instance(template: &SandboxTemplate) -> Instance {
    let name = template.metadata.name.as_deref().unwrap_or_default();
    let mut pod_template = template.spec.pod_template.clone();
    pod_template.spec.automount_service_account_token.get_or_insert(false);
    let spec = SandboxSpec {
        pod_template,
        volume_claim_templates: template.spec.volume_claim_templates.clone(),
        service: template.spec.service,
        isolation: template.spec.isolation,
        ..SandboxSpec::default()
    };
    let labels = BTreeMap::from([
        (keys::SANDBOX_TEMPLATE_REF_HASH.to_owned(), hash::name_hash(name)),
        (keys::SANDBOX_TEMPLATE_HASH.to_owned(), revision(&template.spec)),
    ]);
    let annotations = BTreeMap::from([(keys::SANDBOX_TEMPLATE_REF.to_owned(), name.to_owned())]);
    Instance { spec, labels, annotations }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(spec: &Value) -> SandboxTemplate {
        let mut object = json!({
            "metadata": {"name": "python", "namespace": "default"},
            "spec": {"podTemplate": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_revision_is_of_what_makes_a_pod_differ() {
        let same = [
            json!({}),
            json!({"isolation": {"level": "Standard"}}),
            json!({"networkPolicyManagement": "Unmanaged", "envVarsInjectionPolicy": "Allowed"}),
            json!({"podTemplate": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"image": "busybox", "name": "main"}]},
            }}),
        ];
        let others = [
            json!({"service": true}),
            json!({"isolation": {"level": "UserKernel"}}),
            json!({"podTemplate": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}),
            json!({"volumeClaimTemplates": [{"metadata": {"name": "w"}, "spec": {}}]}),
        ];
        let base = revision(&template(&json!({})).spec);
        assert_eq!(base.len(), 16);
        for spec in &same {
            assert_eq!(revision(&template(spec).spec), base, "{spec}");
        }
        for spec in &others {
            assert_ne!(revision(&template(spec).spec), base, "{spec}");
        }
    }

    #[test]
    fn an_instance_has_the_blueprint_and_knows_its_template() {
        let template = template(&json!({"service": true, "isolation": {"level": "UserKernel"}}));
        let instance = instance(&template);
        assert_eq!(instance.spec.service, Some(true));
        assert_eq!(instance.spec.isolation, template.spec.isolation);
        assert_eq!(instance.spec.pod_template.spec.automount_service_account_token, Some(false));
        assert_eq!(instance.labels[keys::SANDBOX_TEMPLATE_HASH], revision(&template.spec));
        assert_eq!(instance.labels[keys::SANDBOX_TEMPLATE_REF_HASH], hash::name_hash("python"));
        assert_eq!(instance.annotations[keys::SANDBOX_TEMPLATE_REF], "python");
    }

    #[test]
    fn a_token_that_is_asked_for_is_given() {
        let template = template(&json!({"podTemplate": {"spec": {
            "automountServiceAccountToken": true,
            "containers": [{"name": "main", "image": "busybox"}],
        }}}));
        let spec = instance(&template).spec.pod_template.spec;
        assert_eq!(spec.automount_service_account_token, Some(true));
    }
}
