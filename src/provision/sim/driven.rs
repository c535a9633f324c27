//! The driver itself, with its tasks and timers.

use std::sync::Arc;
use std::time::Duration;

use apiserver::clock::{Clock as _, SystemClock};
use apiserver::tasks::Tasks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::sandboxes::FakeSandboxes;
use super::{condition, key, spec};
use crate::cluster::fake::{FakeCluster, Fault};
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
