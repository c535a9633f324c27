//! The Pod: built once per launch; later only its metadata follows the Sandbox.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume};
use sandbox_api::{PodTemplate, Sandbox, keys};

use super::{claim, metadata, name_of, owner_reference, system_labels, without_reserved};
use crate::cluster::{ChildMeta, MetadataPatch};

/// Labels of the Sandbox that its Pod shows too: policies and users select Pods by them.
const MIRRORED_LABELS: [&str; 2] = [keys::SANDBOX_TEMPLATE_REF_HASH, keys::CLAIM_UID];

/// Longest name that can be a host name.
const HOSTNAME_MAX: usize = 63;

pub fn build(sandbox: &Sandbox, runtime_class: Option<&str>, with_service: bool) -> Pod {
    let wanted = Wanted::of(sandbox);
    let mut annotations = wanted.annotations;
    if let Some(moment) = restarted_at(sandbox) {
        annotations.insert(keys::RESTARTED_AT.into(), moment.into());
    }
    Pod {
        metadata: metadata(sandbox, name_of(sandbox).to_owned(), wanted.labels, annotations),
        spec: Some(spec(sandbox, runtime_class, with_service)),
        status: None,
    }
}

/// When a restart was last asked for.
pub fn restarted_at(sandbox: &Sandbox) -> Option<&str> {
    sandbox.metadata.annotations.as_ref()?.get(keys::RESTARTED_AT).map(String::as_str)
}

/// What has to change in a living Pod's metadata; empty if nothing. Keys that were propagated
/// once and are no longer asked for go; keys of others stay.
pub fn metadata_patch(sandbox: &Sandbox, pod: &ChildMeta) -> MetadataPatch {
    let wanted = Wanted::of(sandbox);
    let old_labels = listed(pod, keys::PROPAGATED_LABELS);
    let old_annotations = listed(pod, keys::PROPAGATED_ANNOTATIONS);
    let mut labels = difference(&pod.labels, &wanted.labels, old_labels);
    for key in MIRRORED_LABELS {
        if pod.labels.contains_key(key) && !wanted.labels.contains_key(key) {
            labels.insert(key.into(), None);
        }
    }
    let lists = [keys::PROPAGATED_LABELS, keys::PROPAGATED_ANNOTATIONS].into_iter();
    let old_annotations = old_annotations.chain(lists.map(str::to_owned));
    let annotations = difference(&pod.annotations, &wanted.annotations, old_annotations);
    MetadataPatch { uid: pod.uid.clone(), labels, annotations, owner: None }
}

/// Takes an unowned Pod over: it gets the Sandbox's metadata and its owner reference.
pub fn adoption_patch(sandbox: &Sandbox, pod: &ChildMeta) -> MetadataPatch {
    let mut patch = metadata_patch(sandbox, pod);
    patch.owner = Some(Box::new(owner_reference(sandbox)));
    if let Some(moment) = restarted_at(sandbox) {
        patch.annotations.insert(keys::RESTARTED_AT.into(), Some(moment.into()));
    }
    patch
}

/// The metadata that follows the Sandbox, with the record of which keys are the users'.
struct Wanted {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Wanted {
    fn of(sandbox: &Sandbox) -> Self {
        let (mut labels, mut annotations) = (BTreeMap::new(), BTreeMap::new());
        if let PodTemplate { metadata: Some(own), .. } = &sandbox.spec.pod_template {
            labels = without_reserved(&own.labels);
            annotations = without_reserved(&own.annotations);
        }
        let records = [
            (keys::PROPAGATED_LABELS, joined(&labels)),
            (keys::PROPAGATED_ANNOTATIONS, joined(&annotations)),
        ];
        for (key, list) in records {
            if !list.is_empty() {
                annotations.insert(key.into(), list);
            }
        }
        labels.extend(system_labels(sandbox));
        for key in MIRRORED_LABELS {
            if let Some(value) = sandbox.metadata.labels.as_ref().and_then(|all| all.get(key)) {
                labels.insert(key.into(), value.clone());
            }
        }
        Self { labels, annotations }
    }
}

fn joined(map: &BTreeMap<String, String>) -> String {
    map.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn listed<'a>(pod: &'a ChildMeta, key: &str) -> impl Iterator<Item = String> + use<'a> {
    let list = pod.annotations.get(key).map(String::as_str).unwrap_or_default();
    list.split(',').filter(|key| !key.is_empty()).map(str::to_owned)
}

fn difference(
    current: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    old: impl Iterator<Item = String>,
) -> BTreeMap<String, Option<String>> {
    let gone = old.filter(|key| current.contains_key(key) && !wanted.contains_key(key));
    let mut patch: BTreeMap<_, _> = gone.map(|key| (key, None)).collect();
    let new = wanted.iter().filter(|(key, value)| current.get(*key) != Some(value));
    patch.extend(new.map(|(key, value)| (key.clone(), Some(value.clone()))));
    patch
}

fn spec(sandbox: &Sandbox, runtime_class: Option<&str>, with_service: bool) -> PodSpec {
    let mut spec = sandbox.spec.pod_template.spec.clone();
    let name = name_of(sandbox);
    if spec.hostname.is_none() && is_label(name) {
        spec.hostname = Some(name.to_owned());
        if with_service && spec.subdomain.is_none() {
            spec.subdomain = Some(name.to_owned());
        }
    }
    // A workload that nobody trusts gets no token unless its template asks for one.
    spec.automount_service_account_token.get_or_insert(false);
    if let Some(class) = runtime_class {
        spec.runtime_class_name = Some(class.to_owned());
    }
    let claimed = volumes(sandbox);
    if !claimed.is_empty() {
        let all = spec.volumes.get_or_insert_default();
        all.retain(|volume| !claimed.iter().any(|claim| claim.name == volume.name));
        all.extend(claimed);
    }
    spec
}

fn volumes(sandbox: &Sandbox) -> Vec<Volume> {
    let templates = sandbox.spec.volume_claim_templates.iter();
    templates
        .map(|template| Volume {
            name: template.name().to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim::claim_name(sandbox, template),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect()
}

/// Whether `name` is a DNS label, as host names must be; Sandbox names may be longer or dotted.
fn is_label(name: &str) -> bool {
    !name.is_empty() && name.len() <= HOSTNAME_MAX && !name.contains('.')
}
