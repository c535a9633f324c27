//! Claims over a real etcd, the stock's Sandboxes made ready by hand or by a fake kubelet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apiserver::audit::Record;
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::Part;
use apiserver::request::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use apiserver::resource::{ActionRequest, ActionResponse, CreateRequest, Subresource};
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::product::Product;

pub(crate) fn template(name: &str) -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxTemplate",
        "metadata": {"name": name},
        "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    })
}

pub(crate) fn pool(name: &str, template: &str, replicas: i32) -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxWarmPool",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "sandboxTemplateRef": {"name": template}},
    })
}

pub(crate) fn claim(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxClaim",
        "metadata": {"name": name},
        "spec": spec,
    })
}

pub(crate) fn of(pool: &str) -> Value {
    json!({"warmPoolRef": {"name": pool}})
}

pub(crate) fn text<'a>(object: &'a Object, path: &str) -> &'a str {
    object.at(path).and_then(Value::as_str).unwrap_or_default()
}

impl Product {
    pub(crate) async fn post(
        &self,
        claim: Value,
        query: &[(&str, &str)],
    ) -> Result<ActionResponse, ApiError> {
        let store = self.store("sandboxclaims");
        let creation = store.def().creation.clone().expect("claims have a way of their own");
        let query: Vec<_> = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let dry_run = query.iter().any(|(name, _)| name == "dryRun");
        creation
            .create(CreateRequest {
                permit: &self.permit,
                scope: Scope::Namespace("ns".into()),
                object: Object::from_value(claim).expect("an object"),
                options: WriteOptions { dry_run, ..WriteOptions::default() },
                query,
                store,
                warnings: &Warnings::new(),
                record: &Record::default(),
            })
            .await
    }

    async fn claim_of(&self, pool: &str, body: Option<Value>) -> Result<ActionResponse, ApiError> {
        let store = self.store("sandboxwarmpools");
        let Some(Subresource::Action(def)) = store.def().subresource("claim") else {
            panic!("no action");
        };
        def.handler
            .call(ActionRequest {
                permit: &self.permit,
                key: ObjectKey::namespaced("ns", pool),
                body: body.and_then(Object::from_value),
                options: WriteOptions::default(),
                query: Vec::new(),
                store,
                warnings: &Warnings::new(),
                record: &Record::default(),
            })
            .await
    }

    pub(crate) async fn all(&self, plural: &str) -> Vec<Object> {
        let options = ListOptions::default();
        let list =
            self.store(plural).list(&self.permit, &Scope::All, &options).await.expect("a list");
        list.items
            .iter()
            .map(|item| Arc::unwrap_or_clone(item.object().expect("readable")))
            .collect()
    }

    pub(crate) async fn named(&self, plural: &str, name: &str) -> Result<Object, ApiError> {
        let key = ObjectKey::namespaced("ns", name);
        let got = self.store(plural).get(&self.permit, &key, &GetOptions::default()).await?;
        Ok((*got).clone())
    }

    pub(crate) async fn delete(&self, plural: &str, name: &str) {
        let key = ObjectKey::namespaced("ns", name);
        let options = DeleteOptions::default();
        self.store(plural).delete(&self.permit, &key, &options).await.expect("a deletion");
    }

    pub(crate) async fn settle_some(&self) {
        self.make_ready().await;
    }

    /// What the loop would write of every Sandbox whose Pod runs.
    pub(crate) async fn make_ready(&self) {
        for sandbox in self.all("sandboxes").await {
            if sandbox.at("status.nodeName").is_some() {
                continue;
            }
            let change = |object: &mut Object| {
                object.0.insert(
                    "status".into(),
                    json!({
                        "phase": "Running", "nodeName": "n", "podIPs": ["10.0.0.1"],
                        "conditions": [{"type": "Ready", "status": "True", "message": "",
                            "reason": "DependenciesReady",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                    }),
                );
                Ok(())
            };
            let (options, warnings) = (WriteOptions::default(), Warnings::new());
            let key = sandbox.key();
            let store = self.store("sandboxes");
            let done =
                store.mutate(&self.permit, &key, Part::Status, &options, &warnings, change).await;
            if let Err(error) = done {
                assert!(error.is_not_found(), "{error}");
            }
        }
    }

    /// A pool of `count` ready Sandboxes of the template `t`, in stock.
    pub(crate) async fn stocked(count: i32) -> (Self, sandbox_apiserver::claims::Claims) {
        let product = Self::new().await;
        let claims = product.supply();
        product.create("sandboxtemplates", template("t")).await.expect("a template");
        product.create("sandboxwarmpools", pool("p", "t", count)).await.expect("a pool");
        product.restocked("p", count).await;
        (product, claims)
    }

    /// Waits until the pool has so many ready, making every Sandbox ready.
    pub(crate) async fn settled(&self, pool: &str, count: i32) {
        for _ in 0..500 {
            self.make_ready().await;
            let now = self.named("sandboxwarmpools", pool).await.expect("a pool");
            if now.at("status.readyReplicas") == Some(&json!(count))
                && now.at("status.replicas") == Some(&json!(count))
                && i32::try_from(self.members(pool).await) == Ok(count)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:#?}", self.named("sandboxwarmpools", pool).await);
    }

    /// As [`Self::settled`], and waits until a claim would be given every one of them: what a
    /// pool's status says follows what is claimed, and so does what the claims know.
    pub(crate) async fn restocked(&self, pool: &str, count: i32) {
        self.settled(pool, count).await;
        if count == 0 {
            return;
        }
        let all = claim(
            "all",
            json!({"warmPoolRef": {"name": pool}, "onEmptyPool": "Fail", "replicas": count}),
        );
        let mut said = None;
        for _ in 0..500 {
            match self.post(all.clone(), &[("dryRun", "All")]).await {
                Ok(_) => return,
                Err(error) => said = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{said:?}");
    }

    /// How many Sandboxes the pool itself has.
    async fn members(&self, pool: &str) -> usize {
        let all = self.all("sandboxes").await;
        let own = all.iter().filter(|it| {
            let owner = &it.metadata().expect("metadata")["ownerReferences"][0];
            owner["kind"] == "SandboxWarmPool" && owner["name"] == pool
        });
        own.count()
    }
}

#[tokio::test]
async fn a_claim_is_one_transaction_with_two_puts() {
    let (product, _claims) = Product::stocked(2).await;
    let before = product.kv.counts();
    let answer = product.post(claim("c", of("p")), &[]).await.unwrap();
    let after = product.kv.counts();
    assert_eq!(answer.code, 201);
    let got = &answer.object;
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 2), "transactions, puts");
    assert_eq!(got.at("status.sandbox.launchType"), Some(&json!("Warm")));
    assert_eq!(got.at("status.sandbox.podIPs"), Some(&json!(["10.0.0.1"])));
    assert_eq!(got.at("status.sandbox.nodeName"), Some(&json!("n")));
    assert_eq!(got.at("status.conditions").unwrap()[0]["status"], "True");
    let sandbox = product.named("sandboxes", text(got, "status.sandbox.name")).await.unwrap();
    assert_eq!(sandbox.uid(), text(got, "status.sandbox.uid"));
    assert_eq!(sandbox.label("sandbox.x-k8s.io/claim-uid"), Some(got.uid()));
    assert_eq!(sandbox.label("sandbox.x-k8s.io/warm-pool-sandbox"), None);
    let owner = &sandbox.metadata().unwrap()["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("SandboxClaim"), &json!(got.uid())));
    // The stored claim is what was answered.
    assert_eq!(product.named("sandboxclaims", "c").await.unwrap(), *got);
}

#[tokio::test]
async fn many_claims_at_once_never_share_a_sandbox() {
    let (product, _claims) = Product::stocked(20).await;
    let answers = join_all((0..40).map(|index| {
        let product = &product;
        async move { product.post(claim(&format!("c{index}"), of("p")), &[]).await.unwrap() }
    }))
    .await;
    let names: BTreeSet<_> =
        answers.iter().map(|it| text(&it.object, "status.sandbox.name").to_owned()).collect();
    assert_eq!(names.len(), 40);
    let warm = answers
        .iter()
        .filter(|it| it.object.at("status.sandbox.launchType") == Some(&json!("Warm")))
        .count();
    assert!((20..40).contains(&warm), "{warm} from stock");
    // The stock is filled again, and not over.
    product.settled("p", 20).await;
    let members = product.all("sandboxes").await;
    let members = members
        .iter()
        .filter(|it| it.label("sandbox.x-k8s.io/warm-pool-sandbox").is_some())
        .count();
    assert_eq!(members, 20);
}

#[tokio::test]
async fn an_empty_pool_does_what_the_claim_says() {
    let (product, _claims) = Product::stocked(0).await;
    let with = |policy: &str| json!({"warmPoolRef": {"name": "p"}, "onEmptyPool": policy});
    let cold = product.post(claim("cold", of("p")), &[]).await.unwrap().object;
    assert_eq!(text(&cold, "status.sandbox.name"), "cold");
    assert_eq!(text(&cold, "status.sandbox.launchType"), "Cold");
    let error = product.post(claim("fail", with("Fail")), &[]).await.unwrap_err();
    assert_eq!((error.code(), error.reason().as_str()), (503, "PoolExhausted"));
    assert_eq!(error.details().unwrap().retry_after_seconds, Some(1));
    assert!(product.named("sandboxclaims", "fail").await.unwrap_err().is_not_found());
    for index in 0..5 {
        let waits = product.post(claim(&format!("w{index}"), with("Wait")), &[]).await.unwrap();
        assert_eq!(waits.object.at("status.queuePosition"), Some(&json!(index)));
        assert_eq!(waits.object.at("status.sandbox"), None);
    }
    let error = product.post(claim("w5", with("Wait")), &[]).await.unwrap_err();
    assert_eq!(error.code(), 429, "{error}");
    let late = product.post(claim("w5", with("Wait")), &[("wait", "bound")]).await.unwrap_err();
    assert_eq!(late.code(), 429, "{late}");
    // Two come into stock: the first two get them.
    let key = ObjectKey::namespaced("ns", "p");
    let change = |object: &mut Object| {
        object.0["spec"]["replicas"] = json!(2);
        Ok(())
    };
    let (options, warnings) = (WriteOptions::default(), Warnings::new());
    product
        .store("sandboxwarmpools")
        .mutate(&product.permit, &key, Part::Main, &options, &warnings, change)
        .await
        .unwrap();
    for index in 0..5 {
        let name = format!("w{index}");
        for _ in 0..500 {
            product.make_ready().await;
            if product.named("sandboxclaims", &name).await.unwrap().at("status.sandbox").is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let bound = product.named("sandboxclaims", &name).await.unwrap();
        assert_eq!(text(&bound, "status.sandbox.launchType"), "Warm", "{name}");
        assert_eq!(bound.at("status.queuePosition"), None);
    }
}

#[tokio::test]
async fn waiting_is_bounded_and_loses_nothing() {
    let (product, _claims) = Product::stocked(0).await;
    let spec = json!({"warmPoolRef": {"name": "p"}, "onEmptyPool": "Wait"});
    let query = [("wait", "bound"), ("timeout", "300ms")];
    let error = product.post(claim("c", spec), &query).await.unwrap_err();
    assert_eq!((error.code(), error.reason().as_str()), (504, "Timeout"), "{error}");
    assert!(error.message().contains("it is stored and goes on"), "{error}");
    assert!(product.named("sandboxclaims", "c").await.is_ok());
    let error = product.post(claim("d", of("p")), &[("wait", "soon")]).await.unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(product.named("sandboxclaims", "d").await.unwrap_err().is_not_found());
    // One that gives up takes nothing any more.
    let spec = json!({"warmPoolRef": {"name": "p"}, "onEmptyPool": "Wait", "timeout": "100ms"});
    product.post(claim("short", spec), &[]).await.unwrap();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = product.named("sandboxclaims", "short").await.unwrap();
        if now.at("status.conditions").unwrap()[0]["reason"] == "ClaimTimedOut" {
            return;
        }
    }
    panic!("{:#?}", product.named("sandboxclaims", "short").await);
}

#[tokio::test]
async fn a_repeated_request_gets_the_claim_of_the_first() {
    let (product, _claims) = Product::stocked(4).await;
    let keyed = |key: &str, replicas: i32| json!({"warmPoolRef": {"name": "p"}, "idempotencyKey": key, "replicas": replicas});
    let generated = |spec: Value| {
        json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "SandboxClaim",
            "metadata": {"generateName": "c-"}, "spec": spec})
    };
    let answers = join_all((0..8).map(|_| product.post(generated(keyed("k", 1)), &[]))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let uids: BTreeSet<_> = answers.iter().map(|it| it.object.uid().to_owned()).collect();
    assert_eq!(uids.len(), 1);
    assert_eq!(answers.iter().filter(|it| it.code == 201).count(), 1);
    assert_eq!(product.all("sandboxclaims").await.len(), 1);
    let other = product.post(generated(keyed("k", 2)), &[]).await.unwrap_err();
    assert_eq!(other.code(), 409, "{other}");
    // A key whose claim is gone is free.
    let name = answers[0].object.name().to_owned();
    product.delete("sandboxclaims", &name).await;
    let again = product.post(generated(keyed("k", 1)), &[]).await.unwrap();
    assert_eq!(again.code, 201);
    assert!(!uids.contains(again.object.uid()));
    // The action is idempotent by name, a plain create is not.
    let by_name = product.claim_of("p", Some(claim("n", json!({})))).await.unwrap();
    let twice = product.claim_of("p", Some(claim("n", json!({})))).await.unwrap();
    assert_eq!((by_name.code, twice.code), (201, 200));
    assert_eq!(by_name.object.uid(), twice.object.uid());
    let error = product.post(claim("n", of("p")), &[]).await.unwrap_err();
    assert_eq!(error.reason().as_str(), "AlreadyExists");
}

#[tokio::test]
async fn a_gang_is_bound_as_one_or_not_at_all() {
    let (product, _claims) = Product::stocked(5).await;
    let gang = |count: i32, policy: &str| json!({"warmPoolRef": {"name": "p"}, "replicas": count, "onEmptyPool": policy});
    let error = product.post(claim("six", gang(6, "Fail")), &[]).await.unwrap_err();
    assert_eq!(error.reason().as_str(), "PoolExhausted");
    let got = product.post(claim("four", gang(4, "Fail")), &[]).await.unwrap().object;
    let all = got.at("status.sandboxes").unwrap().as_array().unwrap();
    let names: BTreeSet<_> = all.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!((all.len(), names.len()), (4, 4));
    assert_eq!(got.at("status.sandbox"), Some(&all[0]));
    for name in names {
        let sandbox = product.named("sandboxes", name).await.unwrap();
        assert_eq!(sandbox.label("sandbox.x-k8s.io/claim-uid"), Some(got.uid()));
    }
    let cold = product.post(claim("cold", gang(3, "ColdStart")), &[]).await.unwrap().object;
    assert_eq!(cold.at("status.sandboxes").unwrap().as_array().unwrap().len(), 3);
    let error = product.post(claim("much", gang(1001, "Fail")), &[]).await.unwrap_err();
    assert_eq!(error.code(), 422, "{error}");
}

#[tokio::test]
async fn bad_claims_change_nothing() {
    let (product, _claims) = Product::stocked(1).await;
    let with = |key: &str, value: Value| {
        let mut spec = of("p");
        spec[key] = value;
        spec
    };
    for (spec, code, part) in [
        (of("none"), 422, "spec.warmPoolRef.name: Not found: \"none\""),
        (
            json!({"sandboxTemplateRef": {"name": "none"}}),
            422,
            "spec.sandboxTemplateRef.name: Not found: \"none\"",
        ),
        (json!({}), 422, "exactly one of warmPoolRef or sandboxTemplateRef"),
        (with("sandboxTemplateRef", json!({"name": "t"})), 422, "exactly one of"),
        (with("env", json!([{"name": "A", "value": "b"}])), 422, "envVarsInjectionPolicy"),
        (with("replicas", json!(0)), 422, "spec.replicas"),
        (with("timeout", json!("x")), 422, "spec.timeout"),
    ] {
        let before = product.kv.counts();
        let error = product.post(claim("c", spec.clone()), &[]).await.unwrap_err();
        assert_eq!(error.code(), code, "{spec}: {error}");
        assert!(error.message().contains(part), "{spec}: {error}");
        assert_eq!(product.kv.counts(), before, "{spec}");
    }
    let error = product.claim_of("none", None).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = product.claim_of("p", Some(claim("c", of("q")))).await.unwrap_err();
    assert_eq!(error.code(), 400, "{error}");
    let dry = product.post(claim("c", of("p")), &[("dryRun", "All")]).await.unwrap().object;
    assert_eq!(text(&dry, "status.sandbox.launchType"), "Warm");
    assert!(product.named("sandboxclaims", "c").await.unwrap_err().is_not_found());
    // What a dry run looked at is still to be had.
    let real = product.post(claim("c", of("p")), &[]).await.unwrap().object;
    assert_eq!(text(&real, "status.sandbox.launchType"), "Warm");
}

#[tokio::test]
async fn a_released_claim_takes_its_sandbox_with_it() {
    let (product, _claims) = Product::stocked(1).await;
    let got = product.claim_of("p", None).await.unwrap().object;
    assert!(got.name().starts_with("p-"), "{}", got.name());
    let sandbox = text(&got, "status.sandbox.name").to_owned();
    product.delete("sandboxclaims", got.name()).await;
    for _ in 0..300 {
        if product.named("sandboxes", &sandbox).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{sandbox} is still there");
}

#[tokio::test]
async fn a_claim_ends_in_time() {
    let (product, _claims) = Product::stocked(2).await;
    let soon = (apiserver::clock::format_time(
        apiserver::clock::Clock::now(&apiserver::clock::SystemClock)
            + jiff::SignedDuration::from_secs(1),
    ))
    .clone();
    let with = |policy: &str| {
        json!({"warmPoolRef": {"name": "p"},
        "lifecycle": {"shutdownTime": soon, "shutdownPolicy": policy}})
    };
    let kept = product.post(claim("kept", with("Retain")), &[]).await.unwrap().object;
    product.post(claim("gone", with("Delete")), &[]).await.unwrap();
    let sandbox = text(&kept, "status.sandbox.name").to_owned();
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let gone = product.named("sandboxclaims", "gone").await.is_err();
        let stopped = product.named("sandboxes", &sandbox).await.is_err();
        let kept = product.named("sandboxclaims", "kept").await.unwrap();
        let reason = &kept.at("status.conditions").unwrap()[0]["reason"];
        if gone && stopped && reason == "ClaimExpired" {
            return;
        }
    }
    panic!("{:#?}", product.all("sandboxclaims").await);
}
