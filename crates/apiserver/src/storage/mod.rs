//! The store behind the registry: [`Kv`], the small trait that an etcd or an embedded store
//! implements, and [`ResourceStore`], objects of one kind over it.

mod cache;
pub mod compact;
#[cfg(feature = "test-util")]
pub mod conformance;
mod continue_token;
mod embedded;
mod error;
mod etcd;
mod item;
mod key;
mod limits;
mod list;
mod objects;
mod resource_store;
pub mod usage;
mod watch;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

#[cfg(feature = "test-util")]
pub use self::cache::Planted;
pub use self::cache::{CacheMetrics, CacheOptions, CacheStats, Cacher};
pub use self::continue_token::ContinueToken;
pub use self::embedded::{EmbeddedKv, EmbeddedOptions, OpenError};
pub use self::etcd::{EtcdKv, EtcdOptions, EtcdTls};
pub use self::item::{EventKind, FRAME_END, Item};
pub use self::key::KeySpace;
pub use self::list::ObjectList;
pub use self::objects::Objects;
pub use self::resource_store::{Change, ResourceStore, Updated};
pub use self::usage::Usage;
pub use self::watch::{FormId, SharedItem, WatchEvent, WatchStream};

/// The store's logical clock: one counter over all keys; etcd's revision. Never 0 for a write.
pub type Revision = i64;

/// One stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Bytes,
    /// The revision of the write that made this value.
    pub mod_revision: Revision,
}

/// Answer of [`Kv::get`].
#[derive(Debug, Clone)]
pub struct Got {
    pub kv: Option<KeyValue>,
    /// The store's revision when the read was made.
    pub revision: Revision,
}

/// What part of a prefix [`Kv::list`] returns.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// First key to return (inclusive, full key); `None` = the prefix's first.
    pub start: Option<String>,
    /// At most this many; 0 = all.
    pub limit: usize,
    /// Read as of this revision; `None` = now (linearizable).
    pub at: Option<Revision>,
    /// Leave the values empty: for who compares keys and revisions alone.
    pub keys_only: bool,
}

/// Answer of [`Kv::list`]: items and revision come from one read.
#[derive(Debug, Clone)]
pub struct Listed {
    /// In bytewise key order.
    pub items: Vec<KeyValue>,
    /// `page.at` if given, else the store's revision at the read.
    pub revision: Revision,
    /// Keys from `page.start` to the prefix's end, the returned ones included.
    pub count: u64,
}

/// A condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key's last write has this revision.
    Revision(Revision),
}

/// A write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: Bytes },
    Delete { key: String },
}

/// Outcome of a guarded write. A conflict is an outcome, not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, at this revision.
    Done(Revision),
    /// A guard did not hold; nothing was written. The current values of the guarded keys, in the
    /// guards' order (`None` = the key does not exist).
    Conflict(Vec<Option<KeyValue>>),
}

/// One change in a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEvent {
    pub key: String,
    /// `None` = deleted.
    pub value: Option<Bytes>,
    /// The value before; `None` = the key was created.
    pub previous: Option<Bytes>,
    pub revision: Revision,
}

/// What a watch yields: all events of one or more revisions in order, or (no events) progress:
/// everything up to `revision` has been delivered.
#[derive(Debug, Clone)]
pub struct KvBatch {
    pub events: Vec<KvEvent>,
    pub revision: Revision,
}

/// A watch: ends with the first error.
pub type KvWatch = BoxStream<'static, Result<KvBatch, KvError>>;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The asked revision is gone; `compacted` is the oldest still readable, 0 if unknown.
    #[error("revision {asked} has been compacted (oldest is {compacted})")]
    Compacted { asked: Revision, compacted: Revision },
    /// The asked revision does not exist yet.
    #[error("revision {asked} is in the future (current is {current})")]
    Future { asked: Revision, current: Revision },
    /// The value is larger than the store takes.
    #[error("value too large: {detail}")]
    TooLarge { detail: String },
    /// There is no room for the write, which was not made; reads go on.
    #[error("the store is full: {detail}")]
    NoSpace { detail: String },
    /// No answer within the deadline, or no connection. The write may or may not have happened.
    #[error("store unavailable: {detail}")]
    Unavailable { detail: String },
    #[error("store: {detail}")]
    Other { detail: String },
}

/// What a store must give us: etcd's model, no more. Every call has a deadline of its own.
#[async_trait]
pub trait Kv: Send + Sync + fmt::Debug {
    /// Linearizable read of one key, or as of `at`.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError>;

    /// Keys that begin with `prefix`.
    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError>;

    /// Number of keys that begin with `prefix`, and the store's revision.
    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError>;

    /// All `writes` at one revision if every guard holds, else nothing.
    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError>;

    /// Every change under `prefix` with a revision of at least `from`, in order, none missing.
    /// [`KvError::Compacted`] (now or as the stream's end) when that can't be kept.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError>;

    /// Asks the open watches to tell how far they have come: each of them that has caught up soon
    /// yields a batch (perhaps without events) that reaches at least the revision the store had
    /// when this was called. Says nothing about watches that are still catching up.
    async fn request_progress(&self) -> Result<(), KvError>;

    /// Forgets history before `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), KvError>;

    /// Ok when a linearizable read succeeds within two seconds.
    async fn health(&self) -> Result<(), KvError>;

    /// How full the store is; `None` = it can't tell.
    async fn usage(&self) -> Result<Option<Usage>, KvError> {
        Ok(None)
    }
}
