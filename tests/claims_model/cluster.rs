//! The truth and the host cluster: who tells the model what the store did, makes Sandboxes ready,
//! and collects what deleted pools leave behind.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::{Clock as _, SystemClock};
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Part, Store};
use apiserver::request::{DeleteOptions, Preconditions, WriteOptions};
use apiserver::storage::{Kv, KvError};
use apiserver::warnings::Warnings;
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sandbox_apiserver::claims::Entrance;
use serde_json::json;
use tokio::sync::mpsc;

use crate::lab::replica::defs;
use crate::lab::{NAMESPACE, PREFIX};
use crate::model::Model;

/// Sandboxes that wait to be started; the truth waits for the kubelet beyond that.
const STARTING_MAX: usize = 10_000;
/// Sandboxes that are on their way at a time.
const STARTS_MAX: usize = 128;

/// Without faults: what it does, happens.
pub(crate) struct Cluster {
    kv: Arc<dyn Kv>,
    sandboxes: Store,
    permit: Permit,
    pub(crate) model: Mutex<Model>,
}

impl Cluster {
    pub(crate) fn new(kv: Arc<dyn Kv>) -> Arc<Self> {
        let def = defs(&Entrance::default()).into_iter().find(|def| def.plural == "sandboxes");
        let def = Arc::new(def.expect("a served kind"));
        let sandboxes = Store::new(def, kv.clone(), PREFIX, Arc::new(SystemClock), None);
        let permit = Permit::internal("cluster");
        Arc::new(Self { kv, sandboxes, permit, model: Mutex::default() })
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("no holder of this lock panics")
    }

    /// Everything it does; ends only with an error that can't be.
    pub(crate) async fn run(&self, seed: u64) -> anyhow::Error {
        let (sender, receiver) = mpsc::channel(STARTING_MAX);
        tokio::select! {
            error = self.follow(sender) => error,
            () = self.start_all(receiver, seed) => anyhow::anyhow!("the kubelet ended"),
            () = self.collect() => anyhow::anyhow!("the collector ended"),
        }
    }

    /// Tells the model, from the first revision, whatever becomes of the store.
    async fn follow(&self, born: mpsc::Sender<String>) -> anyhow::Error {
        loop {
            match self.follow_once(&born).await {
                Err(KvError::Unavailable { .. }) | Ok(()) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return error.into(),
            }
        }
    }

    async fn follow_once(&self, born: &mpsc::Sender<String>) -> Result<(), KvError> {
        let from = self.model().revision + 1;
        let mut batches = self.kv.watch(&format!("{PREFIX}/"), from).await?;
        while let Some(batch) = batches.next().await {
            let names = self.model().apply(&batch?.events, SystemClock.now());
            for name in names {
                if born.send(name).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes Sandboxes ready after a while, and some of them finished after another.
    async fn start_all(&self, born: mpsc::Receiver<String>, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let born = futures::stream::unfold(born, |mut born| async {
            born.recv().await.map(|name| (name, born))
        });
        born.map(|name| {
            let start = Duration::from_millis(random.random_range(1..60));
            let end = random
                .random_bool(0.03)
                .then(|| Duration::from_millis(random.random_range(0..200)));
            (name, start, end)
        })
        .for_each_concurrent(STARTS_MAX, |(name, start, end)| async move {
            tokio::time::sleep(start).await;
            self.set_status(&name, "True", "False").await;
            if let Some(end) = end {
                tokio::time::sleep(end).await;
                self.set_status(&name, "False", "True").await;
            }
        })
        .await;
    }

    async fn set_status(&self, name: &str, ready: &str, finished: &str) {
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "message": "", "reason": "Told",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let conditions = [condition("Ready", ready), condition("Finished", finished)];
        let status = json!({"phase": "Running", "nodeName": format!("n{}", name.len() % 3),
            "podIPs": ["10.0.0.1"], "conditions": conditions});
        let key = ObjectKey::namespaced(NAMESPACE, name);
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        loop {
            let change = |object: &mut Object| {
                object.0.insert("status".into(), status.clone());
                Ok(())
            };
            let part = Part::Status;
            let store = &self.sandboxes;
            let done = store.mutate(&self.permit, &key, part, &options, &warnings, change).await;
            match done {
                // The store is away: it comes back.
                Err(error) if error.code() >= 500 => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                _ => return,
            }
        }
    }

    /// The garbage collector, for what belonged to pools: Sandboxes of claims are the product's.
    async fn collect(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let orphans = self.model().orphans();
            for (name, uid) in orphans {
                let key = ObjectKey::namespaced(NAMESPACE, name);
                let Ok(object) = self
                    .sandboxes
                    .get(&self.permit, &key, &apiserver::request::GetOptions::default())
                    .await
                else {
                    continue;
                };
                let is_member = self.model().orphans().iter().any(|(_, orphan)| *orphan == uid);
                if !is_member || object.uid() != uid {
                    continue;
                }
                let resource_version = object.resource_version().map(str::to_owned);
                let preconditions = Preconditions { uid: Some(uid), resource_version };
                let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
                drop(self.sandboxes.delete(&self.permit, &key, &options).await);
            }
        }
    }
}
