use serde_json::{Value, json};

use super::*;

fn template(spec: &Value) -> SandboxTemplate {
    let mut object = json!({
        "metadata": {"name": "python", "namespace": "ns", "uid": "u"},
        "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn dns_rule() -> Value {
    json!({
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    })
}

/// As the cluster hands it back.
fn stored(policy: &NetworkPolicy) -> NetworkPolicy {
    let mut stored = policy.clone();
    stored.metadata.uid = Some("p".into());
    stored.metadata.resource_version = Some("7".into());
    stored.spec = serde_json::from_value(normal(policy.spec.as_ref())).unwrap();
    stored
}

#[test]
fn the_rules() {
    let rule = json!({"to": [{"ipBlock": {"cidr": "1.2.3.0/24"}}], "ports": [{"port": 443}]});
    let strict = json!({"to": [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except":
            ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}},
    ]});
    for (what, policy, ingress, egress) in [
        ("the strict default", json!(null), json!([]), json!([strict, dns_rule()])),
        ("empty lists deny", json!({"ingress": [], "egress": []}), json!([]), json!([])),
        ("no lists are empty ones", json!({}), json!([]), json!([])),
        ("all in, nothing out", json!({"ingress": [{}], "egress": []}), json!([{}]), json!([])),
        ("its own, and DNS", json!({"egress": [rule]}), json!([]), json!([rule, dns_rule()])),
        ("everything out", json!({"egress": [{}]}), json!([]), json!([{}, dns_rule()])),
    ] {
        let got = serde_json::to_value(spec(&template(&json!({"networkPolicy": policy})))).unwrap();
        assert_eq!((&got["ingress"], &got["egress"]), (&ingress, &egress), "{what}");
        assert_eq!(got["policyTypes"], json!(["Ingress", "Egress"]), "{what}");
        let selected = &got["podSelector"]["matchLabels"][TEMPLATE_LABEL];
        assert_eq!(*selected, json!(name_hash("python")), "{what}");
    }
}

#[test]
fn the_policy_is_the_templates_own() {
    let got = serde_json::to_value(policy(&template(&json!({}))).metadata).unwrap();
    let wanted = json!({
        "name": "python-network-policy",
        "namespace": "ns",
        "labels": {TEMPLATE_LABEL: name_hash("python")},
        "ownerReferences": [{
            "apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "SandboxTemplate", "name": "python",
            "uid": "u", "controller": true, "blockOwnerDeletion": true,
        }],
    });
    assert_eq!(got, wanted);
}

#[test]
fn a_name_that_is_too_long_is_told_apart_by_its_hash() {
    let (one, other) = (format!("{}-1", "a".repeat(250)), format!("{}-2", "a".repeat(250)));
    assert_eq!(policy_name(&"a".repeat(238)), format!("{}-network-policy", "a".repeat(238)));
    assert!(policy_name(&one).len() <= NAME_MAX && policy_name(&one).ends_with(SUFFIX));
    assert_ne!(policy_name(&one), policy_name(&other));
    let dotted = policy_name(&format!("{}.{}", "a".repeat(204), "b".repeat(48)));
    assert!(!dotted.contains(".-"), "{dotted}");
}

#[test]
fn what_is_to_be_done() {
    let (managed, unmanaged) =
        (template(&json!({})), template(&json!({"networkPolicyManagement": "Unmanaged"})));
    let ours = stored(&policy(&managed));
    let mut foreign = ours.clone();
    foreign.metadata.owner_references = None;
    let mut namesake = ours.clone();
    namesake.metadata.owner_references.as_mut().unwrap()[0].uid = "old".into();
    let mut leaving = ours.clone();
    leaving.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let create = || Step::Create(Box::new(policy(&managed)));
    let delete = || Step::Delete { uid: "p".into() };
    for (what, template, found, wanted) in [
        ("none yet", &managed, None, create()),
        ("as it should be", &managed, Some(&ours), Step::Nothing),
        ("on its way out", &managed, Some(&leaving), Step::Wait),
        ("nothing to leave alone", &unmanaged, None, Step::Nothing),
        ("ours, but not any more", &unmanaged, Some(&ours), delete()),
        ("going already", &unmanaged, Some(&leaving), Step::Nothing),
        ("others' own", &unmanaged, Some(&foreign), Step::Nothing),
        ("a namesake's", &unmanaged, Some(&namesake), Step::Nothing),
    ] {
        assert_eq!(plan(template, found), wanted, "{what}");
    }
    for (found, text) in [(&foreign, "it has no controller"), (&namesake, "with uid old")] {
        let Step::Foreign { message } = plan(&managed, Some(found)) else { panic!("touched") };
        assert!(message.contains(text) && message.contains("python-network-policy"), "{message}");
    }
}

#[test]
fn drift_is_corrected_and_what_others_added_stays() {
    let template = template(&json!({"networkPolicy": {"egress": [
        {"to": [{"podSelector": {"matchLabels": {}}}], "ports": [{"port": "https"}]},
    ]}}));
    let good = stored(&policy(&template));
    let with = |change: fn(&mut NetworkPolicy)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let spec = |policy: &mut NetworkPolicy| policy.spec.take().unwrap();
    for (what, found) in [
        (
            "ingress",
            with(|policy| policy.spec.as_mut().unwrap().ingress = Some(vec![<_>::default()])),
        ),
        ("egress", with(|policy| policy.spec.as_mut().unwrap().egress = None)),
        ("types", with(|policy| policy.spec.as_mut().unwrap().policy_types = None)),
        ("selector", with(|policy| policy.spec.as_mut().unwrap().pod_selector = None)),
        ("label", with(|policy| policy.metadata.labels = None)),
        (
            "block",
            with(|policy| {
                policy.metadata.owner_references.as_mut().unwrap()[0].block_owner_deletion = None;
            }),
        ),
    ] {
        let Step::Replace(mut new) = plan(&template, Some(&found)) else { panic!("{what}") };
        assert_eq!(normal(Some(&spec(&mut new))), normal(good.spec.as_ref()), "{what}");
        assert_eq!(new.metadata, good.metadata, "{what}: guarded by uid and resourceVersion");
    }
    let extended = with(|policy| {
        policy.metadata.annotations = Some([("a".into(), "b".into())].into());
        policy.metadata.labels.get_or_insert_default().insert("c".into(), "d".into());
        let owners = policy.metadata.owner_references.get_or_insert_default();
        owners.push(OwnerReference { uid: "other".into(), ..OwnerReference::default() });
    });
    assert_eq!(plan(&template, Some(&extended)), Step::Nothing);
}
