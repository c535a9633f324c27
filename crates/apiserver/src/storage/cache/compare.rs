//! Now and then the cache is held against the store: a cache that is wrong would be wrong for ever.

use super::super::{KvError, Page};
use super::Inner;

/// The outcome of a comparison.
#[derive(Debug)]
pub(super) enum Compared {
    Equal,
    Different(String),
    /// The moment is too long ago already.
    Impossible,
}

impl Inner {
    /// Compares keys and revisions, as of one revision.
    pub(super) async fn compare(&self) -> Result<Compared, KvError> {
        let (objects, revision) = {
            let state = self.state();
            (state.objects.clone(), state.revision)
        };
        let store = &self.store;
        let mut cached = objects.values();
        let mut start = None;
        loop {
            let page = Page { start, limit: COMPARE_KEYS, at: Some(revision), keys_only: true };
            let listed = match store.kv.list(store.keys.root(), page).await {
                Err(KvError::Compacted { .. }) => return Ok(Compared::Impossible),
                other => other?,
            };
            for kv in &listed.items {
                let path = store.path(&kv.key);
                let found = cached.next();
                if !found.is_some_and(|it| *it.path() == path && it.revision() == kv.mod_revision) {
                    return Ok(Compared::Different(format!(
                        "at revision {revision} the store has {path} of {}, the cache {found:?}",
                        kv.mod_revision
                    )));
                }
            }
            start = listed.items.last().map(|last| format!("{}\0", last.key));
            let more = listed.count > u64::try_from(listed.items.len()).unwrap_or(u64::MAX);
            if !more || start.is_none() {
                return Ok(match cached.next() {
                    None => Compared::Equal,
                    Some(extra) => Compared::Different(format!(
                        "at revision {revision} the cache has {extra:?}, the store not"
                    )),
                });
            }
        }
    }
}

/// Fetched at once.
const COMPARE_KEYS: usize = 2000;
