use apiserver::field::FieldError;
use apiserver::registry::Validation;
use sandbox_api::{RollingUpdate, SandboxWarmPool, UpdateStrategyType};
use serde_json::Value;

use super::pace::{self, Pace};
use crate::resources::names;
use crate::resources::typed::Rules;

/// The rules of a SandboxWarmPool.
pub(super) struct WarmPoolRules;

impl Rules for WarmPoolRules {
    type Kind = SandboxWarmPool;
    const TIMES: &'static [&'static str] = &[];

    fn validate(new: &SandboxWarmPool, _old: Option<&SandboxWarmPool>) -> Validation {
        let mut errors = Vec::new();
        // Names of Sandboxes in stock begin with the pool's name.
        let name = new.metadata.name.as_deref().unwrap_or_default();
        names::check(&mut errors, "metadata.name", name, names::dns_1123_label);
        let replicas = new.spec.replicas();
        if replicas < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid("spec.replicas", &Value::from(replicas), detail));
        }
        if new.spec.sandbox_template_ref.name.is_empty() {
            errors.push(FieldError::required("spec.sandboxTemplateRef.name", ""));
        }
        let mut warnings = Vec::new();
        if let Some(rolling) =
            new.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref())
        {
            check_pace(&mut errors, rolling, replicas);
            if new.spec.update_strategy() != UpdateStrategyType::RollingUpdate {
                warnings.push(
                    "spec.updateStrategy.rollingUpdate: no effect unless type is RollingUpdate"
                        .into(),
                );
            }
        }
        Validation { errors, warnings }
    }
}

/// As `k8s.io/kubernetes/pkg/apis/apps/validation` ValidateRollingUpdateDeployment.
fn check_pace(errors: &mut Vec<FieldError>, rolling: &RollingUpdate, replicas: i32) {
    let field = "spec.updateStrategy.rollingUpdate";
    let mut bad = false;
    for (name, value) in
        [("maxSurge", &rolling.max_surge), ("maxUnavailable", &rolling.max_unavailable)]
    {
        let Some(value) = value else { continue };
        if let Err(detail) = pace::check(value, name == "maxUnavailable") {
            let json = serde_json::to_value(value).unwrap_or_default();
            errors.push(FieldError::invalid(format!("{field}.{name}"), &json, detail));
            bad = true;
        }
    }
    let pace = Pace::of(Some(rolling), replicas);
    if !bad && replicas > 0 && pace.is_standstill(rolling) {
        let detail = "may not be 0 when `maxSurge` is 0";
        let json = serde_json::to_value(&rolling.max_unavailable).unwrap_or_default();
        errors.push(FieldError::invalid(format!("{field}.maxUnavailable"), &json, detail));
    }
}

#[cfg(test)]
mod tests {
    use apiserver::meta::Object;
    use serde_json::{Value, json};

    use crate::resources::tests::{errors, validate_create};

    fn pool(name: &str, spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    #[test]
    fn pools() {
        let reference = json!({"name": "t"});
        for (name, spec, expected) in [
            ("p", json!({"sandboxTemplateRef": reference}), vec![]),
            ("p", json!({"replicas": 0, "sandboxTemplateRef": reference}), vec![]),
            (
                "p",
                json!({"sandboxTemplateRef": reference, "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0},
                }}),
                vec![],
            ),
            (
                "p",
                json!({"sandboxTemplateRef": reference, "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0},
                }}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not \
                     be 0 when `maxSurge` is 0",
                ],
            ),
            (
                "p",
                json!({"sandboxTemplateRef": reference, "updateStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "x", "maxUnavailable": "101%"},
                }}),
                vec![
                    "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid \
                     percent string must be a numeric string followed by an ending '%' (e.g. \
                     '1%', or '93%', regex used for validation is '[0-9]+%')",
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": \
                     must not be greater than 100%",
                ],
            ),
            (
                "p",
                json!({"replicas": -1, "sandboxTemplateRef": reference}),
                vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                "p",
                json!({"sandboxTemplateRef": {"name": ""}}),
                vec!["spec.sandboxTemplateRef.name: Required value"],
            ),
            (
                "p",
                json!({}),
                vec!["spec: Invalid value: \"object\": missing field `sandboxTemplateRef`"],
            ),
        ] {
            let got = validate_create("sandboxwarmpools", &pool(name, spec.clone()));
            assert_eq!(errors(&got), expected, "{spec}");
        }
        let got = validate_create(
            "sandboxwarmpools",
            &pool("a.b", json!({"sandboxTemplateRef": reference})),
        );
        assert!(errors(&got)[0].starts_with("metadata.name: Invalid value: \"a.b\": a lowercase"));
    }
}
