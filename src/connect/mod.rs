//! Byte streams to a sandbox: `exec`, `attach`, `portforward` and `log`, and HTTP as [`proxy`], of a
//! Sandbox or of the claim that has it.
//!
//! **Who.** The user needs `create` on `sandboxes/exec` (`attach`, `portforward`), whether he comes
//! by WebSocket (GET) or SPDY (POST), and `get` on `sandboxes/log`; likewise on `sandboxclaims/exec`
//! for the Sandbox of a claim; no right on Pods. The table's `needs_create` has the endpoint ask,
//! and [`watched`] asks again while the stream lasts. Towards the host cluster the server is itself:
//! the user's identity, tokens and cookies end here.
//!
//! **To what.** To the Pod that the Sandbox owns now: read from the cluster at each request, its
//! controller's UID being the Sandbox's. A Pod of the right name that belongs to somebody else is
//! never opened. A Sandbox that sleeps is resumed by its use ([`found`]), if the user may `create`
//! `sandboxes/resume`; no Pod, or one that has ended: 409. A stream ends when its Sandbox is
//! suspended, deleted or gets another owner. Between that look and the stream, who may delete and
//! create Pods in the namespace could put another Pod in its place; he may open streams to Pods of
//! his own anyway.
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

mod activity;
mod answer;
mod audit;
mod found;
mod frames;
mod handler;
mod kind;
mod log;
mod metrics;
mod proxy;
mod request;
mod session;
mod spdy;
mod splice;
mod status;
mod target;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use apiserver::meta::Gvk;
use apiserver::resource::{ConnectDef, Subresource};
use sandbox_api::{GROUP, VERSION};
use tokio::sync::Semaphore;

pub use self::activity::Activity;
use self::found::Origin;
pub use self::found::{Entrance, Sandboxes};
use self::handler::{Handler, Shared};
pub use self::metrics::StreamMetrics;
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
    /// How long a Sandbox that sleeps or starts is waited for.
    pub wake_timeout: Duration,
    /// Between two looks at the right to a stream that is open.
    pub recheck_period: Duration,
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
            wake_timeout: Duration::from_secs(30),
            recheck_period: Duration::from_secs(30),
            error_bytes_max: 64 << 10,
        }
    }
}

/// The rows of the resource tables, and what they are to be given once it is there.
#[derive(Debug)]
pub struct Rows {
    /// Of the Sandbox.
    pub sandbox: Vec<Subresource>,
    /// Of the SandboxClaim.
    pub claim: Vec<Subresource>,
    pub entrance: Entrance,
    pub metrics: StreamMetrics,
    pub activity: Activity,
}

impl Rows {
    pub fn new(streams: Arc<dyn Streams>, config: Config) -> Self {
        let sessions = Arc::new(Semaphore::new(config.sessions_max));
        let (entrance, metrics) = (Entrance::default(), StreamMetrics::default());
        let activity = Activity::default();
        let shared = Arc::new(Shared {
            streams,
            config,
            sessions,
            metrics: metrics.clone(),
            activity: activity.clone(),
        });
        let rows = |origin: Origin| {
            let row = |kind: &'static kind::Kind| {
                let (entrance, shared) = (entrance.clone(), shared.clone());
                Subresource::Connect(ConnectDef {
                    name: kind.name,
                    methods: kind.methods,
                    options: Gvk::new(GROUP, VERSION, kind.options),
                    parameters: kind.parameters,
                    takes_path: kind.takes_path,
                    needs_create: kind.upgrades,
                    handler: Arc::new(Handler { kind, origin, entrance, shared }),
                })
            };
            kind::ALL.iter().map(row).collect()
        };
        let (sandbox, claim) = (rows(Origin::Sandbox), rows(Origin::Claim));
        Self { sandbox, claim, entrance, metrics, activity }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
