//! Warm pools over a real etcd, with several replicas that all keep them.

use std::collections::BTreeSet;
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::Part;
use apiserver::request::WriteOptions;
use apiserver::warnings::Warnings;
use serde_json::{Value, json};

use crate::claims::{claim, pool, template};
use crate::product::Product;

const LABEL: &str = "sandbox.x-k8s.io/warm-pool-sandbox";

pub(crate) async fn members(product: &Product) -> Vec<Object> {
    let all = product.all("sandboxes").await;
    all.into_iter().filter(|sandbox| sandbox.label(LABEL).is_some()).collect()
}

pub(crate) async fn change(
    product: &Product,
    plural: &str,
    name: &str,
    change: impl Fn(&mut Value) + Send + Sync,
) {
    let key = ObjectKey::namespaced("ns", name);
    let (options, warnings) = (WriteOptions::default(), Warnings::new());
    let change = |object: &mut Object| {
        change(object.0.get_mut("spec").expect("a spec"));
        Ok(())
    };
    product
        .store(plural)
        .mutate(&product.permit, &key, Part::Main, &options, &warnings, change)
        .await
        .expect("a change");
}

#[tokio::test]
async fn a_pool_is_as_large_as_it_is_asked_to_be() {
    let product = Product::new().await;
    let _claims = product.supply();
    product.create("sandboxwarmpools", pool("p", "t", 3)).await.unwrap();
    for _ in 0..300 {
        let now = product.named("sandboxwarmpools", "p").await.unwrap();
        if now.at("status.conditions").is_some_and(|it| it[0]["reason"] == "TemplateNotFound") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The template comes later.
    product.create("sandboxtemplates", template("t")).await.unwrap();
    product.settled("p", 3).await;
    let now = product.named("sandboxwarmpools", "p").await.unwrap();
    assert_eq!(now.at("status.conditions").unwrap()[0]["reason"], "StockFull");
    for size in [5, 1, 0, 60] {
        change(&product, "sandboxwarmpools", "p", |spec| spec["replicas"] = json!(size)).await;
        product.settled("p", size).await;
        assert_eq!(members(&product).await.len(), usize::try_from(size).unwrap());
    }
}

#[tokio::test]
async fn three_replicas_never_make_too_many() {
    let replicas = Product::replicas(3).await;
    let first = &replicas[0];
    first.create("sandboxtemplates", template("t")).await.unwrap();
    first.create("sandboxwarmpools", pool("p", "t", 30)).await.unwrap();
    let mut most = 0;
    for _ in 0..60 {
        most = most.max(members(first).await.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.settled("p", 30).await;
    most = most.max(members(first).await.len());
    assert_eq!(most, 30);
}

#[tokio::test]
async fn a_rolling_update_replaces_the_stock_and_never_drops_below() {
    let product = Product::new().await;
    let claims = product.supply();
    product.create("sandboxtemplates", template("t")).await.unwrap();
    let mut rolling = pool("p", "t", 4);
    rolling["spec"]["updateStrategy"] = json!({"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}});
    product.create("sandboxwarmpools", rolling).await.unwrap();
    product.settled("p", 4).await;
    let old: Vec<_> = members(&product).await.iter().map(|it| it.name().to_owned()).collect();
    change(&product, "sandboxtemplates", "t", |spec| {
        spec["podTemplate"]["spec"]["containers"][0]["image"] = json!("new");
    })
    .await;
    let mut least = usize::MAX;
    let mut most = 0;
    for _ in 0..500 {
        let now = members(&product).await;
        let ready = now
            .iter()
            .filter(|it| it.at("status.conditions").is_some_and(|all| all[0]["status"] == "True"))
            .count();
        least = least.min(ready);
        most = most.max(now.len());
        if now.len() == 4 && now.iter().all(|it| !old.contains(&it.name().to_owned())) {
            break;
        }
        product.settle_some().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    product.settled("p", 4).await;
    assert!(least >= 4 && most <= 6, "between {least} and {most}");
    let now = product.named("sandboxwarmpools", "p").await.unwrap();
    assert_eq!(now.at("status.updatedReadyReplicas"), Some(&json!(4)));
    assert!(members(&product).await.iter().all(|it| !old.contains(&it.name().to_owned())));
    drop(claims);
}

#[tokio::test]
async fn members_that_end_at_once_are_made_ever_more_slowly() {
    let replicas = Product::replicas(3).await;
    let first = &replicas[0];
    first.create("sandboxtemplates", template("t")).await.unwrap();
    first.create("sandboxwarmpools", pool("p", "t", 2)).await.unwrap();
    let mut seen = BTreeSet::new();
    let finish = |object: &mut Object| {
        object.0.insert(
            "status".into(),
            json!({"phase": "Failed", "conditions": [
                {"type": "Ready", "status": "False", "reason": "PodFailed",
                    "message": "Pod has failed: Error", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                {"type": "Finished", "status": "True", "reason": "PodFailed",
                    "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        );
        Ok(())
    };
    let started = tokio::time::Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        for member in members(first).await {
            if !seen.insert(member.name().to_owned()) {
                continue;
            }
            let (options, warnings) = (WriteOptions::default(), Warnings::new());
            let (key, part) = (member.key(), Part::Status);
            let store = first.store("sandboxes");
            store.mutate(&first.permit, &key, part, &options, &warnings, finish).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Without a pause there are more than a hundred.
    assert!((4..=16).contains(&seen.len()), "{} made", seen.len());
    let now = first.named("sandboxwarmpools", "p").await.unwrap();
    let ready = &now.at("status.conditions").unwrap()[0];
    assert_eq!(ready["reason"], "NotProgressing", "{ready}");
    assert!(ready["message"].as_str().unwrap().ends_with(": Pod has failed: Error"), "{ready}");
    // A mended template is tried at once.
    change(first, "sandboxtemplates", "t", |spec| {
        spec["podTemplate"]["spec"]["containers"][0]["image"] = json!("new");
    })
    .await;
    first.settled("p", 2).await;
}

#[tokio::test]
async fn the_figures_of_a_pool_end_with_it() {
    let product = Product::new().await;
    let _claims = product.supply();
    product.create("sandboxtemplates", template("t")).await.unwrap();
    product.create("sandboxwarmpools", pool("p", "t", 3)).await.unwrap();
    product.settled("p", 3).await;
    change(&product, "sandboxwarmpools", "p", |spec| spec["replicas"] = json!(1)).await;
    product.settled("p", 1).await;
    let patient = json!({"warmPoolRef": {"name": "p"}, "onEmptyPool": "Wait", "replicas": 9});
    product.post(claim("c", patient), &[]).await.unwrap();
    let series = r#"namespace="ns",pool="p""#;
    let figures = product.figures();
    for line in [
        format!("sandbox_pool_ready{{{series}}} 1"),
        format!("sandbox_pool_desired{{{series}}} 1"),
        format!("sandbox_pool_created_total{{{series}}} 3"),
        format!("sandbox_pool_deleted_total{{{series},cause=\"surplus\"}} 2"),
        format!("sandbox_pool_deleted_total{{{series},cause=\"late\"}} 0"),
        "sandbox_claim_queue_length 1".to_owned(),
    ] {
        assert!(figures.lines().any(|it| it == line), "{line}: {figures}");
    }
    product.delete("sandboxwarmpools", "p").await;
    for _ in 0..300 {
        if !product.figures().contains(series) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", product.figures());
}

#[tokio::test]
async fn what_is_not_gone_yet_takes_up_room() {
    let product = Product::new().await;
    let _claims = product.supply();
    product.create("sandboxtemplates", template("t")).await.unwrap();
    let mut recreated = pool("p", "t", 3);
    recreated["spec"]["updateStrategy"] = json!({"type": "Recreate"});
    product.create("sandboxwarmpools", recreated).await.unwrap();
    product.settled("p", 3).await;
    let held = members(&product).await;
    let hold = async |finalizers: &[&str]| {
        for member in &held {
            let change = |object: &mut Object| {
                object.set_meta("finalizers", json!(finalizers));
                Ok(())
            };
            let (options, warnings) = (WriteOptions::default(), Warnings::new());
            let store = product.store("sandboxes");
            let (key, part) = (member.key(), Part::Main);
            store.mutate(&product.permit, &key, part, &options, &warnings, change).await.unwrap();
        }
    };
    hold(&["example.com/held"]).await;
    change(&product, "sandboxtemplates", "t", |spec| {
        spec["podTemplate"]["spec"]["containers"][0]["image"] = json!("new");
    })
    .await;
    let mut ending = 0;
    for _ in 0..100 {
        let now = members(&product).await;
        assert_eq!(now.len(), 3, "one for one, and none is gone");
        ending = now.iter().filter(|it| it.deletion_timestamp().is_some()).count();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ending, 3);
    hold(&[]).await;
    product.settled("p", 3).await;
}
