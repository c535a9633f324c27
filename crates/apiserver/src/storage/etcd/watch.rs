//! An etcd watch as [`KvWatch`].

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    EventType, KvClient, ResponseHeader, WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use futures::stream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::{KvBatch, KvError, KvEvent, KvWatch, Revision};
use super::error::kv_error;
use super::{HEALTH_KEY, prefix_end};

/// Unanswered progress requests after which a watch counts as dead.
const SILENT_ROUNDS_MAX: u32 = 6;

/// Starts the watch; returns once etcd has confirmed it.
///
/// # Errors
/// [`KvError::Compacted`] when `from` is gone, [`KvError::Unavailable`] when etcd has not
/// confirmed within `deadline`.
pub(super) async fn start(
    (mut client, kv, asked): (WatchClient, KvClient, watch::Receiver<()>),
    prefix: &str,
    from: Revision,
    deadline: Duration,
    progress_interval: Duration,
) -> Result<KvWatch, KvError> {
    let options = WatchOptions::new()
        .with_range(prefix_end(prefix))
        .with_start_revision(from)
        .with_prev_key()
        .with_progress_notify();
    let starting = async {
        let mut stream = client.watch(prefix, Some(options)).await?;
        let first = stream.message().await?;
        Ok::<_, etcd_client::Error>((stream, first))
    };
    let (stream, first) = timeout(deadline, starting)
        .await
        .map_err(|_| KvError::Unavailable { detail: format!("no watch within {deadline:?}") })?
        .map_err(|error| kv_error(&error))?;
    let first = first.ok_or_else(ended)?;
    check_cancelled(&first, from)?;
    let current = first.header().map_or(0, ResponseHeader::revision);
    let watch = Watch {
        stream,
        next: from,
        in_future: from > current,
        kv,
        asked,
        deadline,
        progress_interval,
        silent_rounds: 0,
        done: false,
    };
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
    /// Dropping it ends the watch in etcd.
    stream: WatchStream,
    /// The first revision not yet delivered.
    next: Revision,
    /// The start does not exist yet, as is usual for a watch that follows a list. etcd reports no
    /// progress until it does (mvcc's progressIfSync), so a read must tell whether etcd is there.
    in_future: bool,
    kv: KvClient,
    /// Somebody wants to know how far this watch is.
    asked: watch::Receiver<()>,
    deadline: Duration,
    progress_interval: Duration,
    silent_rounds: u32,
    done: bool,
}

impl Watch {
    async fn batch(&mut self) -> Result<KvBatch, KvError> {
        loop {
            let next = tokio::select! {
                biased;
                next = timeout(self.progress_interval, self.stream.message()) => next,
                Ok(()) = self.asked.changed() => {
                    self.stream.request_progress().await.map_err(|error| kv_error(&error))?;
                    continue;
                }
            };
            let message = match next {
                Ok(message) => message.map_err(|error| kv_error(&error))?.ok_or_else(ended)?,
                Err(_) if self.in_future => {
                    self.in_future = self.revision().await? < self.next;
                    continue;
                }
                Err(_) => {
                    if self.silent_rounds >= SILENT_ROUNDS_MAX {
                        return Err(KvError::Unavailable {
                            detail: "the watch fell silent".into(),
                        });
                    }
                    self.silent_rounds += 1;
                    self.stream.request_progress().await.map_err(|error| kv_error(&error))?;
                    continue;
                }
            };
            self.silent_rounds = 0;
            self.in_future = false;
            check_cancelled(&message, self.next)?;
            if message.events().is_empty() {
                let revision = message.header().map_or(0, ResponseHeader::revision);
                // A watch that starts in the future hears of revisions before its start.
                if revision + 1 < self.next {
                    continue;
                }
                self.next = revision + 1;
                return Ok(KvBatch { events: Vec::new(), revision });
            }
            let events = events(&message)?;
            // Not the header's revision: a watch that catches up is behind it.
            let revision = events.last().map_or(0, |event| event.revision);
            self.next = revision + 1;
            return Ok(KvBatch { events, revision });
        }
    }
}

impl Watch {
    /// The store's revision now.
    async fn revision(&mut self) -> Result<Revision, KvError> {
        let deadline = self.deadline;
        let got = timeout(deadline, self.kv.get(HEALTH_KEY, None))
            .await
            .map_err(|_| KvError::Unavailable { detail: format!("no answer within {deadline:?}") })?
            .map_err(|error| kv_error(&error))?;
        Ok(got.header().map_or(0, ResponseHeader::revision))
    }
}

fn events(message: &WatchResponse) -> Result<Vec<KvEvent>, KvError> {
    let mut events = Vec::with_capacity(message.events().len());
    for event in message.events() {
        let kv =
            event.kv().ok_or_else(|| KvError::Other { detail: "an event has no key".into() })?;
        let key = kv
            .key_str()
            .map_err(|error| KvError::Other { detail: format!("a key is not UTF-8: {error}") })?;
        let deleted = event.event_type() == EventType::Delete;
        let created = !deleted && kv.create_revision() == kv.mod_revision();
        let revision = kv.mod_revision();
        let previous = event.prev_kv().map(|kv| Bytes::copy_from_slice(kv.value()));
        if previous.is_none() && !created {
            // The value before was compacted away: without it a selector can't be followed.
            return Err(KvError::Compacted { asked: revision, compacted: revision });
        }
        events.push(KvEvent {
            key: key.to_owned(),
            value: (!deleted).then(|| Bytes::copy_from_slice(kv.value())),
            previous,
            revision,
        });
    }
    Ok(events)
}

fn check_cancelled(message: &WatchResponse, asked: Revision) -> Result<(), KvError> {
    if message.compact_revision() > 0 {
        return Err(KvError::Compacted { asked, compacted: message.compact_revision() });
    }
    if message.canceled() {
        return Err(KvError::Unavailable {
            detail: format!("etcd cancelled the watch: {}", message.cancel_reason()),
        });
    }
    Ok(())
}

fn ended() -> KvError {
    KvError::Unavailable { detail: "etcd ended the watch".into() }
}
