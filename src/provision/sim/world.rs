//! The simulated world: two loops (as after a lost leadership) over one registry and one cluster,
//! stepped by hand.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apiserver::clock::{Clock as _, ManualClock};
use apiserver::meta::{Object, ObjectKey};
use futures::task::noop_waker;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::broadcast;

use super::sandboxes::FakeSandboxes;
use crate::cluster::fake::FakeCluster;
use crate::cluster::{Change, Cluster as _};
use crate::provision::feed::Feed;
use crate::provision::queue::{Backoff, Queue};
use crate::provision::sandboxes::Notice;
use crate::provision::{Outcome, Policy, ReconcileError, Reconciler};

type Pass = Pin<Box<dyn Future<Output = Result<Outcome, ReconcileError>>>>;

/// One loop: what a process holds in memory.
pub(super) struct Loop {
    reconciler: Arc<Reconciler>,
    queue: Queue,
    feed: Feed,
    notices: broadcast::Receiver<Notice>,
    changes: broadcast::Receiver<Change>,
    passes: Vec<(ObjectKey, Pass)>,
}

pub(super) struct World {
    pub(super) sandboxes: Arc<FakeSandboxes>,
    pub(super) cluster: Arc<FakeCluster>,
    pub(super) clock: ManualClock,
    pub(super) loops: Vec<Loop>,
}

impl World {
    pub(super) fn new(loops: usize) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut world = Self {
            sandboxes: Arc::default(),
            cluster: Arc::default(),
            clock: ManualClock::new(start),
            loops: Vec::new(),
        };
        world.loops = (0..loops).map(|_| world.new_loop()).collect();
        world
    }

    fn new_loop(&self) -> Loop {
        let reconciler = Reconciler::new(
            self.sandboxes.clone(),
            self.cluster.clone(),
            Arc::new(self.clock.clone()),
            Policy::default(),
        );
        let mut new = Loop {
            reconciler: Arc::new(reconciler),
            queue: Queue::new(Backoff::default()),
            feed: Feed::default(),
            notices: self.sandboxes.subscribe(),
            changes: self.cluster.changes(),
            passes: Vec::new(),
        };
        let all: Vec<Arc<Object>> = self.sandboxes.all();
        let listed = new.feed.replace(all.iter().map(|object| &**object));
        listed.open.into_iter().chain(listed.settled).for_each(|key| new.queue.add(key));
        new
    }

    /// kill -9: every pass ends where it is, all memory is lost, and the process starts again.
    pub(super) fn crash(&mut self, index: usize) {
        self.loops[index] = self.new_loop();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn advance(&self, by: Duration) {
        self.clock.set(self.now().saturating_add(by).unwrap());
    }

    pub(super) fn run_pod(&self, key: &ObjectKey) {
        self.cluster.run_pod(key, Time(self.now()));
    }

    pub(super) fn collect_garbage(&self) {
        let uids: BTreeSet<String> =
            self.sandboxes.all().iter().map(|object| object.uid().to_owned()).collect();
        self.cluster.collect_garbage(&uids);
    }

    /// Takes news in, begins what is ready and moves each pass by one poll; whether it did anything.
    pub(super) fn step(&mut self, index: usize) -> bool {
        let now = self.now();
        let this = &mut self.loops[index];
        while let Ok(notice) = this.notices.try_recv() {
            this.reconciler.hear(&notice);
            this.feed.take(&notice).into_iter().for_each(|(key, _)| this.queue.add(key));
        }
        while let Ok(Change::Sandbox(key)) = this.changes.try_recv() {
            this.queue.add(key);
        }
        while let Some(key) = this.queue.take(now, true) {
            let (reconciler, of) = (Arc::clone(&this.reconciler), key.clone());
            this.passes.push((key, Box::pin(async move { reconciler.reconcile(&of).await })));
        }
        let waker = noop_waker();
        let context = &mut Context::from_waker(&waker);
        let busy = !this.passes.is_empty();
        let mut going = Vec::new();
        for (key, mut pass) in this.passes.drain(..) {
            match pass.as_mut().poll(context) {
                Poll::Pending => going.push((key, pass)),
                Poll::Ready(Ok(Outcome::Settled)) => this.queue.done(&key, None),
                Poll::Ready(Ok(Outcome::Again(after))) => {
                    this.queue.done(&key, Some(now.saturating_add(after).unwrap()));
                }
                Poll::Ready(Err(_)) => _ = this.queue.failed(&key, now, 0.5),
            }
        }
        this.passes = going;
        busy
    }

    /// Lets everything happen that will without faults: news arrive, Pods run, time passes.
    pub(super) fn settle(&mut self) {
        for round in 0..400 {
            self.collect_garbage();
            for pod in self.cluster.pods() {
                let key = ObjectKey {
                    namespace: pod.metadata.namespace.clone(),
                    name: pod.metadata.name.clone().unwrap(),
                };
                self.run_pod(&key);
            }
            self.quiet();
            // Long enough in sum for every pause after failures and every slow retry.
            self.advance(Duration::from_millis(if round < 50 { 100 } else { 1000 }));
        }
    }

    /// Until no loop has anything to do at this moment.
    pub(super) fn quiet(&mut self) {
        for _ in 0..1000 {
            let delivered = self.cluster.deliver(usize::MAX);
            let mut busy = delivered > 0;
            for index in 0..self.loops.len() {
                busy |= self.step(index);
            }
            if !busy {
                return;
            }
        }
        panic!("the loops never come to rest");
    }
}
