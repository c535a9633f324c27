//! The bounded way from the driver of a stream to one watch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio::time::timeout;

use super::super::{KvBatch, KvError, Revision};

/// The driver's end.
#[derive(Debug)]
pub(super) struct FeedSender {
    batches: mpsc::Sender<(KvBatch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    progress: channel::Sender<Revision>,
    end: oneshot::Sender<KvError>,
}

/// What has become of a batch.
#[derive(Debug)]
pub(super) enum Pushed {
    Queued,
    /// The watch does not keep up; the batch is given back.
    Full(KvBatch),
    /// Nobody listens any more.
    Gone,
}

/// The watch's end. Dropping it wakes the driver.
#[derive(Debug)]
pub(super) struct Feed {
    batches: mpsc::Receiver<(KvBatch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    /// Not in the queue, so that progress costs no room.
    progress: channel::Receiver<Revision>,
    end: oneshot::Receiver<KvError>,
    gone: Arc<Notify>,
}

/// `gone` is notified when the watch's end is dropped.
pub(super) fn feed(gone: Arc<Notify>) -> (FeedSender, Feed) {
    let (batches, batch_receiver) = mpsc::channel(ROOM_UNITS);
    let (progress, progress_receiver) = channel::channel(0);
    let (end, end_receiver) = oneshot::channel();
    let room = Arc::new(Semaphore::new(ROOM_UNITS));
    let sender = FeedSender { batches, room: room.clone(), progress, end };
    let feed = Feed {
        batches: batch_receiver,
        room,
        progress: progress_receiver,
        end: end_receiver,
        gone,
    };
    (sender, feed)
}

impl FeedSender {
    /// Waits at most `patience` for room.
    pub(super) async fn push(&self, batch: KvBatch, patience: Duration) -> Pushed {
        let units = units(&batch);
        let room = match self.room.clone().try_acquire_many_owned(units) {
            Ok(room) => room,
            Err(_) if self.is_gone() => return Pushed::Gone,
            Err(_) if patience.is_zero() => return Pushed::Full(batch),
            Err(_) => match timeout(patience, self.room.clone().acquire_many_owned(units)).await {
                Ok(Ok(room)) => room,
                Ok(Err(_)) => return Pushed::Gone,
                Err(_) => return Pushed::Full(batch),
            },
        };
        // A batch takes a unit at least, so the queue itself is never full.
        match self.batches.try_send((batch, room)) {
            Ok(()) => Pushed::Queued,
            Err(_) => Pushed::Gone,
        }
    }

    /// Everything up to `revision` has been pushed.
    pub(super) fn progress(&self, revision: Revision) {
        self.progress.send_replace(revision);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.batches.is_closed()
    }

    /// The watch hears `error` after what is queued.
    pub(super) fn end(self, error: KvError) {
        // It may have stopped listening.
        drop(self.end.send(error));
    }
}

impl Feed {
    /// The next batch of events, or one without: everything up to its revision has come.
    pub(super) async fn next(&mut self) -> Result<KvBatch, KvError> {
        let queued = tokio::select! {
            biased;
            queued = self.batches.recv() => queued,
            Ok(()) = self.progress.changed() => {
                let revision = *self.progress.borrow_and_update();
                // In this order: what was pushed before the progress is in the queue by now.
                match self.batches.try_recv() {
                    Ok(queued) => {
                        self.progress.mark_changed();
                        Some(queued)
                    }
                    Err(mpsc::error::TryRecvError::Disconnected) => None,
                    Err(mpsc::error::TryRecvError::Empty) => {
                        return Ok(KvBatch { events: Vec::new(), revision });
                    }
                }
            }
        };
        match queued {
            // The room is given back here.
            Some((batch, _room)) => Ok(batch),
            None => Err(self.end.try_recv().unwrap_or_else(|_| KvError::Unavailable {
                detail: "the watch of etcd has ended".into(),
            })),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.batches.close();
        // A driver that waits for room need not wait any longer.
        self.room.close();
        self.gone.notify_one();
    }
}

/// The share of a batch in a feed's room; one that is larger than all of it takes all of it.
fn units(batch: &KvBatch) -> u32 {
    let bytes: usize = batch
        .events
        .iter()
        .map(|event| {
            let values = [&event.value, &event.previous];
            let values: usize = values.into_iter().flatten().map(bytes::Bytes::len).sum();
            event.key.len() + values
        })
        .sum();
    u32::try_from((bytes / UNIT_BYTES + 1).min(ROOM_UNITS)).expect("ROOM_UNITS is small")
}

/// Room for 1024 small batches, or 32 MiB.
const ROOM_UNITS: usize = 1024;
const UNIT_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::KvEvent;
    use super::*;

    fn batch(revision: Revision, bytes: usize) -> KvBatch {
        let value = Some(Bytes::from(vec![b'x'; bytes]));
        let event = KvEvent { key: "a".into(), value, previous: None, revision };
        KvBatch { events: vec![event], revision }
    }

    #[tokio::test]
    async fn counts_batches_and_bytes() {
        for (bytes, expected) in [(1, ROOM_UNITS), (1024 * 1024, 31), (1 << 30, 1)] {
            let (sender, _feed) = feed(Arc::default());
            let mut queued = 0;
            while matches!(sender.push(batch(1, bytes), Duration::ZERO).await, Pushed::Queued) {
                queued += 1;
            }
            assert_eq!(queued, expected, "of {bytes} bytes");
        }
    }

    #[tokio::test]
    async fn progress_comes_after_what_it_promises() {
        let (sender, mut feed) = feed(Arc::default());
        sender.push(batch(5, 1), Duration::ZERO).await;
        sender.progress(6);
        sender.push(batch(7, 1), Duration::ZERO).await;
        sender.progress(7);
        let mut told = Vec::new();
        for _ in 0..3 {
            let batch = feed.next().await.unwrap();
            told.push((batch.revision, batch.events.len()));
        }
        assert_eq!(told, [(5, 1), (7, 1), (7, 0)]);
    }

    #[tokio::test]
    async fn the_end_comes_last() {
        let (sender, mut feed) = feed(Arc::default());
        sender.push(batch(5, 1), Duration::ZERO).await;
        sender.end(KvError::Compacted { asked: 1, compacted: 2 });
        assert_eq!(feed.next().await.unwrap().revision, 5);
        assert!(matches!(feed.next().await, Err(KvError::Compacted { .. })));
    }

    #[tokio::test]
    async fn a_dropped_feed_frees_a_waiting_driver() {
        let gone = Arc::new(Notify::new());
        let (sender, feed) = feed(gone.clone());
        sender.push(batch(1, 1 << 30), Duration::ZERO).await;
        let waiting = sender.push(batch(2, 1), Duration::from_secs(3600));
        let drop_it = async move { drop(feed) };
        let (pushed, ()) = futures::join!(waiting, drop_it);
        assert!(matches!(pushed, Pushed::Gone), "{pushed:?}");
        gone.notified().await;
    }
}
