use apiserver::clock::SystemClock;
use apiserver::meta::ObjectKey;

use super::*;
use crate::cluster::fake::FakeEvents;

fn event(name: &str) -> Event {
    let about = Subject {
        kind: "SandboxClaim",
        key: ObjectKey::namespaced("ns", name),
        uid: format!("{name}-uid"),
    };
    Event::normal(about, ("Bound", "Bind"), "")
}

fn start(config: Config) -> (Events, Arc<FakeEvents>, Tasks) {
    let (sink, tasks) = (Arc::new(FakeEvents::default()), Tasks::new());
    let events = Events::start(sink.clone(), Arc::new(SystemClock), config, &tasks);
    (events, sink, tasks)
}

/// Waits until `done`, without being told.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

#[tokio::test]
async fn a_full_queue_drops_and_never_blocks() {
    let (events, sink, _tasks) = start(Config { queue_max: 10, ..Config::default() });
    sink.hang(true);
    events.tell(event("first"));
    until(|| sink.tries() == 1).await;
    // The cluster does not answer: ten wait, the rest is dropped, and nobody waits for that.
    for index in 0..50 {
        events.tell(event(&format!("c{index}")));
    }
    assert_eq!(events.metrics().of(Outcome::QueueFull), 40);
    sink.hang(false);
    until(|| sink.all().len() == 11).await;
    assert_eq!(sink.all()[0].about.key.name, "first");
    assert_eq!(events.metrics().of(Outcome::Written), 11);
}

#[tokio::test]
async fn one_object_does_not_tell_too_much() {
    let (events, sink, _tasks) = start(Config::default());
    for _ in 0..100 {
        events.tell(event("noisy"));
    }
    events.tell(event("quiet"));
    until(|| sink.all().iter().any(|it| it.about.key.name == "quiet")).await;
    assert_eq!(sink.all().len(), 26);
    assert_eq!(events.metrics().of(Outcome::Paced), 75);
}

#[tokio::test]
async fn all_objects_share_a_rate() {
    let rate = Rate { interval: Duration::from_millis(20), burst: 5 };
    let (events, sink, _tasks) = start(Config { rate, ..Config::default() });
    let started = tokio::time::Instant::now();
    for index in 0..20 {
        events.tell(event(&format!("c{index}")));
    }
    until(|| sink.all().len() == 20).await;
    assert!(started.elapsed() >= Duration::from_millis(280), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_the_cluster_refuses_is_not_tried_again_and_what_is_lost_is() {
    let pause = Duration::from_millis(1);
    let (events, sink, _tasks) = start(Config { pause, ..Config::default() });
    sink.fail(Some(EventError::Rejected { message: "no".into() }));
    events.tell(event("refused"));
    until(|| events.metrics().of(Outcome::Failed) == 1).await;
    assert_eq!(sink.tries(), 1);
    sink.fail(Some(EventError::Unavailable { detail: "away".into() }));
    events.tell(event("lost"));
    until(|| events.metrics().of(Outcome::Failed) == 2).await;
    assert_eq!(sink.tries(), 5);
    sink.fail(None);
    events.tell(event("written"));
    until(|| sink.all().len() == 1).await;
    // Without anybody to tell it to nothing happens.
    Events::default().tell(event("nobody"));
}
