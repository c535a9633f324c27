//! Lists: in chunks that etcd streams (3.7 and later), else in pages.

use std::sync::atomic::{AtomicBool, Ordering};

use etcd_client::{GetOptions, GetResponse};
use tokio::time::{sleep, timeout};
use tracing::info;

use super::super::{KeyValue, KvError, Listed, Page, Revision};
use super::error::{EtcdFailure, classify, is_unimplemented};
use super::{
    ATTEMPT_PAUSE, ATTEMPTS_MAX, EtcdKv, MESSAGE_BYTES_MAX, Range, Repeat, key_value, no_header,
    prefix_end,
};

/// Whether etcd can stream a range.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    refused: AtomicBool,
}

impl EtcdKv {
    pub(super) async fn list_range(&self, prefix: &str, mut page: Page) -> Result<Listed, KvError> {
        // etcd's 0 is "now" too.
        page.at = page.at.filter(|at| *at != 0);
        if page.limit == 0 && !self.streaming.refused.load(Ordering::Relaxed) {
            match self.list_stream(prefix, &page).await {
                Ok(Some(listed)) => return Ok(listed),
                // For good: servers are not upgraded under a running client every day.
                Ok(None) => {
                    self.streaming.refused.store(true, Ordering::Relaxed);
                    info!("this etcd does not stream ranges; long lists are read in pages");
                }
                Err(error) => return Err(error),
            }
        }
        self.list_pages(prefix, page).await
    }

    /// `None` if etcd knows no streams. One revision and no limit of time for the whole, but the
    /// deadline for each chunk.
    async fn list_stream(&self, prefix: &str, page: &Page) -> Result<Option<Listed>, KvError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut items = Vec::new();
            let failure = match self.read_stream(prefix, page, &mut items).await {
                Ok((revision, count)) => {
                    return Ok(Some(Listed { items, revision, count }));
                }
                Err(Broken::Unimplemented) => return Ok(None),
                Err(Broken::Failed(failure)) => failure,
            };
            // What has come is of no use: only the end tells the revision it is of. A stream that
            // breaks in the middle is not begun again too often, for it may be long.
            let attempts_max = if items.is_empty() { ATTEMPTS_MAX } else { STREAM_ATTEMPTS_MAX };
            let again = matches!(failure, EtcdFailure::Kv(KvError::Unavailable { .. }));
            if !again || attempts >= attempts_max {
                return Err(self.explain(failure, page.at.unwrap_or_default()).await);
            }
            sleep(ATTEMPT_PAUSE).await;
        }
    }

    /// Collects the items; returns revision and count.
    async fn read_stream(
        &self,
        prefix: &str,
        page: &Page,
        items: &mut Vec<KeyValue>,
    ) -> Result<(Revision, u64), Broken> {
        let mut client = self.client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        let start = page.start.as_deref().map_or(prefix, |start| start.max(prefix));
        let opening = client.get_stream(start, Some(options(prefix, page, page.at)));
        let mut stream = self.in_time(opening).await?;
        let mut last = None;
        while let Some(mut chunk) = self.in_time(stream.message()).await? {
            for kv in chunk.take_kvs() {
                let kv = key_value(kv).map_err(|error| Broken::Failed(EtcdFailure::Kv(error)))?;
                items.push(kv);
            }
            last = Some(chunk);
        }
        let end = last.as_ref().and_then(end_of).ok_or_else(|| {
            let detail = "etcd ended a list in the middle".into();
            Broken::Failed(EtcdFailure::Kv(KvError::Unavailable { detail }))
        })?;
        self.streams.saw(end.0);
        Ok((page.at.unwrap_or(end.0), end.1))
    }

    async fn in_time<T, F>(&self, call: F) -> Result<T, Broken>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        match timeout(self.deadline, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_unimplemented(&error) => Err(Broken::Unimplemented),
            Ok(Err(error)) => Err(Broken::Failed(classify(&error))),
            Err(_) => Err(Broken::Failed(EtcdFailure::Kv(self.late()))),
        }
    }

    /// In several calls at one revision, each within the deadline.
    async fn list_pages(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        let start = page.start.as_deref().map_or(prefix, |start| start.max(prefix));
        let mut start = start.to_owned();
        let mut at = page.at;
        let mut items: Vec<KeyValue> = Vec::new();
        let mut total = None;
        loop {
            let wanted = match page.limit {
                0 => CALL_KEYS_MAX,
                limit => (limit - items.len()).min(CALL_KEYS_MAX),
            };
            let limit = i64::try_from(wanted).expect("CALL_KEYS_MAX is small");
            let options = options(prefix, &page, at).with_limit(limit);
            let range = self.range(&start, options, at).await?;
            let revision = *at.get_or_insert(range.revision);
            let count = *total.get_or_insert(range.count);
            let more = range.count > u64::try_from(range.kvs.len()).unwrap_or(u64::MAX);
            items.extend(range.kvs);
            let full = page.limit > 0 && items.len() >= page.limit;
            match items.last() {
                Some(last) if more && !full => start = format!("{}\0", last.key),
                _ => return Ok(Listed { items, revision, count }),
            }
        }
    }

    /// One range request; revisions that can't be read are told apart.
    pub(super) async fn range(
        &self,
        key: &str,
        options: GetOptions,
        at: Option<Revision>,
    ) -> Result<Range, KvError> {
        let response = self
            .call(Repeat::Always, |mut client| {
                let (key, options) = (key.to_owned(), options.clone());
                async move { client.get(key, Some(options)).await }
            })
            .await;
        let mut response = match response {
            Ok(response) => response,
            Err(error) => return Err(self.explain(error, at.unwrap_or_default()).await),
        };
        let (revision, count) = end_of(&response).ok_or_else(no_header)?;
        self.streams.saw(revision);
        let kvs = response.take_kvs().into_iter().map(key_value).collect::<Result<_, _>>()?;
        Ok(Range { kvs, revision, count })
    }
}

enum Broken {
    Unimplemented,
    Failed(EtcdFailure),
}

fn options(prefix: &str, page: &Page, at: Option<Revision>) -> GetOptions {
    let mut options = GetOptions::new().with_range(prefix_end(prefix));
    if page.keys_only {
        options = options.with_keys_only();
    }
    if let Some(revision) = at {
        options = options.with_revision(revision);
    }
    options
}

/// The store's revision and the count of keys; a stream has them in its last chunk only.
fn end_of(response: &GetResponse) -> Option<(Revision, u64)> {
    let count = u64::try_from(response.count()).unwrap_or_default();
    response.header().map(|header| (header.revision(), count))
}

const CALL_KEYS_MAX: usize = 1000;
const STREAM_ATTEMPTS_MAX: u32 = 3;
