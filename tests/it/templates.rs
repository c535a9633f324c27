//! Templates over a real etcd, with NetworkPolicies in memory.

use std::sync::Arc;
use std::time::Duration;

use apiserver::clock::SystemClock;
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::Part;
use apiserver::request::{DeleteOptions, WriteOptions};
use apiserver::warnings::Warnings;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use sandbox_apiserver::cluster::fake::FakePolicies;
use sandbox_apiserver::cluster::policies::PolicyError;
use sandbox_apiserver::templates;
use serde_json::{Value, json};

use crate::claims::{pool, template};
use crate::product::Product;

const LABEL: &str = "sandbox.x-k8s.io/sandbox-template-ref-hash";

struct World {
    product: Product,
    policies: Arc<FakePolicies>,
}

fn policy_key() -> ObjectKey {
    ObjectKey::namespaced("ns", "t-network-policy")
}

/// Of somebody else, under the template's name.
fn foreign(labels: Value) -> NetworkPolicy {
    serde_json::from_value(json!({
        "metadata": {"name": "t-network-policy", "namespace": "ns", "labels": labels},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }))
    .expect("a NetworkPolicy")
}

impl World {
    /// With one template, `t`, that has this network policy.
    async fn new(network_policy: Value) -> Self {
        let world = Self::empty().await;
        let mut template = template("t");
        if !network_policy.is_null() {
            template["spec"]["networkPolicy"] = network_policy;
        }
        world.product.create("sandboxtemplates", template).await.expect("a creation");
        world
    }

    async fn empty() -> Self {
        let world = Self { product: Product::new().await, policies: Arc::default() };
        world.keep();
        world
    }

    fn keep(&self) {
        let store = |plural: &str| self.product.store(plural).clone();
        let parts = templates::Parts {
            templates: store("sandboxtemplates"),
            pools: store("sandboxwarmpools"),
            claims: store("sandboxclaims"),
            policies: self.policies.clone(),
            clock: Arc::new(SystemClock),
            permit: self.product.permit.clone(),
            config: templates::Config {
                look_after_foreign: Duration::from_millis(100),
                correction_min: Duration::from_millis(100),
                pause_max: Duration::from_millis(200),
                ..templates::Config::default()
            },
        };
        templates::start(parts, &self.product.tasks).expect("constant selectors");
    }

    async fn change(&self, change: impl Fn(&mut Value) + Send + Sync) {
        let key = ObjectKey::namespaced("ns", "t");
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let change = |object: &mut Object| {
            change(object.0.get_mut("spec").expect("a spec"));
            Ok(())
        };
        let templates = self.product.store("sandboxtemplates");
        let permit = &self.product.permit;
        let changed = templates.mutate(permit, &key, Part::Main, &options, &warnings, change).await;
        changed.expect("a change");
    }

    /// Waits for a status like this; fails with the last.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..1000 {
            let template = self.product.named("sandboxtemplates", "t").await.expect("it exists");
            last = template.at("status").cloned().unwrap_or_default();
            if last["observedGeneration"] == json!(template.generation()) && wanted(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {what}: {last:#}");
    }

    async fn until_reason(&self, reason: &str) -> Value {
        self.until(reason, |status| status["conditions"][0]["reason"] == reason).await
    }

    async fn until_policy(
        &self,
        what: &str,
        wanted: impl Fn(Option<&NetworkPolicy>) -> bool,
    ) -> Option<NetworkPolicy> {
        let mut last = None;
        for _ in 0..1000 {
            last = self.policies.named(&policy_key());
            if wanted(last.as_ref()) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {what}: {last:#?}");
    }
}

fn egress_rules(policy: Option<&NetworkPolicy>) -> usize {
    let spec = policy.and_then(|policy| policy.spec.as_ref());
    spec.and_then(|spec| spec.egress.as_ref()).map_or(0, Vec::len)
}

#[tokio::test]
async fn a_template_has_a_status_and_a_policy() {
    let world = World::new(Value::Null).await;
    let status = world.until_reason("Accepted").await;
    assert_eq!(status["revision"].as_str().map(str::len), Some(16), "{status}");
    assert_eq!(status["conditions"][0]["status"], "True");
    let policy = world.policies.named(&policy_key()).unwrap();
    let template = world.product.named("sandboxtemplates", "t").await.unwrap();
    let owner = &policy.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.uid.as_str(), owner.controller), (template.uid(), Some(true)));
    assert_eq!(egress_rules(Some(&policy)), 2, "the internet and DNS");

    // What makes no Pod differ is another generation of the same revision.
    world.change(|spec| spec["networkPolicy"] = json!({"egress": []})).await;
    let same = world.until("seen", |_| true).await;
    assert_eq!(same["revision"], status["revision"]);
    let policy = world.until_policy("closed", |policy| egress_rules(policy) == 0).await.unwrap();
    assert!(policy.metadata.uid.is_some());
    world.change(|spec| spec["podTemplate"]["spec"]["containers"][0]["image"] = json!("o")).await;
    world.until("another revision", |now| now["revision"] != status["revision"]).await;
}

#[tokio::test]
async fn it_comes_to_rest_and_writes_nothing_more() {
    let world = World::new(json!({"ingress": [{"ports": [{"port": 80}]}], "egress": [{}]})).await;
    world.until("at rest", |status| !status["users"].is_null()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = (world.policies.counts(), world.product.kv.counts());
    assert_eq!(before.0.0, 1, "one policy, one write");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!((world.policies.counts(), world.product.kv.counts()), before);
}

#[tokio::test]
async fn its_users_are_counted_and_the_count_is_paced() {
    let world = World::new(Value::Null).await;
    let product = &world.product;
    world.until("unused", |now| now["users"] == json!({"warmPools": 0, "claims": 0})).await;
    product.create("sandboxwarmpools", pool("p", "t", 1)).await.unwrap();
    product.create("sandboxwarmpools", pool("q", "other", 1)).await.unwrap();
    world.until("used", |now| now["users"] == json!({"warmPools": 1, "claims": 0})).await;
    let (before, looks) = (product.kv.counts().1, world.policies.counts().1);
    for n in 0..40 {
        let claim = json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "SandboxClaim",
            "metadata": {"name": format!("c{n}")}, "spec": {"sandboxTemplateRef": {"name": "t"}}});
        product.create("sandboxclaims", claim).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.until("counted", |now| now["users"] == json!({"warmPools": 1, "claims": 40})).await;
    let writes = product.kv.counts().1 - before - 40;
    assert!(writes <= 6, "{writes} writes of a count");
    assert_eq!(world.policies.counts().1, looks, "the policy is not looked at for a count");
    let (key, options) = (ObjectKey::namespaced("ns", "p"), DeleteOptions::default());
    product.store("sandboxwarmpools").delete(&product.permit, &key, &options).await.unwrap();
    world.until("less used", |now| now["users"] == json!({"warmPools": 0, "claims": 40})).await;
}

#[tokio::test]
async fn unmanaged_takes_the_policy_away_and_managed_brings_it_back() {
    let world = World::new(Value::Null).await;
    world.until_reason("Accepted").await;
    world.change(|spec| spec["networkPolicyManagement"] = json!("Unmanaged")).await;
    world.until_policy("gone", |policy| policy.is_none()).await;
    let status = world.until_reason("Accepted").await;
    assert_eq!(status["conditions"][0]["message"], "NetworkPolicies are left to others");
    world.policies.put(foreign(json!({})));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.policies.named(&policy_key()).is_some(), "it is others' own");
    world.policies.remove(&policy_key());
    world.change(|spec| spec["networkPolicyManagement"] = json!("Managed")).await;
    world.until_policy("back", |policy| egress_rules(policy) == 2).await;
}

#[tokio::test]
async fn a_foreign_policy_is_not_touched() {
    for labels in [json!({}), json!({LABEL: "x"})] {
        let world = World::empty().await;
        world.policies.put(foreign(labels));
        let before = world.policies.named(&policy_key());
        world.product.create("sandboxtemplates", template("t")).await.unwrap();
        let status = world.until_reason("NetworkPolicyTaken").await;
        assert_eq!(status["conditions"][0]["status"], "False");
        let message = status["conditions"][0]["message"].as_str().unwrap();
        assert!(message.contains("\"t-network-policy\" already exists"), "{message}");
        world.change(|spec| spec["networkPolicyManagement"] = json!("Unmanaged")).await;
        world.until_reason("Accepted").await;
        world.change(|spec| spec["networkPolicyManagement"] = json!("Managed")).await;
        world.until_reason("NetworkPolicyTaken").await;
        assert_eq!(world.policies.named(&policy_key()), before);
        assert_eq!(world.policies.counts().0, 0, "nothing was tried");
        world.policies.remove(&policy_key());
        world.until_reason("Accepted").await;
        world.until_policy("ours", |policy| egress_rules(policy) == 2).await;
    }
}

#[tokio::test]
async fn drift_is_corrected() {
    let world = World::new(Value::Null).await;
    world.until_reason("Accepted").await;
    let good = world.policies.named(&policy_key()).unwrap();
    let damages: [fn(&mut NetworkPolicy); 4] = [
        |policy| policy.spec.as_mut().unwrap().egress = Some(vec![<_>::default()]),
        |policy| policy.spec = None,
        |policy| policy.metadata.labels = None,
        |policy| policy.spec.as_mut().unwrap().ingress = Some(vec![<_>::default()]),
    ];
    let is_good = |policy: Option<&NetworkPolicy>| {
        policy.is_some_and(|policy| {
            policy.spec == good.spec && policy.metadata.labels == good.metadata.labels
        })
    };
    for damage in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        world.policies.put(bad);
        world.until_policy("corrected", is_good).await;
    }
    world.policies.remove(&policy_key());
    world.until_policy("back", is_good).await;
    world.until_reason("Accepted").await;
}

#[tokio::test]
async fn who_keeps_changing_it_is_told_and_does_not_keep_us_busy() {
    let world = World::new(Value::Null).await;
    world.until_reason("Accepted").await;
    let good = world.policies.named(&policy_key()).unwrap();
    let before = world.policies.counts().0;
    for _ in 0..100 {
        let mut bad = good.clone();
        bad.spec.as_mut().unwrap().egress = None;
        world.policies.put(bad);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.until_reason("NetworkPolicyContested").await;
    let writes = world.policies.counts().0 - before;
    assert!((2..8).contains(&writes), "{writes} corrections of 100 changes");
    world.until_policy("corrected in the end", |policy| egress_rules(policy) == 2).await;
    world.until_reason("Accepted").await;
}

#[tokio::test]
async fn a_failure_is_shown_and_tried_again() {
    let world = World::empty().await;
    let failures = [
        PolicyError::Rejected { message: "networkpolicies is forbidden: no".into() },
        PolicyError::Unavailable { detail: "refused".into() },
    ];
    world.policies.fail(Some(failures[0].clone()));
    world.product.create("sandboxtemplates", template("t")).await.unwrap();
    for failure in failures {
        world.policies.fail(Some(failure.clone()));
        let text = failure.to_string();
        let status =
            world.until(&text, |now| now["conditions"][0]["message"] == text.as_str()).await;
        assert_eq!(status["conditions"][0]["reason"], "NetworkPolicyFailed");
        assert!(status["revision"].is_string(), "the rest is told all the same");
    }
    assert!(world.policies.named(&policy_key()).is_none());
    world.policies.fail(None);
    world.until_reason("Accepted").await;
    assert!(world.policies.named(&policy_key()).is_some());
}

#[tokio::test]
async fn two_replicas_keep_one_policy_in_peace() {
    let world = World::empty().await;
    world.keep();
    world.product.create("sandboxtemplates", template("t")).await.unwrap();
    world.until("counted", |now| !now["users"].is_null()).await;
    world.until_reason("Accepted").await;
    world.policies.remove(&policy_key());
    world.until_policy("back", |policy| policy.is_some()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.until_reason("Accepted").await;
    let writes = world.policies.counts().0;
    assert!(writes <= 4, "{writes} writes for two creations");
}
