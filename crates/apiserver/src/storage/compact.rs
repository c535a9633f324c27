//! Forgets old history, once per interval for all replicas together
//! (`[apiserver] pkg/storage/etcd3/compact.go`).
//!
//! Every replica tries to replace the shared record under [`COMPACT_KEY`] that it saw one interval
//! ago. Only one can win; it compacts to the revision that was current at its last look. So at
//! least one interval of history always stays readable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::{Expect, Kv, KvError, Outcome, Revision, Write};
use crate::tasks::CancellationToken;

/// Shared with every replica on the same store.
pub const COMPACT_KEY: &str = "compact_rev_key";

/// Compacts until `stop` is cancelled. Failures are logged and tried again an interval later.
/// Don't run it against a store that compacts by itself.
pub async fn run(kv: Arc<dyn Kv>, interval: Duration, stop: CancellationToken) {
    let mut seen = Seen { record: Expect::Absent, revision: 0 };
    loop {
        match step(kv.as_ref(), &mut seen).await {
            Ok(Some(revision)) => debug!(revision, "compacted the store"),
            Ok(None) => {}
            Err(error) => warn!(%error, "cannot compact the store"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// What this replica saw at its last look.
struct Seen {
    record: Expect,
    /// 0 = nothing yet.
    revision: Revision,
}

/// One round; the revision compacted to, if this replica's turn it was.
async fn step(kv: &dyn Kv, seen: &mut Seen) -> Result<Option<Revision>, KvError> {
    let put = Write::Put { key: COMPACT_KEY.into(), value: Bytes::from(seen.revision.to_string()) };
    let guard = (COMPACT_KEY.to_owned(), seen.record.clone());
    match kv.txn(vec![guard], vec![put]).await? {
        Outcome::Done(revision) => {
            let target = seen.revision;
            *seen = Seen { record: Expect::Revision(revision), revision };
            if target == 0 {
                return Ok(None);
            }
            match kv.compact(target).await {
                // Someone was further already.
                Ok(()) | Err(KvError::Compacted { .. }) => Ok(Some(target)),
                Err(error) => Err(error),
            }
        }
        Outcome::Conflict(current) => {
            let current = current.into_iter().next().flatten();
            *seen = match current {
                Some(kv) => {
                    Seen { record: Expect::Revision(kv.mod_revision), revision: kv.mod_revision }
                }
                None => Seen { record: Expect::Absent, revision: 0 },
            };
            Ok(None)
        }
    }
}
