//! Rules for what Sandboxes are made from: the Pod template and the volume claim templates, which
//! Sandboxes, templates and claims share.
//!
//! Checked is what this server relies on itself and what would otherwise fail only after the
//! object is accepted, far from the user. The rest of a Pod's rules are kube-apiserver's to
//! judge, when the Pod is made: they depend on its version and its admission.

use std::collections::BTreeSet;

use apiserver::field::FieldError;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use sandbox_api::{IsolationLevel, PodTemplate, VolumeClaimTemplate, keys};
use serde_json::Value;

use super::names;

/// What a Sandbox is made from.
pub(super) struct Blueprint<'a> {
    pub pod_template: &'a PodTemplate,
    pub volume_claim_templates: &'a [VolumeClaimTemplate],
    pub isolation_level: IsolationLevel,
}

impl Blueprint<'_> {
    /// Errors with paths below `spec`.
    pub(super) fn validate(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(metadata) = &self.pod_template.metadata {
            let field = "spec.podTemplate.metadata";
            names::check_labels(&mut errors, &format!("{field}.labels"), &metadata.labels);
            let annotations = format!("{field}.annotations");
            names::check_annotations(&mut errors, &annotations, &metadata.annotations);
        }
        self.check_pod(&mut errors, "spec.podTemplate.spec", &self.pod_template.spec);
        errors.extend(volume_claim_templates(self.volume_claim_templates));
        errors
    }

    /// Reserved keys stay in the object, so that what a user applied is what a user reads, and are
    /// not passed on to the Pod.
    pub(super) fn warnings(&self) -> Vec<String> {
        let Some(metadata) = &self.pod_template.metadata else { return Vec::new() };
        let all =
            [("labels", metadata.labels.keys()), ("annotations", metadata.annotations.keys())];
        let mut warnings = Vec::new();
        for (field, keys) in all {
            warnings.extend(keys.filter(|key| keys::is_reserved(key)).map(|key| {
                format!("spec.podTemplate.metadata.{field}[{key}]: reserved, not set on the Pod")
            }));
        }
        warnings
    }

    fn check_pod(&self, errors: &mut Vec<FieldError>, field: &str, pod: &PodSpec) {
        let volumes = self.check_volumes(errors, field, pod);
        let mut seen = BTreeSet::new();
        if pod.containers.is_empty() {
            errors.push(FieldError::required(format!("{field}.containers"), ""));
        }
        let init = pod.init_containers.as_deref().unwrap_or_default();
        for (list, containers) in [("containers", &pod.containers[..]), ("initContainers", init)] {
            for (index, container) in containers.iter().enumerate() {
                let at = format!("{field}.{list}[{index}]");
                check_name(errors, &format!("{at}.name"), &container.name, &mut seen);
                check_container(errors, &at, container, &volumes);
            }
        }
        self.check_runtime_class(errors, field, pod);
    }

    /// Returns the names that mounts can refer to.
    fn check_volumes<'a>(
        &'a self,
        errors: &mut Vec<FieldError>,
        field: &str,
        pod: &'a PodSpec,
    ) -> BTreeSet<&'a str> {
        let mut volumes = BTreeSet::new();
        for (index, volume) in pod.volumes.iter().flatten().enumerate() {
            let at = format!("{field}.volumes[{index}].name");
            check_name(errors, &at, &volume.name, &mut volumes);
        }
        // One of the same name replaces the volume, as in a StatefulSet.
        volumes.extend(self.volume_claim_templates.iter().map(VolumeClaimTemplate::name));
        volumes
    }

    /// A level above Standard is a promise about the RuntimeClass that the server keeps by choosing
    /// it, for which level maps to which class is the cluster's own configuration, unknown to a
    /// pure rule. So such a level forbids a `runtimeClassName`, even the one the server would
    /// choose. Standard promises nothing beyond the Pod itself and allows any.
    fn check_runtime_class(&self, errors: &mut Vec<FieldError>, field: &str, pod: &PodSpec) {
        let level = match self.isolation_level {
            IsolationLevel::Standard => return,
            IsolationLevel::UserKernel => "UserKernel",
            IsolationLevel::VirtualMachine => "VirtualMachine",
        };
        if pod.runtime_class_name.as_deref().is_some_and(|name| !name.is_empty()) {
            let detail = format!("may not be set when `isolation.level` is `{level}`");
            errors.push(FieldError::forbidden(format!("{field}.runtimeClassName"), &detail));
        }
    }
}

/// Rules of volume claim templates, with paths below `spec`.
pub(super) fn volume_claim_templates(templates: &[VolumeClaimTemplate]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, template) in templates.iter().enumerate() {
        let field = format!("spec.volumeClaimTemplates[{index}].metadata");
        check_name(&mut errors, &format!("{field}.name"), template.name(), &mut seen);
        if let Some(metadata) = &template.metadata {
            names::check_labels(&mut errors, &format!("{field}.labels"), &metadata.labels);
            let annotations = format!("{field}.annotations");
            names::check_annotations(&mut errors, &annotations, &metadata.annotations);
        }
    }
    errors
}

fn check_container(
    errors: &mut Vec<FieldError>,
    field: &str,
    container: &Container,
    volumes: &BTreeSet<&str>,
) {
    if container.image.as_deref().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{field}.image"), ""));
    }
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = format!("{field}.volumeMounts[{index}].name");
        if mount.name.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !volumes.contains(mount.name.as_str()) {
            errors.push(FieldError::not_found(at, &Value::from(mount.name.as_str())));
        }
    }
}

/// A name that must be there, be a DNS label and not be in `seen` yet.
fn check_name<'a>(
    errors: &mut Vec<FieldError>,
    field: &str,
    name: &'a str,
    seen: &mut BTreeSet<&'a str>,
) {
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    names::check(errors, field, name, names::dns_1123_label);
    if !seen.insert(name) {
        errors.push(FieldError::duplicate(field, &Value::from(name)));
    }
}
