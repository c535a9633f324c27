//! Byte streams to Pods, as a port: what `connect` needs of the host cluster.

use std::fmt;

use apiserver::meta::ObjectKey;
use apiserver::server::Body;
use async_trait::async_trait;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ChildMeta, ClusterError, PodPhase, PodView};

/// The facts about a Pod that a stream is decided by.
#[derive(Debug, Clone)]
pub struct PodFacts {
    pub meta: ChildMeta,
    pub phase: PodPhase,
    /// Names, in the order of the spec.
    pub containers: Vec<String>,
    /// TCP ports that containers declare, in the order of the spec.
    pub ports: Vec<PodPort>,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPort {
    /// Empty if it has none.
    pub name: String,
    pub number: u16,
}

impl From<&Pod> for PodFacts {
    fn from(pod: &Pod) -> Self {
        let view = PodView::from(pod);
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers.clone().flat_map(|one| one.ports.iter().flatten());
        let ports = ports
            .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
            .filter_map(|port| {
                let number = u16::try_from(port.container_port).ok()?;
                Some(PodPort { name: port.name.clone().unwrap_or_default(), number })
            });
        Self {
            meta: view.meta,
            phase: view.phase,
            ports: ports.collect(),
            containers: containers.map(|one| one.name.clone()).collect(),
        }
    }
}

/// One request to a subresource of a Pod, with nothing of a client's that was not let through.
#[derive(Debug, Clone)]
pub struct PodStream {
    pub pod: ObjectKey,
    pub subresource: &'static str,
    pub method: Method,
    /// Encoded, without the question mark.
    pub query: String,
    pub headers: HeaderMap,
}

/// Both directions of a connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The cluster's answer.
pub struct Opened {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub content: Content,
}

pub enum Content {
    /// After 101: the connection belongs to the new protocol.
    Switched(Box<dyn Io>),
    Body(Body),
}

/// A connection to a port of a Pod.
pub struct Dialed {
    pub io: Box<dyn Io>,
    /// Why the Pod did not take the connection or let it go: the cluster tells it beside the bytes
    /// and after the fact, if at all.
    pub refused: BoxFuture<'static, Option<String>>,
}

impl fmt::Debug for Dialed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialed").finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("status", &self.status).finish_non_exhaustive()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switched(_) => "Switched",
            Self::Body(_) => "Body",
        })
    }
}

/// Streams to Pods with the server's own identity.
#[async_trait]
pub trait Streams: Send + Sync + fmt::Debug {
    /// From the cluster itself, never from a cache: who owns the Pod is decided by it.
    async fn pod(&self, key: &ObjectKey) -> Result<Option<PodFacts>, ClusterError>;

    /// Follows no redirect. An answer that switches no protocol is an answer, not an error.
    async fn open(&self, stream: PodStream) -> Result<Opened, ClusterError>;

    /// A TCP connection to a port, from inside the Pod: what listens on its loopback alone is
    /// reached too, and no NetworkPolicy is in the way. That nothing listens shows later.
    async fn dial(&self, pod: &ObjectKey, port: u16) -> Result<Dialed, ClusterError>;
}
