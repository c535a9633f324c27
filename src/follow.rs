//! Follows a kind in the registry for as long as the server lives: a list, the watch that goes on
//! from it, and again when that ends.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::Permit;
use apiserver::clock::random_fraction;
use apiserver::meta::{ObjectKey, Scope};
use apiserver::registry::{EventKind, Item, Store, WatchEvent};
use apiserver::request::{ListOptions, WatchOptions};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use apiserver::tasks::{OnExit, Tasks};
use futures::StreamExt as _;
use tracing::warn;

/// What is told of a followed kind.
pub trait Follower: Send + Sync + 'static {
    /// Everything there is; what is not in it is gone.
    fn all(&self, items: &[Arc<Item>]);

    fn changed(&self, item: &Arc<Item>);

    /// Its last content.
    fn gone(&self, item: &Arc<Item>, key: &ObjectKey);
}

/// What is followed.
#[derive(Debug, Clone)]
pub struct Source {
    pub store: Store,
    pub permit: Permit,
    /// Objects that cease to match count as gone.
    pub labels: LabelSelector,
}

/// Between two attempts to list: at first, when the cache is being filled, it takes moments.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Follows `source` until the tasks stop.
pub fn follow(tasks: &Tasks, name: &'static str, source: Source, follower: Arc<dyn Follower>) {
    let stop = tasks.stopping().clone();
    tasks.spawn(name, OnExit::Shutdown, async move {
        let mut retry = RETRY_MIN;
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = once(&source, &*follower) => ended,
            };
            // An expired watch is nothing special, but must not turn into a storm of lists either.
            let wait = match ended {
                Ok(()) => {
                    retry = RETRY_MIN;
                    RETRY_MIN
                }
                Err(error) => {
                    // What passes within moments is no news for an operator.
                    if retry == RETRY_MAX {
                        warn!(name, %error, "following failed; listing again");
                    }
                    let wait = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait.mul_f64(1.0 + random_fraction())) => {}
            }
        }
    });
}

async fn once(source: &Source, follower: &dyn Follower) -> Result<(), ApiError> {
    let Source { store, permit, labels } = source;
    let options = ListOptions { label_selector: labels.clone(), ..ListOptions::default() };
    let list = store.list(permit, &Scope::All, &options).await?;
    follower.all(&list.items);
    let options = WatchOptions {
        label_selector: labels.clone(),
        resource_version: list.resource_version.to_string(),
        ..WatchOptions::default()
    };
    let mut events = store.watch(permit, &Scope::All, &options).await?;
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::Change(EventKind::Deleted, shared) => {
                let item = shared.item();
                follower.gone(item, &item.key());
            }
            WatchEvent::Change(_, shared) => follower.changed(shared.item()),
            WatchEvent::Bookmark { .. } => {}
            WatchEvent::Error(error) => return Err(error),
        }
    }
    Ok(())
}
