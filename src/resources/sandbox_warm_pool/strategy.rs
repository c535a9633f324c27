use apiserver::field::FieldError;
use apiserver::registry::Validation;
use sandbox_api::SandboxWarmPool;
use serde_json::Value;

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
        Validation { errors, warnings: Vec::new() }
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
