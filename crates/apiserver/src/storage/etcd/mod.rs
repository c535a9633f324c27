//! [`Kv`] over etcd.

mod error;
mod events;
mod feed;
mod range;
mod stream;
mod streams;
mod usage;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, Identity, KvClient,
    TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::error::{EtcdFailure, classify, kv_error, never_sent};
use self::range::Streaming;
use self::streams::Streams;
#[cfg(feature = "test-util")]
use super::Planted;
use super::{
    Expect, Got, KeyValue, Kv, KvError, KvWatch, Listed, Outcome, Page, Revision, Usage, Write,
    limits,
};

/// How to reach etcd.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// For example `https://etcd-0:2379`.
    pub endpoints: Vec<String>,
    /// Needed for `https` endpoints with a private CA or client certificates.
    pub tls: Option<EtcdTls>,
    /// For each call; a watch has it for its start only.
    pub deadline: Duration,
    /// How often a watch asks etcd how far it has come.
    pub progress_interval: Duration,
    /// A fault to find, for tests of tests.
    #[cfg(feature = "test-util")]
    pub planted: Planted,
}

impl EtcdOptions {
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            deadline: Duration::from_secs(5),
            progress_interval: Duration::from_secs(5),
            #[cfg(feature = "test-util")]
            planted: Planted::None,
        }
    }
}

/// PEM files of a TLS connection to etcd.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// `None` = the machine's trust store.
    pub ca: Option<Vec<u8>>,
    /// Client certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls").finish_non_exhaustive()
    }
}

/// An etcd as our store. Reconnects by itself.
#[derive(Clone)]
pub struct EtcdKv {
    client: Client,
    deadline: Duration,
    /// Also held by each watch, which therefore lives on without us.
    streams: Arc<Streams>,
    streaming: Arc<Streaming>,
    #[cfg(feature = "test-util")]
    planted: Planted,
}

impl fmt::Debug for EtcdKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdKv").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl EtcdKv {
    /// Prepares the connection; etcd itself need not be there yet.
    ///
    /// # Errors
    /// Endpoints or certificates that can't be used.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, KvError> {
        let mut connect = ConnectOptions::new()
            // Finds dead peers under open watches. Not while idle: etcd answers pings without
            // streams by closing the connection.
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(5))
            .with_connect_timeout(Duration::from_secs(3))
            // A partitioned member must not feed a watch old news.
            .with_require_leader(true);
        if let Some(tls) = &options.tls {
            let mut config = TlsOptions::new();
            config = match &tls.ca {
                Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
                None => config.with_enabled_roots(),
            };
            if let Some((certificate, key)) = &tls.identity {
                config = config.identity(Identity::from_pem(certificate, key));
            }
            connect = connect.with_tls(config);
        }
        let client = Client::connect(&options.endpoints, Some(connect))
            .await
            .map_err(|error| KvError::Other { detail: error.to_string() })?;
        Ok(Self {
            streams: Arc::new(Streams::new(
                client.clone(),
                options.deadline,
                options.progress_interval,
            )),
            client,
            deadline: options.deadline,
            streaming: Arc::default(),
            #[cfg(feature = "test-util")]
            planted: options.planted,
        })
    }

    /// Makes the call within the deadline, if need be several times: of several members one may
    /// be down, and after a restart of etcd the first call finds the old connection.
    async fn call<T, F, R>(&self, repeat: Repeat, call: F) -> Result<T, EtcdFailure>
    where
        F: Fn(KvClient) -> R + Send + Sync,
        R: Future<Output = Result<T, Error>> + Send,
    {
        let deadline = Instant::now() + self.deadline;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let client = self.client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
            let error = match timeout_at(deadline, call(client)).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => return Err(EtcdFailure::Kv(self.late())),
            };
            let unavailable = matches!(kv_error(&error), KvError::Unavailable { .. });
            let safe = repeat == Repeat::Always || never_sent(&error);
            if !(unavailable && safe) || attempts == ATTEMPTS_MAX {
                return Err(classify(&error));
            }
            sleep(ATTEMPT_PAUSE).await;
        }
    }

    /// Of writes.
    fn repeat(&self) -> Repeat {
        #[cfg(feature = "test-util")]
        if self.planted == Planted::RepeatWrite {
            return Repeat::Always;
        }
        Repeat::IfNeverSent
    }

    fn late(&self) -> KvError {
        KvError::Unavailable { detail: format!("no answer within {:?}", self.deadline) }
    }

    /// Fills in what etcd leaves out of its errors.
    async fn explain(&self, failure: EtcdFailure, asked: Revision) -> KvError {
        match failure {
            EtcdFailure::Kv(error) => error,
            // etcd names the oldest revision to watches only.
            EtcdFailure::Compacted => KvError::Compacted { asked, compacted: 0 },
            EtcdFailure::Future => {
                let get = |mut client: KvClient| async move { client.get(HEALTH_KEY, None).await };
                match self.call(Repeat::Always, get).await {
                    Ok(response) => KvError::Future {
                        asked,
                        current: response.header().map_or(0, etcd_client::ResponseHeader::revision),
                    },
                    Err(_) => KvError::Future { asked, current: 0 },
                }
            }
        }
    }
}

/// When a failed call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Always,
    /// A write that may have happened must not be judged by a second try.
    IfNeverSent,
}

struct Range {
    kvs: Vec<KeyValue>,
    revision: Revision,
    count: u64,
}

#[async_trait]
impl Kv for EtcdKv {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError> {
        let options = GetOptions::new().with_revision(at.unwrap_or_default());
        let range = self.range(key, options, at).await?;
        Ok(Got { kv: range.kvs.into_iter().next(), revision: range.revision })
    }

    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError> {
        self.list_range(prefix, page).await
    }

    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError> {
        let options = GetOptions::new().with_range(prefix_end(prefix)).with_count_only();
        let range = self.range(prefix, options, None).await?;
        Ok((range.count, range.revision))
    }

    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError> {
        limits::check(&guards, &writes)?;
        let compares: Vec<Compare> = guards
            .iter()
            .map(|(key, expect)| {
                let revision = match expect {
                    Expect::Absent => 0,
                    Expect::Revision(revision) => *revision,
                };
                Compare::mod_revision(key.as_str(), CompareOp::Equal, revision)
            })
            .collect();
        let gets: Vec<TxnOp> =
            guards.iter().map(|(key, _)| TxnOp::get(key.as_str(), None)).collect();
        let operations: Vec<TxnOp> = writes
            .into_iter()
            .map(|write| match write {
                Write::Put { key, value } => TxnOp::put(key, value, None),
                Write::Delete { key } => TxnOp::delete(key, None),
            })
            .collect();
        let txn = Txn::new().when(compares).and_then(operations).or_else(gets);
        let send = |mut client: KvClient| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        };
        let response = match self.call(self.repeat(), send).await {
            Ok(response) => response,
            Err(failure) => return Err(self.explain(failure, 0).await),
        };
        let header = response.header().map(etcd_client::ResponseHeader::revision);
        let revision = header.ok_or_else(no_header)?;
        self.streams.saw(revision);
        if response.succeeded() {
            return Ok(Outcome::Done(revision));
        }
        let current = response
            .op_responses()
            .into_iter()
            .map(|response| match response {
                TxnOpResponse::Get(mut got) => {
                    got.take_kvs().into_iter().next().map(key_value).transpose()
                }
                _ => {
                    Err(KvError::Other { detail: "etcd answered a get with something else".into() })
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Outcome::Conflict(current))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError> {
        let deadline = Instant::now() + self.deadline;
        loop {
            match watch::start(self.streams.clone(), prefix, from).await {
                // A stream that broke, or a member that is down.
                Err(KvError::Unavailable { .. }) if Instant::now() < deadline => {
                    sleep(ATTEMPT_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.streams.request_progress();
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), KvError> {
        let compact = |mut client: KvClient| async move { client.compact(revision, None).await };
        match self.call(Repeat::Always, compact).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.explain(failure, revision).await),
        }
    }

    async fn health(&self) -> Result<(), KvError> {
        let mut client = self.client.kv_client();
        match timeout(HEALTH_DEADLINE, client.get(HEALTH_KEY, None)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.explain(classify(&error), 0).await),
            Err(_) => Err(KvError::Unavailable {
                detail: format!("no answer within {HEALTH_DEADLINE:?}"),
            }),
        }
    }

    async fn usage(&self) -> Result<Option<Usage>, KvError> {
        self.database_usage().await.map(Some)
    }
}

/// The end of the range of keys that begin with `prefix`.
///
/// All our keys are UTF-8, in which byte 0xff never occurs, so the last byte can always be raised.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        // etcd's name for "everything".
        None => end.push(0),
    }
    end
}

fn key_value(kv: etcd_client::KeyValue) -> Result<KeyValue, KvError> {
    let mod_revision = kv.mod_revision();
    let (key, value) = kv.into_key_value();
    let key = String::from_utf8(key)
        .map_err(|error| KvError::Other { detail: format!("a key is not UTF-8: {error}") })?;
    Ok(KeyValue { key, value: Bytes::from(value), mod_revision })
}

fn no_header() -> KvError {
    KvError::Other { detail: "etcd's answer has no header".into() }
}

/// Values are limited by etcd (1.5 MiB); the client's own 4 MiB would break on a page of them.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Enough to find the living among three members with good odds.
const ATTEMPTS_MAX: u32 = 8;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);
const HEALTH_KEY: &str = "/registry/health";
