//! Claims of more Sandboxes than one transaction can bind.

use std::collections::BTreeSet;
use std::time::Duration;

use apiserver::clock::{Clock as _, SystemClock, format_time};
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{Commit, Part, Transaction};
use apiserver::request::WriteOptions;
use apiserver::warnings::Warnings;
use serde_json::{Value, json};

use crate::claims::{claim, text};
use crate::product::Product;

fn gang(count: usize, policy: &str) -> Value {
    json!({"warmPoolRef": {"name": "p"}, "replicas": count, "onEmptyPool": policy})
}

/// Names of the Sandboxes in the claim's status.
fn listed(claim: &Object) -> BTreeSet<String> {
    let all = claim.at("status.sandboxes").and_then(Value::as_array);
    let name = |it: &Value| it["name"].as_str().unwrap_or_default().to_owned();
    all.into_iter().flatten().map(name).collect()
}

impl Product {
    /// Names of the Sandboxes that are a claim's.
    async fn owned_by(&self, uid: &str) -> BTreeSet<String> {
        let all = self.all("sandboxes").await;
        let own = all.iter().filter(|it| it.label("sandbox.x-k8s.io/claim-uid") == Some(uid));
        own.map(|it| it.name().to_owned()).collect()
    }

    async fn edit(
        &self,
        plural: &str,
        name: &str,
        part: Part,
        edit: impl Fn(&mut Object) + Send + Sync,
    ) {
        let key = ObjectKey::namespaced("ns", name);
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let change = |object: &mut Object| {
            edit(object);
            Ok(())
        };
        let store = self.store(plural);
        store.mutate(&self.permit, &key, part, &options, &warnings, change).await.expect("a write");
    }

    /// A claim as a process leaves it that ends in the middle: it holds two members of its pool.
    async fn left_half_bound(&self, spec: Value) -> Object {
        let store = self.store("sandboxclaims");
        let object = Object::from_value(claim("half", spec)).expect("an object");
        let (scope, warnings) = (Scope::Namespace("ns".into()), Warnings::new());
        let new = store.prepare(&self.permit, &scope, object, &warnings).await.expect("valid");
        let condition = json!({"type": "Ready", "status": "False", "reason": "Binding",
            "message": "", "lastTransitionTime": format_time(SystemClock.now())});
        let made = new.object().clone();
        let new = new.with_status(json!({"conditions": [condition]}));
        let mut transaction = Transaction::new();
        transaction.create(&self.permit, store, new).expect("a place");
        let stored = transaction.commit(&*self.kv).await.expect("a transaction");
        assert!(matches!(stored, Commit::Done(_)), "{stored:?}");
        let members = self.all("sandboxes").await;
        for member in members.iter().take(2) {
            self.edit("sandboxes", member.name(), Part::Main, |object| {
                object.set_meta(
                    "ownerReferences",
                    json!([{"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "SandboxClaim",
                        "name": "half", "uid": made.uid(), "controller": true}]),
                );
                let labels = json!({"sandbox.x-k8s.io/claim-uid": made.uid(),
                    "sandbox.x-k8s.io/launch-type": "warm"});
                object.set_meta("labels", labels);
            })
            .await;
        }
        made
    }

    async fn until_bound(&self, name: &str) -> Object {
        for _ in 0..500 {
            self.make_ready().await;
            let now = self.named("sandboxclaims", name).await.expect("a claim");
            if now.at("status.sandbox").is_some() {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:#?}", self.named("sandboxclaims", name).await);
    }
}

#[tokio::test]
async fn a_large_gang_is_bound_in_steps() {
    let (product, _claims) = Product::stocked(260).await;
    let error = product.post(claim("more", gang(261, "Fail")), &[]).await.unwrap_err();
    assert_eq!(error.reason().as_str(), "PoolExhausted");
    product.post(claim("many", gang(250, "Fail")), &[]).await.unwrap();
    // In this product somebody else goes on after a second, on a slow machine before the answer.
    let got = product.until_bound("many").await;
    let names = listed(&got);
    assert_eq!(names.len(), 250);
    assert_eq!(product.owned_by(got.uid()).await, names);
    assert_eq!(got.at("status.conditions").unwrap()[0]["status"], "True");
    // Cold, each with a name of its own.
    let mut spec = gang(130, "ColdStart");
    spec["warmPoolRef"] = json!({"name": "q"});
    product
        .create("sandboxwarmpools", crate::claims::pool("q", "t", 0))
        .await
        .expect("an empty pool");
    product.post(claim("cold", spec.clone()), &[]).await.unwrap();
    let cold = product.until_bound("cold").await;
    assert_eq!(listed(&cold), (0..130).map(|index| format!("cold-{index}")).collect());
    // One of the names is taken: another is found.
    product.delete("sandboxclaims", "cold").await;
    let foreign = json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "Sandbox",
        "metadata": {"name": "clash-125"},
        "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    });
    product.create("sandboxes", foreign).await.unwrap();
    product.post(claim("clash", spec), &[]).await.unwrap();
    let got = product.until_bound("clash").await;
    assert_eq!(got.at("status.sandboxes").unwrap().as_array().unwrap().len(), 130);
    let mut expected: BTreeSet<_> = (0..=130).map(|index| format!("clash-{index}")).collect();
    expected.remove("clash-125");
    assert_eq!(listed(&got), expected);
    assert_eq!(product.owned_by(got.uid()).await, expected);
}

#[tokio::test]
async fn a_gang_that_was_left_half_bound_is_gone_on_with() {
    let (product, _claims) = Product::stocked(160).await;
    let made = product.left_half_bound(gang(150, "Fail")).await;
    let had = product.owned_by(made.uid()).await;
    let bound = product.until_bound("half").await;
    assert!(listed(&bound).is_superset(&had), "{had:?}");
    assert_eq!(listed(&bound).len(), 150);
    assert_eq!(product.owned_by(made.uid()).await, listed(&bound));
}

#[tokio::test]
async fn a_gang_that_is_half_bound_waits_for_the_rest() {
    let (product, _claims) = Product::stocked(10).await;
    let made = product.left_half_bound(gang(121, "Wait")).await;
    for _ in 0..500 {
        let now = product.named("sandboxclaims", "half").await.unwrap();
        if now.at("status.conditions").unwrap()[0]["reason"] == "WaitingForStock" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    product
        .edit("sandboxwarmpools", "p", Part::Main, |pool| pool.0["spec"]["replicas"] = json!(119))
        .await;
    let bound = product.until_bound("half").await;
    assert_eq!(listed(&bound).len(), 121);
    assert_eq!(product.owned_by(made.uid()).await, listed(&bound));
}

#[tokio::test]
async fn a_gang_that_gives_up_leaves_nothing() {
    let (product, _claims) = Product::stocked(5).await;
    let mut spec = gang(121, "Wait");
    spec["timeout"] = json!("1500ms");
    let made = product.left_half_bound(spec).await;
    for _ in 0..500 {
        let now = product.named("sandboxclaims", "half").await.unwrap();
        let over = now.at("status.conditions").unwrap()[0]["reason"] == "ClaimTimedOut";
        if over && product.owned_by(made.uid()).await.is_empty() {
            assert_eq!(text(&now, "status.sandbox.name"), "");
            // One that is deleted in the middle, likewise.
            product.delete("sandboxclaims", "half").await;
            product.settled("p", 5).await;
            let made = product.left_half_bound(gang(121, "Wait")).await;
            product.delete("sandboxclaims", "half").await;
            for _ in 0..500 {
                if product.owned_by(made.uid()).await.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{:?} are left", product.owned_by(made.uid()).await);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:#?}", product.named("sandboxclaims", "half").await);
}
