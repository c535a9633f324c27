//! Byte streams to a sandbox: `exec`, `attach`, `portforward` and `log`.
//!
//! **Who.** The user needs `create` on `sandboxes/exec` (`attach`, `portforward`), whether he comes
//! by WebSocket (GET) or SPDY (POST), and `get` on `sandboxes/log`; no right on Pods. The table's
//! `needs_create` has the endpoint ask. Towards the host cluster the server is itself: the user's
//! identity, tokens and cookies end here.
//!
//! **To what.** To the Pod that the Sandbox owns now: read from the cluster at each request, its
//! controller's UID being the Sandbox's. A Pod of the right name that belongs to somebody else is
//! never opened. No Pod, a suspended Sandbox, a Pod that does not run: 409, nothing is resumed.
//! Between that look and the stream, who may delete and create Pods in the namespace could put
//! another Pod in its place; he may open streams to Pods of his own anyway.
//!
//! **What.** Of the request only the query parameters in [`kind`]'s table and the headers of an
//! upgrade go on ([`request`]); of the answer only the upgrade's. After 101 bytes are copied and
//! never understood ([`splice`]), so every version of Kubernetes' protocols passes. An upgrade that
//! was not granted copies nothing but a bounded error: bytes of a client never reach a connection
//! that still speaks HTTP with our identity (CVE-2018-1002105), and no redirect is followed
//! (CVE-2020-8559).
//!
//! **How much.** [`Config`]: streams at once, time to open one, idle time, lifetime. All end when
//! the server stops, and with the Pod.

mod answer;
mod handler;
mod kind;
mod request;
mod splice;
mod target;

use std::sync::Arc;
use std::time::Duration;

use apiserver::meta::Gvk;
use apiserver::resource::{ConnectDef, Subresource};
use sandbox_api::{GROUP, VERSION};
use tokio::sync::Semaphore;

use self::handler::{Handler, Shared};
use crate::cluster::streams::Streams;

/// Limits of streams.
#[derive(Debug, Clone)]
pub struct Config {
    /// Streams at once, of all users; more get 429.
    pub sessions_max: usize,
    /// From our 101 until the client's connection is ours.
    pub upgrade_timeout: Duration,
    /// A stream without a byte in either direction ends after one to two of these. The kubelet's
    /// own limit is 4 hours.
    pub idle_timeout: Duration,
    /// No stream is older.
    pub lifetime_max: Duration,
    /// Of an error that the cluster answers instead of a stream.
    pub error_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sessions_max: 1024,
            upgrade_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(4 * 3600),
            lifetime_max: Duration::from_secs(24 * 3600),
            error_bytes_max: 64 << 10,
        }
    }
}

/// The rows of the Sandbox's resource table for its streams.
pub fn subresources(streams: Arc<dyn Streams>, config: Config) -> Vec<Subresource> {
    let sessions = Arc::new(Semaphore::new(config.sessions_max));
    let shared = Arc::new(Shared { streams, config, sessions });
    let row = |kind: &'static kind::Kind| {
        Subresource::Connect(ConnectDef {
            name: kind.name,
            methods: kind.methods,
            options: Gvk::new(GROUP, VERSION, kind.options),
            parameters: kind.parameters,
            takes_path: false,
            needs_create: kind.upgrades,
            handler: Arc::new(Handler { kind, shared: shared.clone() }),
        })
    };
    kind::ALL.iter().map(row).collect()
}

#[cfg(test)]
mod tests;
