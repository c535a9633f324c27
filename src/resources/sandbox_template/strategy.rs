use apiserver::registry::Validation;
use sandbox_api::{NetworkPolicyManagement, SandboxTemplate};

use crate::resources::blueprint::Blueprint;
use crate::resources::typed::Rules;

/// The rules of a SandboxTemplate. Everything in it may change: Sandboxes keep what they were made
/// from.
pub(super) struct TemplateRules;

impl Rules for TemplateRules {
    type Kind = SandboxTemplate;
    const TIMES: &'static [&'static str] = &[];

    fn validate(new: &SandboxTemplate, _old: Option<&SandboxTemplate>) -> Validation {
        let blueprint = Blueprint {
            pod_template: &new.spec.pod_template,
            volume_claim_templates: &new.spec.volume_claim_templates,
            isolation_level: new.spec.isolation_level(),
        };
        let mut warnings = blueprint.warnings();
        let unmanaged = new.spec.network_policy_management() == NetworkPolicyManagement::Unmanaged;
        if unmanaged && new.spec.network_policy.is_some() {
            warnings.push(
                "spec.networkPolicy: no effect while networkPolicyManagement is Unmanaged".into(),
            );
        }
        Validation { errors: blueprint.validate(), warnings }
    }
}

#[cfg(test)]
mod tests {
    use apiserver::meta::Object;
    use serde_json::{Value, json};

    use crate::resources::tests::{errors, validate_create};

    fn template(spec: Value) -> Object {
        let mut object = json!({
            "apiVersion": "sandbox.x-k8s.io/v1beta1",
            "kind": "SandboxTemplate",
            "metadata": {"name": "python", "namespace": "default"},
            "spec": {"podTemplate": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
        });
        json_merge(&mut object["spec"], spec);
        Object::from_value(object).unwrap()
    }

    fn json_merge(into: &mut Value, from: Value) {
        for (key, value) in from.as_object().unwrap() {
            into[key] = value.clone();
        }
    }

    #[test]
    fn good_templates() {
        for spec in [
            json!({}),
            json!({"service": true, "isolation": {"level": "UserKernel"}}),
            json!({"networkPolicy": {"ingress": [], "egress": [{}]}}),
            json!({"envVarsInjectionPolicy": "Overrides", "volumeClaimTemplatesPolicy": "Allowed"}),
        ] {
            let got = validate_create("sandboxtemplates", &template(spec.clone()));
            assert_eq!((errors(&got), got.warnings), (vec![], vec![]), "{spec}");
        }
    }

    #[test]
    fn a_policy_nobody_keeps_is_warned_about() {
        let spec = json!({"networkPolicy": {}, "networkPolicyManagement": "Unmanaged"});
        let got = validate_create("sandboxtemplates", &template(spec));
        assert_eq!(
            got.warnings,
            ["spec.networkPolicy: no effect while networkPolicyManagement is Unmanaged"]
        );
    }

    #[test]
    fn the_blueprint_is_checked() {
        let spec = json!({"podTemplate": {"spec": {"containers": []}}});
        let got = validate_create("sandboxtemplates", &template(spec));
        assert_eq!(errors(&got), ["spec.podTemplate.spec.containers: Required value"]);
    }
}
