//! Bugs for tests of tests.

/// A bug that the history checker must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Planted {
    #[default]
    None,
    /// A full buffer of the cache loses the event and keeps the watcher.
    DropEvent,
    /// Consistent lists are served as of an older moment than they say.
    StaleList,
    /// A write to etcd is made again when its answer was lost.
    RepeatWrite,
}
