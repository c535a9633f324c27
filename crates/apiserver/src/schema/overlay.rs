//! List types that `k8s-openapi` leaves out.
//!
//! Its schemas carry `x-kubernetes-list-type` for a few types only; the facts below are those of
//! `api/openapi-spec/v3` in kubernetes v1.37.2. Without them two containers of one name would
//! pass.

use serde_json::{Value, json};

/// Adds list types to a Kubernetes type that is known to need them.
pub(super) fn apply(name: &str, schema: &mut Value) {
    let Some(short) = name.strip_prefix("io.k8s.api.core.v1.") else { return };
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (_, property, keys) in LIST_MAPS.iter().filter(|row| row.0 == short) {
        if let Some(Value::Object(list)) = properties.get_mut(*property) {
            list.insert("x-kubernetes-list-type".into(), "map".into());
            list.insert("x-kubernetes-list-map-keys".into(), json!(keys));
        }
    }
    for (_, property) in ATOMIC_LISTS.iter().filter(|row| row.0 == short) {
        if let Some(Value::Object(list)) = properties.get_mut(*property) {
            list.insert("x-kubernetes-list-type".into(), "atomic".into());
        }
    }
    if short == "PodSpec"
        && let Some(Value::Object(selector)) = properties.get_mut("nodeSelector")
    {
        selector.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
}

/// Type, field, keys. Built-in kinds let `env` and `ports` repeat (with a warning at most), so
/// these two are not listed.
const LIST_MAPS: &[(&str, &str, &[&str])] = &[
    ("PodSpec", "containers", &["name"]),
    ("PodSpec", "ephemeralContainers", &["name"]),
    ("PodSpec", "hostAliases", &["ip"]),
    ("PodSpec", "initContainers", &["name"]),
    ("PodSpec", "resourceClaims", &["name"]),
    ("PodSpec", "schedulingGates", &["name"]),
    ("PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("PodSpec", "volumes", &["name"]),
    ("Container", "volumeDevices", &["devicePath"]),
    ("Container", "volumeMounts", &["mountPath"]),
    ("EphemeralContainer", "volumeDevices", &["devicePath"]),
    ("EphemeralContainer", "volumeMounts", &["mountPath"]),
    ("ResourceRequirements", "claims", &["name"]),
];

const ATOMIC_LISTS: &[(&str, &str)] = &[
    ("PodSpec", "readinessGates"),
    ("PodSpec", "tolerations"),
    ("Container", "args"),
    ("Container", "command"),
    ("Container", "envFrom"),
    ("Container", "resizePolicy"),
    ("Container", "restartPolicyRules"),
    ("EphemeralContainer", "args"),
    ("EphemeralContainer", "command"),
    ("EphemeralContainer", "envFrom"),
    ("PodSecurityContext", "supplementalGroups"),
    ("PodSecurityContext", "sysctls"),
    ("Capabilities", "add"),
    ("Capabilities", "drop"),
];
