//! Which NetworkPolicy a template has, and what is to be done about the one that is there. Pure.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sandbox_api::{API_VERSION, NetworkPolicyManagement, SandboxTemplate, TemplateNetworkPolicy};
use serde_json::Value;

use crate::cluster::policies::TEMPLATE_LABEL;
use crate::hash::name_hash;

const KIND: &str = "SandboxTemplate";
const SUFFIX: &str = "-network-policy";

/// The longest name of an object.
const NAME_MAX: usize = 253;

/// What the strict default lets nobody reach: private networks, and the link with the metadata
/// services of clouds.
const PRIVATE_V4: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"];
const PRIVATE_V6: [&str; 2] = ["fc00::/7", "fe80::/10"];

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Nothing,
    Create(Box<NetworkPolicy>),
    /// Carries the uid and resourceVersion of what was there.
    Replace(Box<NetworkPolicy>),
    Delete {
        uid: String,
    },
    /// On its way out; the name is free when it is gone.
    Wait,
    /// The name is taken by an object that is not ours to touch.
    Foreign {
        message: String,
    },
}

/// The name of the policy of a template. Too long a name is shortened and told apart by its hash.
pub(super) fn policy_name(template: &str) -> String {
    if template.len() + SUFFIX.len() <= NAME_MAX {
        return format!("{template}{SUFFIX}");
    }
    let hash = name_hash(template);
    let room = NAME_MAX - SUFFIX.len() - hash.len() - 1;
    let start = template.get(..room).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{start}-{hash}{SUFFIX}")
}

/// What to do, the policy of the template's name being `found`.
pub(super) fn plan(template: &SandboxTemplate, found: Option<&NetworkPolicy>) -> Step {
    let managed = template.spec.network_policy_management() == NetworkPolicyManagement::Managed;
    let Some(found) = found else {
        return if managed { Step::Create(Box::new(policy(template))) } else { Step::Nothing };
    };
    let uid = template.metadata.uid.as_deref().unwrap_or_default();
    let controller = controller(found);
    let ours = !uid.is_empty() && controller.is_some_and(|owner| owner.uid == uid);
    let leaving = found.metadata.deletion_timestamp.is_some();
    match (managed, ours, leaving) {
        (true, true, false) => match corrected(template, found) {
            Some(policy) => Step::Replace(Box::new(policy)),
            None => Step::Nothing,
        },
        (false, true, false) => {
            Step::Delete { uid: found.metadata.uid.clone().unwrap_or_default() }
        }
        (true, _, true) => Step::Wait,
        (true, false, false) => Step::Foreign { message: foreign(found, controller) },
        (false, ..) => Step::Nothing,
    }
}

/// The policy of a template.
fn policy(template: &SandboxTemplate) -> NetworkPolicy {
    let name = template.metadata.name.as_deref().unwrap_or_default();
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(policy_name(name)),
            namespace: template.metadata.namespace.clone(),
            labels: Some([(TEMPLATE_LABEL.to_owned(), name_hash(name))].into()),
            owner_references: Some(vec![owner_reference(template)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(template)),
    }
}

/// What others added to its metadata stays. None if it is as it should be.
fn corrected(template: &SandboxTemplate, found: &NetworkPolicy) -> Option<NetworkPolicy> {
    let wanted = policy(template);
    let mut new = found.clone();
    let labels = new.metadata.labels.get_or_insert_default();
    labels.extend(wanted.metadata.labels.into_iter().flatten());
    let owner = owner_reference(template);
    let owners = new.metadata.owner_references.get_or_insert_default();
    if !owners.contains(&owner) {
        owners.retain(|known| known.uid != owner.uid);
        owners.push(owner);
    }
    let same_metadata = new.metadata.labels == found.metadata.labels
        && new.metadata.owner_references == found.metadata.owner_references;
    if same_metadata && normal(found.spec.as_ref()) == normal(wanted.spec.as_ref()) {
        return None;
    }
    new.spec = wanted.spec;
    Some(new)
}

/// The form that does not depend on whether the cluster has filled in its defaults and left out
/// what is empty.
fn normal(spec: Option<&NetworkPolicySpec>) -> Value {
    fn tidy(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(tidy);
                fields.retain(|name, value| match value {
                    Value::Null => false,
                    Value::Array(items) => !items.is_empty(),
                    // Elsewhere an empty object says something: a selector of everything.
                    Value::Object(labels) => name != "matchLabels" || !labels.is_empty(),
                    _ => true,
                });
            }
            Value::Array(items) => items.iter_mut().for_each(tidy),
            _ => {}
        }
    }
    let mut spec = spec.cloned().unwrap_or_default();
    let egress = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
    let ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
    for port in egress.chain(ingress).flatten() {
        port.protocol.get_or_insert_with(|| "TCP".into());
    }
    spec.pod_selector.get_or_insert_default();
    let mut value = serde_json::to_value(&spec).unwrap_or_default();
    tidy(&mut value);
    value
}

fn spec(template: &SandboxTemplate) -> NetworkPolicySpec {
    let name = template.metadata.name.as_deref().unwrap_or_default();
    let rules = template.spec.network_policy.clone().map_or_else(strict, with_dns);
    NetworkPolicySpec {
        pod_selector: Some(labels(TEMPLATE_LABEL, name_hash(name))),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(rules.ingress),
        egress: Some(rules.egress),
    }
}

/// Nobody gets in; out is the public internet. Exec and port-forward go through the kubelet, which
/// no policy concerns.
fn strict() -> TemplateNetworkPolicy {
    let block = |cidr: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.into(),
            except: Some(except.iter().map(|&cidr| cidr.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    let public = NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", &PRIVATE_V4), block("::/0", &PRIVATE_V6)]),
        ports: None,
    };
    TemplateNetworkPolicy { ingress: Vec::new(), egress: vec![public, dns()] }
}

/// Whoever may reach anything may ask for its address.
fn with_dns(mut rules: TemplateNetworkPolicy) -> TemplateNetworkPolicy {
    if !rules.egress.is_empty() {
        rules.egress.push(dns());
    }
    rules
}

/// The cluster's DNS.
fn dns() -> NetworkPolicyEgressRule {
    let port = |protocol: &str| NetworkPolicyPort {
        port: Some(IntOrString::Int(53)),
        protocol: Some(protocol.into()),
        end_port: None,
    };
    let servers = NetworkPolicyPeer {
        namespace_selector: Some(labels("kubernetes.io/metadata.name", "kube-system".into())),
        pod_selector: Some(labels("k8s-app", "kube-dns".into())),
        ip_block: None,
    };
    NetworkPolicyEgressRule { to: Some(vec![servers]), ports: Some(vec![port("UDP"), port("TCP")]) }
}

fn labels(key: &str, value: String) -> LabelSelector {
    LabelSelector { match_labels: Some([(key.to_owned(), value)].into()), match_expressions: None }
}

fn owner_reference(template: &SandboxTemplate) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        name: template.metadata.name.clone().unwrap_or_default(),
        uid: template.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn controller(policy: &NetworkPolicy) -> Option<&OwnerReference> {
    let mut owners = policy.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller.unwrap_or_default())
}

fn foreign(found: &NetworkPolicy, controller: Option<&OwnerReference>) -> String {
    let name = found.metadata.name.as_deref().unwrap_or_default();
    let holder = match controller {
        Some(owner) if owner.kind == KIND => {
            format!("it belongs to another {KIND} {:?} with uid {}", owner.name, owner.uid)
        }
        Some(owner) => format!("it is controlled by {} {:?}", owner.kind, owner.name),
        None => "it has no controller".into(),
    };
    format!("NetworkPolicy {name:?} already exists and is not managed by this template: {holder}")
}

#[cfg(test)]
mod tests;
