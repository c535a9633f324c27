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
mod group_commit;
mod item;
mod key;
mod limits;
mod list;
mod objects;
#[cfg(feature = "test-util")]
mod planted;
mod prepared;
mod resource_store;
pub mod usage;
mod watch;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::cache::{CacheMetrics, CacheOptions, CacheStats, Cacher};
pub use self::continue_token::ContinueToken;
pub use self::embedded::{EmbeddedKv, EmbeddedOptions, OpenError};
pub use self::etcd::{EtcdKv, EtcdOptions, EtcdTls};
pub use self::group_commit::{GroupCommit, GroupOptions};
pub use self::item::{EventKind, FRAME_END, Item};
pub use self::key::KeySpace;
pub use self::list::ObjectList;
pub use self::objects::Objects;
#[cfg(feature = "test-util")]
pub use self::planted::Planted;
pub use self::prepared::{Commit, Conflicting, Prepared, commit};
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

impl Expect {
    /// Whether it holds for what is stored.
    pub fn holds(&self, found: Option<&KeyValue>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Revision(revision) => found.is_some_and(|kv| kv.mod_revision == *revision),
        }
    }
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
    /// There is no room for the write; reads go on. It was not made, but for etcd's one write that
    /// crosses the quota: that is made and refused (`[etcd] server/etcdserver/apply/quota.go`).
    #[error("the store is full: {detail}")]
    NoSpace { detail: String },
    /// No answer within the deadline, or no connection. The write may or may not have happened.
    #[error("store unavailable: {detail}")]
    Unavailable { detail: String },
    #[error("store: {detail}")]
    Other { detail: String },
}

/// What a store must give us: etcd's model, no more. The cases of `conformance` hold every
/// implementation to what is said here.
///
/// **Revisions.** One counter over all keys, never 0. Every transaction that writes raises it by
/// one and gives its new value to everything it writes; one that fails, writes nothing or deletes
/// only what is not there leaves it alone. Revisions are in the order in which transactions take
/// effect, and that order agrees with real time: what was acknowledged before a call began has a
/// smaller revision than what the call does, and is seen by what it reads.
///
/// **History.** The store can be read, and watched, as of every revision from the last compaction
/// on. Nothing is forgotten but by [`Kv::compact`].
///
/// **Durability.** A write is acknowledged when it survives the loss that the store promises to
/// survive. Nothing that is not (yet) durable is seen by a read or told to a watch.
///
/// **Keys** are UTF-8 and compared bytewise. Values are any bytes; an empty value is a value.
///
/// **Deadlines.** Every call has one of its own. A call that misses it is
/// [`KvError::Unavailable`]: a read may be repeated, of a write nobody knows whether it happened,
/// and the store must not repeat it by itself unless it certainly never arrived. A caller that
/// gives up in the middle may drop the future: the same holds.
#[async_trait]
pub trait Kv: Send + Sync + fmt::Debug {
    /// Linearizable read of one key, or as of `at` (0 = now).
    ///
    /// # Errors
    /// [`KvError::Compacted`] and [`KvError::Future`] for an `at` outside of history.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, KvError>;

    /// Keys that begin with `prefix`, in bytewise order, from one moment: items, revision and count
    /// belong together however the store fetches them. A `start` before the prefix counts as its
    /// beginning.
    ///
    /// # Errors
    /// As [`Kv::get`].
    async fn list(&self, prefix: &str, page: Page) -> Result<Listed, KvError>;

    /// Number of keys that begin with `prefix`, and the store's revision.
    ///
    /// # Errors
    /// [`KvError::Unavailable`].
    async fn count(&self, prefix: &str) -> Result<(u64, Revision), KvError>;

    /// All `writes` at one revision if every guard holds, else nothing. Guards are judged on the
    /// state before the writes, and may be on keys that are not written. Without guards the
    /// transaction always takes effect. Writes share a revision and are told to watches together,
    /// in their order. Deleting what is not there is no change.
    ///
    /// At least 128 guards and 128 writes, and 1.5 MiB in all, are taken.
    ///
    /// # Errors
    /// [`KvError::TooLarge`] over that; [`KvError::Other`] for an empty key, too many operations or
    /// a key that is written twice; [`KvError::NoSpace`] when the store is full. Nothing was
    /// written then. After [`KvError::Unavailable`] it may have been, and on etcd the write that
    /// crosses the quota.
    async fn txn(
        &self,
        guards: Vec<(String, Expect)>,
        writes: Vec<Write>,
    ) -> Result<Outcome, KvError>;

    /// Every change under `prefix` with a revision of at least `from` (0 = from now on), in order,
    /// none missing and none twice; those of one revision in one batch. Each comes with the value
    /// before. First what has happened, then what happens. A `from` that does not exist yet is
    /// waited for. Batches without events tell of progress, from time to time and when asked.
    ///
    /// A watch of which the reader falls behind may be ended with [`KvError::Unavailable`], never
    /// thinned out: it can be begun again after the last revision that was received. So may one
    /// that loses its store. Dropping the stream ends the watch.
    ///
    /// # Errors
    /// [`KvError::Compacted`], now or as the stream's end, when `from` is older than history.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<KvWatch, KvError>;

    /// Asks the open watches to tell how far they have come: each of them that has caught up soon
    /// yields a batch (perhaps without events) that reaches at least the revision the store had
    /// when this was called. Says nothing about watches that are still catching up. May be called
    /// often; who waits asks again after a while.
    ///
    /// # Errors
    /// [`KvError::Unavailable`].
    async fn request_progress(&self) -> Result<(), KvError>;

    /// Forgets history before `revision`, which itself stays readable, as does the current state.
    /// Watches that have come further are not disturbed.
    ///
    /// # Errors
    /// [`KvError::Compacted`] when that was forgotten already, [`KvError::Future`] beyond now.
    async fn compact(&self, revision: Revision) -> Result<(), KvError>;

    /// Ok when a linearizable read succeeds within two seconds.
    async fn health(&self) -> Result<(), KvError>;

    /// How full the store is; `None` = it can't tell.
    async fn usage(&self) -> Result<Option<Usage>, KvError> {
        Ok(None)
    }
}
