//! PersistentVolumeClaims: one per volume claim template, outliving the Pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use sandbox_api::{Sandbox, VolumeClaimTemplate};

use super::{metadata, name_of, system_labels, without_reserved};

/// `<template>-<sandbox>`, as with a StatefulSet.
pub fn claim_name(sandbox: &Sandbox, template: &VolumeClaimTemplate) -> String {
    format!("{}-{}", template.name(), name_of(sandbox))
}

pub fn build(sandbox: &Sandbox, template: &VolumeClaimTemplate) -> PersistentVolumeClaim {
    let (mut labels, mut annotations) = (BTreeMap::new(), BTreeMap::new());
    if let Some(own) = &template.metadata {
        labels = without_reserved(&own.labels);
        annotations = without_reserved(&own.annotations);
    }
    labels.extend(system_labels(sandbox));
    PersistentVolumeClaim {
        metadata: metadata(sandbox, claim_name(sandbox, template), labels, annotations),
        spec: Some(template.spec.clone()),
        status: None,
    }
}
