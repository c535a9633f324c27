//! The driver itself, with its tasks and timers.

use std::sync::Arc;
use std::time::Duration;

use apiserver::clock::{Clock as _, SystemClock};
use apiserver::tasks::Tasks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sandbox_api::keys;

use super::sandboxes::FakeSandboxes;
use super::{condition, key, spec};
use crate::cluster::fake::{FakeCluster, Fault};
use crate::foreground::Foreground;
use crate::provision::{Config, Driver};

#[tokio::test]
async fn the_driver_launches_through_faults_and_ends_when_told() {
    let sandboxes = Arc::new(FakeSandboxes::default());
    let cluster = Arc::new(FakeCluster::default());
    let config = Config { workers: 4, ..Config::default() };
    let driver = Driver::new(sandboxes.clone(), cluster.clone(), Arc::new(SystemClock), config);
    let tasks = Tasks::new();
    sandboxes.create(&key("early"), spec(false, false));
    cluster.script(Fault::AnswerLost);
    cluster.script(Fault::Lost);
    driver.start(&tasks);
    sandboxes.create(&key("late"), spec(true, true));
    let ready = |name: &str| condition(&sandboxes.read(&key(name)).unwrap(), "Ready");
    for _ in 0..500 {
        cluster.deliver(usize::MAX);
        for name in ["early", "late"] {
            cluster.run_pod(&key(name), Time(SystemClock.now()));
        }
        if ["early", "late"].into_iter().all(|name| ready(name) == "True/DependenciesReady") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ready("early"), "True/DependenciesReady");
    assert_eq!(ready("late"), "True/DependenciesReady");
    assert_eq!(cluster.pods().len(), 2);
    assert_eq!(driver.backlog(), 0);
    tokio::time::timeout(Duration::from_secs(5), tasks.shutdown()).await.unwrap();
}

#[tokio::test]
async fn what_follows_a_claim_lets_other_claims_pass_and_all_else_goes_on() {
    let sandboxes = Arc::new(FakeSandboxes::default());
    let cluster = Arc::new(FakeCluster::default());
    let foreground = Foreground::default();
    let config = Config {
        workers: 4,
        patience: Duration::from_secs(600),
        foreground: foreground.clone(),
        ..Config::default()
    };
    let clock = Arc::new(SystemClock);
    let driver = Driver::new(sandboxes.clone(), cluster.clone(), clock.clone(), config);
    let tasks = Tasks::new();
    driver.start(&tasks);
    let until = async |what: &str, is: &dyn Fn() -> bool| {
        for _ in 0..500 {
            cluster.deliver(usize::MAX);
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}");
    };
    let has_pod =
        |name: &str| cluster.pods().iter().any(|pod| pod.metadata.name.as_deref() == Some(name));
    let is_labelled = || {
        let pods = cluster.pods();
        let stock = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some("stock"));
        let labels = stock.and_then(|pod| pod.metadata.labels.as_ref());
        labels.is_some_and(|labels| labels.contains_key(keys::CLAIM_UID))
    };
    sandboxes.create(&key("stock"), spec(false, false));
    until("the stock gets a Pod", &|| has_pod("stock")).await;
    let answering = foreground.enter(&*clock);
    sandboxes.claim(&key("stock"), "claim");
    sandboxes.create(&key("new"), spec(false, false));
    until("a new Sandbox gets a Pod meanwhile", &|| has_pod("new")).await;
    assert!(!is_labelled(), "a claim is being answered");
    drop(answering);
    until("the Pod gets the claim's label", &is_labelled).await;
    tokio::time::timeout(Duration::from_secs(5), tasks.shutdown()).await.unwrap();
}
