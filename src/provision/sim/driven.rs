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

/// A driver in which all that can wait waits for ten minutes, while claims are under way.
struct Driven {
    sandboxes: Arc<FakeSandboxes>,
    cluster: Arc<FakeCluster>,
    clock: Arc<SystemClock>,
    foreground: Foreground,
    tasks: Tasks,
}

impl Driven {
    fn start() -> Self {
        let (sandboxes, cluster) = (Arc::<FakeSandboxes>::default(), Arc::<FakeCluster>::default());
        let clock = Arc::new(SystemClock);
        let foreground = Foreground::default();
        let config = Config {
            workers: 4,
            patience: Duration::from_secs(600),
            stock_patience: Duration::from_secs(600),
            foreground: foreground.clone(),
            ..Config::default()
        };
        let tasks = Tasks::new();
        Driver::new(sandboxes.clone(), cluster.clone(), clock.clone(), config).start(&tasks);
        Self { sandboxes, cluster, clock, foreground, tasks }
    }

    async fn until(&self, what: &str, is: impl Fn() -> bool) {
        for _ in 0..500 {
            self.cluster.deliver(usize::MAX);
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}");
    }

    fn has_pod(&self, name: &str) -> bool {
        self.cluster.pods().iter().any(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    fn is_labelled(&self, name: &str) -> bool {
        let pods = self.cluster.pods();
        let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name));
        let labels = pod.and_then(|pod| pod.metadata.labels.as_ref());
        labels.is_some_and(|labels| labels.contains_key(keys::CLAIM_UID))
    }

    async fn stop(self) {
        tokio::time::timeout(Duration::from_secs(5), self.tasks.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn what_follows_a_claim_lets_other_claims_pass_and_all_else_goes_on() {
    let driven = Driven::start();
    driven.sandboxes.create(&key("taken"), spec(false, false));
    driven.until("it gets a Pod", || driven.has_pod("taken")).await;
    let answering = driven.foreground.enter(&*driven.clock);
    driven.sandboxes.claim(&key("taken"), "claim");
    driven.sandboxes.create(&key("new"), spec(false, false));
    driven.until("a new Sandbox gets a Pod meanwhile", || driven.has_pod("new")).await;
    assert!(!driven.is_labelled("taken"), "a claim is being answered");
    drop(answering);
    driven.until("the Pod gets the claim's label", || driven.is_labelled("taken")).await;
    driven.stop().await;
}

#[tokio::test]
async fn a_pod_ends_with_its_sandbox_whatever_the_garbage_collector_does() {
    let driven = Driven::start();
    driven.sandboxes.create(&key("released"), spec(false, false));
    driven.until("it gets a Pod", || driven.has_pod("released")).await;
    driven.cluster.run_pod(&key("released"), Time(SystemClock.now()));
    let ready = || condition(&driven.sandboxes.read(&key("released")).unwrap(), "Ready");
    driven.until("it is ready", || ready().starts_with("True")).await;
    driven.cluster.script(Fault::Lost);
    driven.sandboxes.remove(&key("released"));
    let pod = || driven.cluster.pods().pop().unwrap();
    driven.until("the Pod ends", || pod().metadata.deletion_timestamp.is_some()).await;
    driven.stop().await;
}

#[tokio::test]
async fn a_new_member_lets_claims_pass_unless_its_pool_is_empty() {
    let driven = Driven::start();
    let (full, empty) = (key("full"), key("empty"));
    driven.sandboxes.create(&key("first"), spec(false, false));
    driven.until("the driver watches", || driven.has_pod("first")).await;
    driven.foreground.set_stock(&full, 4, 4);
    driven.foreground.set_stock(&empty, 0, 4);
    let answering = driven.foreground.enter(&*driven.clock);
    driven.sandboxes.stock(&key("of-full"), &full, spec(false, false));
    driven.sandboxes.stock(&key("of-empty"), &empty, spec(false, false));
    driven.until("the empty pool's gets a Pod", || driven.has_pod("of-empty")).await;
    driven.sandboxes.create(&key("new"), spec(false, false));
    driven.until("so does what came later", || driven.has_pod("new")).await;
    assert!(!driven.has_pod("of-full"), "a claim is being answered");
    drop(answering);
    driven.until("the full pool's gets a Pod", || driven.has_pod("of-full")).await;
    driven.stop().await;
}
