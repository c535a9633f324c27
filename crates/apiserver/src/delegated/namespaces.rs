//! The host cluster's namespaces: a watched cache, and a live look when it knows nothing.
//!
//! Rule: `k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go`: a namespace that
//! the cache does not know may be new.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::sync::watch;
use tracing::warn;

use crate::admission::{NamespaceState, Namespaces};
use crate::status::ApiError;
use crate::tasks::{OnExit, Tasks};

/// The live look's own limit, below that of the request it is made for.
const LIVE_TIMEOUT: Duration = Duration::from_secs(5);

type States = Arc<RwLock<HashMap<String, NamespaceState>>>;

/// A followed list of namespaces.
#[derive(Clone)]
pub struct NamespaceCache {
    api: Api<Namespace>,
    states: States,
    synced: watch::Receiver<bool>,
}

impl fmt::Debug for NamespaceCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceCache").field("synced", &self.is_synced()).finish_non_exhaustive()
    }
}

impl NamespaceCache {
    pub fn follow(client: kube::Client, tasks: &Tasks) -> Self {
        let api = Api::<Namespace>::all(client);
        let states = States::default();
        let (sender, synced) = watch::channel(false);
        let stop = tasks.stopping().clone();
        let follow = run(api.clone(), states.clone(), sender);
        tasks.spawn("namespaces", OnExit::Shutdown, async move {
            stop.run_until_cancelled(follow).await;
        });
        Self { api, states, synced }
    }

    /// Whether the first list has arrived; the cache answers (slower) without it too.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }
}

#[async_trait]
impl Namespaces for NamespaceCache {
    async fn state(&self, name: &str) -> Result<NamespaceState, ApiError> {
        let known = self.states.read().expect("no holder of this lock panics").get(name).copied();
        if let Some(state) = known {
            return Ok(state);
        }
        match tokio::time::timeout(LIVE_TIMEOUT, self.api.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found.as_ref().map_or(NamespaceState::Missing, state)),
            Ok(Err(error)) => Err(ApiError::internal("can't look up the namespace")
                .with_log(format!("namespace {name}: {error}"))),
            Err(_) => Err(ApiError::internal("can't look up the namespace in time")),
        }
    }
}

async fn run(api: Api<Namespace>, states: States, synced: watch::Sender<bool>) {
    let mut events = pin!(watcher(api, Config::default()).default_backoff());
    let mut fresh = HashMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => apply(event, &mut fresh, &states, &synced),
            Err(error) => warn!(error = %error, "can't follow the namespaces; retrying"),
        }
    }
}

/// A relist is gathered in `fresh` and replaces what was known at once.
fn apply(
    event: Event<Namespace>,
    fresh: &mut HashMap<String, NamespaceState>,
    states: &States,
    synced: &watch::Sender<bool>,
) {
    let lock = || states.write().expect("no holder of this lock panics");
    match event {
        Event::Init => fresh.clear(),
        Event::InitApply(namespace) => {
            fresh.insert(name(&namespace), state(&namespace));
        }
        Event::InitDone => {
            *lock() = std::mem::take(fresh);
            synced.send_replace(true);
        }
        Event::Apply(namespace) => {
            lock().insert(name(&namespace), state(&namespace));
        }
        Event::Delete(namespace) => {
            lock().remove(&name(&namespace));
        }
    }
}

fn name(namespace: &Namespace) -> String {
    namespace.metadata.name.clone().unwrap_or_default()
}

fn state(namespace: &Namespace) -> NamespaceState {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Terminating") || namespace.metadata.deletion_timestamp.is_some() {
        NamespaceState::Terminating
    } else {
        NamespaceState::Active
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NamespaceStatus;

    use super::*;

    fn namespace(name: &str, phase: &str) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.into());
        namespace.status =
            Some(NamespaceStatus { phase: Some(phase.into()), ..NamespaceStatus::default() });
        namespace
    }

    #[test]
    fn a_relist_replaces_what_was_known() {
        let (states, mut fresh) = (States::default(), HashMap::new());
        let (sender, synced) = watch::channel(false);
        let mut feed = |event| apply(event, &mut fresh, &states, &sender);
        feed(Event::Apply(namespace("old", "Active")));
        feed(Event::Init);
        feed(Event::InitApply(namespace("a", "Active")));
        assert!(!*synced.borrow());
        feed(Event::InitDone);
        feed(Event::Apply(namespace("a", "Terminating")));
        assert!(*synced.borrow());
        assert_eq!(
            *states.read().unwrap(),
            HashMap::from([("a".to_owned(), NamespaceState::Terminating)])
        );
        feed(Event::Delete(namespace("a", "Terminating")));
        assert!(states.read().unwrap().is_empty());
    }
}
