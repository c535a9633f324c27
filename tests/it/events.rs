//! What is told to the cluster, with several replicas that all see the same.

use std::time::Duration;

use apiserver::meta::Object;
use apiserver::registry::Part;
use apiserver::request::WriteOptions;
use apiserver::warnings::Warnings;
use sandbox_apiserver::events::Event;
use serde_json::{Value, json};

use crate::claims::{claim, of, pool, template, text};
use crate::pools::{change, members};
use crate::product::Product;

/// Replicas over one store.
struct Replicas(Vec<Product>);

impl Replicas {
    async fn new(count: usize) -> Self {
        Self(Product::replicas(count).await)
    }

    fn told(&self) -> Vec<Event> {
        self.0.iter().flat_map(|replica| replica.told.all()).collect()
    }

    /// What was told of an object, as "Reason: note".
    fn story(&self, kind: &str, name: &str) -> Vec<String> {
        let told = self.told();
        let of = told.iter().filter(|it| it.about.kind == kind && it.about.key.name == name);
        of.map(|it| format!("{}: {}", it.reason, it.note)).collect()
    }

    /// Waits until the story of an object has an Event for a reason.
    async fn until(&self, kind: &str, name: &str, reason: &str) {
        for _ in 0..500 {
            if self.story(kind, name).iter().any(|it| it.starts_with(&format!("{reason}:"))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no {reason} of {kind} {name}: {:#?}", self.told());
    }
}

#[tokio::test]
async fn the_story_of_a_claim_is_told_once() {
    let replicas = Replicas::new(3).await;
    let first = &replicas.0[0];
    first.create("sandboxtemplates", template("t")).await.unwrap();
    first.create("sandboxwarmpools", pool("p", "t", 2)).await.unwrap();
    first.create("sandboxwarmpools", pool("empty", "t", 0)).await.unwrap();
    first.settled("p", 2).await;
    let bound = loop {
        // The other replicas' stock follows.
        let bound = replicas.0[1].post(claim("c", of("p")), &[]).await.unwrap().object;
        if text(&bound, "status.sandbox.launchType") == "Warm" {
            break bound;
        }
        first.delete("sandboxclaims", "c").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let sandbox = text(&bound, "status.sandbox.name").to_owned();
    replicas.until("Sandbox", &sandbox, "Claimed").await;
    let patient = |timeout: &str| json!({"warmPoolRef": {"name": "empty"}, "onEmptyPool": "Wait", "timeout": timeout});
    first.post(claim("short", patient("100ms")), &[]).await.unwrap();
    replicas.until("SandboxClaim", "short", "TimedOut").await;
    first.post(claim("long", patient("1h")), &[]).await.unwrap();
    change(first, "sandboxwarmpools", "empty", |spec| spec["replicas"] = json!(1)).await;
    for _ in 0..300 {
        if first.named("sandboxclaims", "long").await.unwrap().at("status.sandbox").is_some() {
            break;
        }
        first.settle_some().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    replicas.until("SandboxClaim", "long", "Bound").await;
    first.delete("sandboxes", &sandbox).await;
    replicas.until("SandboxClaim", "c", "SandboxMissing").await;
    let mut ending = of("p");
    ending["lifecycle"] = json!({"shutdownTime": "2026-01-01T00:00:00Z"});
    first.post(claim("ending", ending), &[]).await.unwrap();
    replicas.until("SandboxClaim", "ending", "Expired").await;
    // Time enough for the other replicas to tell it again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (name, expected) in [
        ("c", vec!["Bound", "SandboxMissing"]),
        ("short", vec!["Waiting", "TimedOut"]),
        ("long", vec!["Waiting", "Bound"]),
        ("ending", vec!["Bound", "Expired"]),
    ] {
        let story = replicas.story("SandboxClaim", name);
        let reasons: Vec<_> = story.iter().filter_map(|it| it.split(':').next()).collect();
        let told = expected
            .iter()
            .all(|reason| reasons.iter().filter(|known| known == &reason).count() == 1);
        assert!(told && reasons.len() == expected.len(), "{name}: {story:#?}");
    }
    assert_eq!(replicas.story("Sandbox", &sandbox), ["Claimed: claimed by SandboxClaim \"c\""],);
    let story = replicas.story("SandboxClaim", "c");
    let begin = format!("Bound: bound to Sandbox {sandbox:?} of SandboxWarmPool \"p\" in ");
    assert!(story.iter().any(|it| it.starts_with(&begin)), "{story:#?}");
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_held_and_told_once() {
    let replicas = Replicas::new(3).await;
    let first = &replicas.0[0];
    first.create("sandboxtemplates", template("t")).await.unwrap();
    first.create("sandboxwarmpools", pool("p", "t", 2)).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..300 {
        all = members(first).await;
        if all.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for member in &all {
        let change = |object: &mut Object| {
            object.0.insert(
                "status".into(),
                json!({"phase": "Pending", "conditions": [{"type": "Ready", "status": "False",
                    "reason": "DependenciesNotReady",
                    "message": "Pod is not ready: ErrImagePull: no such image",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
            );
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let store = first.store("sandboxes");
        let (key, part) = (member.key(), Part::Status);
        store.mutate(&first.permit, &key, part, &options, &warnings, change).await.unwrap();
    }
    let mut now = Value::Null;
    for _ in 0..300 {
        let pool = first.named("sandboxwarmpools", "p").await.unwrap();
        now = pool.at("status.conditions").map_or(Value::Null, |all| all[0].clone());
        if now["reason"] == "NotProgressing" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = now["message"].as_str().unwrap_or_default();
    assert!(text.ends_with(": Pod is not ready: ErrImagePull: no such image"), "{now:#}");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let names = |all: &[Object]| all.iter().map(|it| it.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&members(first).await), names(&all), "they are kept");
    let story = replicas.story("SandboxWarmPool", "p");
    let of = |reason: &str| story.iter().filter(|it| it.starts_with(reason)).count();
    assert_eq!((of("Created"), of("NotProgressing"), of("Deleted")), (1, 1, 0), "{story:#?}");
    assert!(story.contains(&"Created: made 2 of 2 Sandboxes".to_owned()), "{story:#?}");
}

#[tokio::test]
async fn the_loop_tells_what_it_does() {
    let product = Product::running().await;
    let replicas = Replicas(vec![product]);
    let product = &replicas.0[0];
    product
        .create("sandboxes", json!({"metadata": {"name": "s"}, "spec": template("t")["spec"]}))
        .await
        .unwrap();
    let ready = |object: &Object| {
        object.at("status.conditions").is_some_and(|all| all[0]["status"] == "True")
    };
    product.until("s", ready).await;
    product.act("s", "suspend", &[("wait", "true")]).await.unwrap();
    product.act("s", "resume", &[("wait", "true")]).await.unwrap();
    replicas.until("Sandbox", "s", "Resumed").await;
    let story = replicas.story("Sandbox", "s");
    let expected = ["Suspended: Pod is terminated", "Resumed: made Pod \"s\" again"];
    assert_eq!(story, expected);
    let fault = sandbox_apiserver::cluster::fake::Fault::Rejected("exceeded quota".into());
    for _ in 0..50 {
        product.cluster.script(fault.clone());
    }
    product
        .create("sandboxes", json!({"metadata": {"name": "poor"}, "spec": template("t")["spec"]}))
        .await
        .unwrap();
    replicas.until("Sandbox", "poor", "FailedCreate").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(replicas.story("Sandbox", "poor"), ["FailedCreate: exceeded quota"]);
}
