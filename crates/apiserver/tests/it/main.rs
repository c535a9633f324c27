//! Storage and registry against a real etcd: `cargo xtask test it` gives `TEST_ETCD_ENDPOINT` and
//! `TEST_ETCD_BIN`. Without them the tests fail; they never skip.
//!
//! Every test has its own key prefix. Tests that compact or restart etcd have an etcd of their own.

#![expect(clippy::unwrap_used, reason = "clippy knows tests by their attribute, not their helpers")]

mod cache;
mod conformance;
mod directory;
mod embedded;
mod embedded_disk;
mod etcd;
mod etcd_space;
mod etcd_watch;
mod group_commit;
mod kv;
mod lifecycle;
mod list;
mod restart;
mod stream;
mod support;
mod update;
mod watch;
mod websocket;
mod wire;
