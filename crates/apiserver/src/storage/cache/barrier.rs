//! "Now", for reads that must not be older than the moment they were asked at.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;
use tracing::debug;

use super::super::error::read_error;
use super::super::{Kv, Revision};
use crate::status::ApiError;

type Round = Shared<BoxFuture<'static, Result<Revision, ApiError>>>;

/// Reads the store's revision once for everybody who came while the last reading went on: each
/// waits for a reading that began after it asked, so at most two are ever needed.
#[derive(Clone, Default)]
pub(super) struct Barrier {
    shared: Arc<Rounds>,
}

#[derive(Default)]
struct Rounds {
    /// Not begun yet.
    next: Mutex<Option<Round>>,
    /// Held by the reading that goes on.
    gate: tokio::sync::Mutex<()>,
    asked_at: Mutex<Option<Instant>>,
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl Barrier {
    /// The store's revision at a moment after this call. If that is beyond `reached`, the watches
    /// have been asked for their progress.
    ///
    /// # Errors
    /// 503 when the store does not answer.
    pub(super) async fn now(
        &self,
        kv: Arc<dyn Kv>,
        key: &str,
        reached: Revision,
    ) -> Result<Revision, ApiError> {
        let round = {
            let mut next = lock(&self.shared.next);
            next.get_or_insert_with(|| self.round(kv, key.to_owned(), reached)).clone()
        };
        round.await
    }

    fn round(&self, kv: Arc<dyn Kv>, key: String, reached: Revision) -> Round {
        let this = self.clone();
        async move {
            let _turn = this.shared.gate.lock().await;
            // Who comes from here on must wait for a later reading.
            lock(&this.shared.next).take();
            let revision = kv.get(&key, None).await.map_err(read_error)?.revision;
            if revision > reached {
                ask(kv.as_ref()).await;
            }
            Ok(revision)
        }
        .boxed()
        .shared()
    }

    /// Asks the watches for progress, unless somebody else has just done so.
    pub(super) async fn ask_for_progress(&self, kv: &dyn Kv) {
        {
            let mut asked_at = lock(&self.shared.asked_at);
            let now = Instant::now();
            if asked_at.is_some_and(|at| now.duration_since(at) < PAUSE) {
                return;
            }
            *asked_at = Some(now);
        }
        ask(kv).await;
    }
}

async fn ask(kv: &dyn Kv) {
    if let Err(error) = kv.request_progress().await {
        debug!(%error, "cannot ask the store for progress");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For all waiters together.
const PAUSE: Duration = Duration::from_millis(80);

#[cfg(test)]
mod tests;
