//! What goes wrong around a claim: in each case a typed answer in bounded time, and nothing that
//! nobody owns.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::clock::{Clock, SystemClock, new_uid};
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::Part;
use apiserver::request::WriteOptions;
use apiserver::warnings::Warnings;
use futures::StreamExt as _;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::claims::{claim, pool, text};
use crate::counting::Fault;
use crate::product::Product;

/// A clock that can be set.
#[derive(Debug, Default)]
struct Adjusted(Mutex<SignedDuration>);

impl Adjusted {
    fn set(&self, ahead: SignedDuration) {
        *self.0.lock().expect("no holder of this lock panics") = ahead;
    }
}

impl Clock for Adjusted {
    fn now(&self) -> Timestamp {
        SystemClock.now() + *self.0.lock().expect("no holder of this lock panics")
    }
}

fn waits() -> Value {
    json!({"warmPoolRef": {"name": "p"}, "onEmptyPool": "Wait"})
}

fn fails() -> Value {
    json!({"warmPoolRef": {"name": "p"}, "onEmptyPool": "Fail"})
}

fn keyed(key: &str) -> Value {
    json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "SandboxClaim",
        "metadata": {"generateName": "c-"},
        "spec": {"warmPoolRef": {"name": "p"}, "idempotencyKey": key}})
}

impl Product {
    /// Sandboxes that neither a claim's status nor a pool accounts for.
    async fn stray(&self) -> Vec<String> {
        let claims = self.all("sandboxclaims").await;
        let listed: BTreeSet<_> =
            claims.iter().map(|it| text(it, "status.sandbox.uid").to_owned()).collect();
        let all = self.all("sandboxes").await;
        let stray = all.iter().filter(|it| {
            let owner = &it.metadata().expect("metadata")["ownerReferences"][0]["kind"];
            owner != "SandboxWarmPool" && !listed.contains(it.uid())
        });
        stray.map(|it| it.name().to_owned()).collect()
    }

    async fn set_replicas(&self, pool: &str, replicas: i32) {
        let key = ObjectKey::namespaced("ns", pool);
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let change = |object: &mut Object| {
            object.0["spec"]["replicas"] = json!(replicas);
            Ok(())
        };
        let store = self.store("sandboxwarmpools");
        store
            .mutate(&self.permit, &key, Part::Main, &options, &warnings, change)
            .await
            .expect("a write");
    }
}

#[tokio::test]
async fn a_member_that_fails_between_pick_and_bind_is_not_given() {
    let (product, _claims) = Product::stocked(2).await;
    // Whichever is picked: its Pod has just ended.
    product.kv.plant(Fault::ChangeFirst);
    let got = product.post(claim("c", fails()), &[]).await.unwrap().object;
    let changed = product.kv.changed();
    assert_eq!(changed.len(), 1, "{changed:?}");
    let name = text(&got, "status.sandbox.name");
    assert!(!changed[0].ends_with(&format!("/{name}")), "{name} of {changed:?}");
    assert_eq!(product.stray().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_fails_leaves_no_orphan() {
    let (product, _claims) = Product::stocked(2).await;
    product.kv.plant(Fault::Refuse);
    let error = product.post(keyed("k"), &[]).await.unwrap_err();
    assert_eq!(error.code(), 504, "{error}");
    assert!(product.all("sandboxclaims").await.is_empty());
    // The answer of the store is lost: the claim is there, and is found again.
    product.kv.plant(Fault::LoseAnswer);
    let error = product.post(keyed("k"), &[]).await.unwrap_err();
    assert_eq!(error.code(), 504, "{error}");
    let found = product.post(keyed("k"), &[]).await.unwrap();
    assert_eq!(found.code, 200);
    assert_eq!(product.all("sandboxclaims").await.len(), 1);
    assert_eq!(product.stray().await, Vec::<String>::new());
    product.settled("p", 2).await;
}

#[tokio::test]
async fn who_leaves_before_the_answer_leaves_no_gap() {
    let (product, _claims) = Product::stocked(3).await;
    // The store does not answer: the client gives up, and the member it would have got is free.
    for _ in 0..6 {
        product.kv.plant(Fault::Hang);
        let left = Duration::from_millis(50);
        let answer = tokio::time::timeout(left, product.post(keyed("a"), &[])).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    product.set_replicas("p", 3).await;
    for name in ["x", "y", "z"] {
        let got = product.post(claim(name, fails()), &[]).await.unwrap().object;
        assert_eq!(text(&got, "status.sandbox.launchType"), "Warm", "{name}");
    }
    product.restocked("p", 3).await;
    // The store has carried it out: the key finds it.
    product.kv.plant(Fault::HangAfter);
    let left = Duration::from_millis(200);
    assert!(tokio::time::timeout(left, product.post(keyed("b"), &[])).await.is_err());
    let found = product.post(keyed("b"), &[]).await.unwrap();
    assert_eq!((found.code, text(&found.object, "status.sandbox.launchType")), (200, "Warm"));
    assert_eq!(product.stray().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_pool_that_is_deleted_meanwhile() {
    for (policy, stays) in [("Retain", true), ("Delete", false)] {
        let (product, _claims) = Product::stocked(5).await;
        let mut strict = pool("p2", "t", 5);
        strict["spec"]["deletionPolicy"] = json!({"claims": policy});
        product.create("sandboxwarmpools", strict).await.unwrap();
        product.settled("p2", 5).await;
        let of = |policy: &str| json!({"warmPoolRef": {"name": "p2"}, "onEmptyPool": policy});
        let claims = stream::iter(0..20)
            .map(|index| {
                let policy = if index % 2 == 0 { "Fail" } else { "Wait" };
                product.post(claim_owned(index, of(policy)), &[])
            })
            .buffer_unordered(20)
            .collect::<Vec<_>>();
        let (answers, ()) = tokio::join!(claims, product.delete("sandboxwarmpools", "p2"));
        for answer in answers {
            match answer {
                Ok(answer) => assert_eq!(answer.code, 201),
                Err(error) => assert!([422, 429, 503].contains(&error.code()), "{error}"),
            }
        }
        // What was bound stays, what waits stays or goes, as the pool said.
        for _ in 0..300 {
            let all = product.all("sandboxclaims").await;
            let bound = |it: &&Object| it.at("status.sandbox").is_some();
            let waiting = all.iter().filter(|it| !bound(it)).count();
            let gone = || {
                let missing = all.iter().filter(|it| {
                    it.at("status.conditions")
                        .is_some_and(|all| all[0]["reason"] == "WarmPoolNotFound")
                });
                missing.count()
            };
            if (stays && waiting == gone()) || (!stays && waiting == 0) {
                for claim in all.iter().filter(bound) {
                    product.named("sandboxes", text(claim, "status.sandbox.name")).await.unwrap();
                }
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let all = product.all("sandboxclaims").await;
        let waiting = all.iter().filter(|it| it.at("status.sandbox").is_none()).count();
        assert!(stays || waiting == 0, "{policy}: {waiting} wait");
        assert_eq!(product.stray().await, Vec::<String>::new(), "{policy}");
        let error = product.post(claim("late", of("Wait")), &[]).await.unwrap_err();
        assert_eq!(error.code(), 422, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_has_just_started_knows_its_stock_and_who_waits() {
    let prefix = format!("/{}", new_uid());
    let before = Product::at(prefix.clone()).await;
    before.supply();
    before.create("sandboxtemplates", crate::claims::template("t")).await.unwrap();
    for (name, replicas) in [("p", 3), ("empty", 0)] {
        before.create("sandboxwarmpools", pool(name, "t", replicas)).await.unwrap();
        before.settled(name, replicas).await;
    }
    let spec = json!({"warmPoolRef": {"name": "empty"}, "onEmptyPool": "Wait"});
    before.post(claim("first", spec.clone()), &[]).await.unwrap();
    let after = Product::at(prefix).await;
    let claims = after.supply();
    // Nothing is waited for here: the first request does.
    let got = after.post(claim("c", fails()), &[]).await.unwrap().object;
    assert_eq!(text(&got, "status.sandbox.launchType"), "Warm");
    assert!(claims.is_filled());
    let second = after.post(claim("second", spec), &[]).await.unwrap().object;
    assert_eq!(second.at("status.queuePosition"), Some(&json!(1)));
}

fn claim_owned(index: usize, spec: Value) -> Value {
    claim(&format!("c{index}"), spec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_claims_for_an_empty_pool() {
    let (product, claims) = Product::stocked(0).await;
    let answers: Vec<_> = stream::iter(0..10_000)
        .map(|index| {
            let request = product.post(claim_owned(index, waits()), &[]);
            async {
                // A request that is refused at once leaves nobody else a turn.
                tokio::task::yield_now().await;
                request.await
            }
        })
        .buffer_unordered(100)
        .collect()
        .await;
    let refused: Vec<_> = answers.iter().filter_map(|it| it.as_ref().err()).collect();
    let texts: BTreeSet<_> = refused.iter().map(|it| it.to_string()).collect();
    assert_eq!(refused.len(), 9_995, "{texts:?}");
    for error in refused {
        assert_eq!((error.code(), error.reason().as_str()), (429, "TooManyRequests"), "{error}");
        assert!(error.details().unwrap().retry_after_seconds.is_some());
    }
    // The bound of the test's own: see `Product::supply`.
    assert_eq!(product.all("sandboxclaims").await.len(), 5);
    assert_eq!(claims.waiting(), 5);
}

#[tokio::test]
async fn a_clock_that_jumps() {
    let clock = Arc::new(Adjusted::default());
    let product = Product::timed(format!("/{}", new_uid()), clock.clone()).await;
    product.supply_with(clock.clone());
    product.create("sandboxtemplates", crate::claims::template("t")).await.unwrap();
    product.create("sandboxwarmpools", pool("p", "t", 1)).await.unwrap();
    product.restocked("p", 1).await;
    let bound = product.post(claim("bound", fails()), &[]).await.unwrap().object;
    product.settled("p", 1).await;
    product.set_replicas("p", 0).await;
    product.settled("p", 0).await;
    // Back by an hour: who came first is still first, and refill is not late.
    product.post(claim("first", waits()), &[]).await.unwrap();
    clock.set(SignedDuration::from_hours(-1));
    product.post(claim("second", waits()), &[]).await.unwrap();
    let second = product.named("sandboxclaims", "second").await.unwrap();
    assert_eq!(second.at("status.queuePosition"), Some(&json!(1)));
    product.set_replicas("p", 1).await;
    for name in ["first", "second"] {
        let mut got = false;
        for _ in 0..500 {
            product.make_ready().await;
            let now = product.named("sandboxclaims", name).await.unwrap();
            let first = product.named("sandboxclaims", "first").await.unwrap();
            got = now.at("status.sandbox").is_some();
            assert!(!got || first.at("status.sandbox").is_some(), "{name} before first");
            if got {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(got, "{name} waits: {:?}", product.named("sandboxwarmpools", "p").await);
    }
    product.restocked("p", 1).await;
    // Ahead by a day: nothing that is bound or ready is taken for old.
    clock.set(SignedDuration::from_hours(24));
    let got = product.post(claim("later", fails()), &[]).await.unwrap().object;
    assert_eq!(text(&got, "status.sandbox.launchType"), "Warm");
    product.settled("p", 1).await;
    let still = product.named("sandboxes", text(&bound, "status.sandbox.name")).await.unwrap();
    assert_eq!(still.uid(), text(&bound, "status.sandbox.uid"));
    assert_eq!(product.stray().await, Vec::<String>::new());
}
