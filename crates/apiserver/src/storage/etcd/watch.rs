//! An etcd watch as [`KvWatch`].
//!
//! Who asks for what is not there yet joins the shared stream at once. Who asks for history reads
//! it on a stream of its own, and joins the shared one when etcd says that it is up to date. Both
//! then run side by side until the history has reached what the shared stream certainly has, and
//! what came twice is dropped. Revisions tell, so nothing is lost or repeated.

use std::sync::Arc;

use futures::stream;

use super::super::{KvBatch, KvError, KvWatch, Revision};
use super::feed::Feed;
use super::stream::Joined;
use super::streams::Streams;

/// Starts a watch; returns once etcd has confirmed it.
///
/// # Errors
/// [`KvError::Unavailable`] when etcd has not confirmed it in time.
pub(super) async fn start(
    streams: Arc<Streams>,
    prefix: &str,
    from: Revision,
) -> Result<KvWatch, KvError> {
    let (feed, phase) = begin(&streams, prefix, from).await?;
    let prefix = prefix.to_owned();
    let watch = Watch { streams, prefix, next: from, feed, phase, done: false };
    Ok(Box::pin(stream::unfold(watch, |mut watch| async move {
        if watch.done {
            return None;
        }
        let item = watch.batch().await;
        watch.done = item.is_err();
        Some((item, watch))
    })))
}

struct Watch {
    streams: Arc<Streams>,
    prefix: String,
    /// The first revision not yet delivered.
    next: Revision,
    feed: Feed,
    phase: Phase,
    done: bool,
}

/// What the feed comes from.
enum Phase {
    /// The shared stream.
    Live,
    /// A stream of its own, behind.
    History,
    /// A stream of its own, until it reaches the revision from which on the shared stream, which
    /// has been joined meanwhile, has everything.
    Both(Joined),
}

async fn begin(streams: &Streams, prefix: &str, from: Revision) -> Result<(Feed, Phase), KvError> {
    if from <= 0 || from > streams.seen() {
        let joined = streams.join(prefix).await?;
        if from <= 0 || from > joined.revision {
            return Ok((joined.feed, Phase::Live));
        }
        // The store was further than we knew.
        streams.saw(joined.revision);
    }
    Ok((streams.replay(prefix, from).await?.feed, Phase::History))
}

impl Watch {
    async fn batch(&mut self) -> Result<KvBatch, KvError> {
        loop {
            let mut batch = self.news().await.map_err(|error| match error {
                KvError::Compacted { compacted, .. } => {
                    KvError::Compacted { asked: self.next, compacted }
                }
                other => other,
            })?;
            let is_progress = batch.events.is_empty();
            batch.events.retain(|event| event.revision >= self.next);
            // A watch that starts in the future hears of revisions before its start, and one that
            // has just joined the shared stream hears again what it knows.
            let is_new = if is_progress {
                batch.revision + 1 >= self.next
            } else {
                !batch.events.is_empty()
            };
            if is_new {
                self.next = batch.revision + 1;
                return Ok(batch);
            }
        }
    }

    async fn news(&mut self) -> Result<KvBatch, KvError> {
        let batch = self.feed.next().await?;
        if matches!(self.phase, Phase::History) && batch.events.is_empty() {
            self.phase = Phase::Both(self.streams.join(&self.prefix).await?);
        }
        self.phase = match std::mem::replace(&mut self.phase, Phase::Live) {
            Phase::Both(live) if live.revision <= batch.revision => {
                self.feed = live.feed;
                Phase::Live
            }
            phase => phase,
        };
        Ok(batch)
    }
}
