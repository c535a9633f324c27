//! Streams over the cluster's client: HTTP/1.1, which an upgrade needs and the client always
//! speaks, with its identity (`kube::client::Client::connect` goes the same way).

use std::io;

use apiserver::meta::ObjectKey;
use async_trait::async_trait;
use futures::FutureExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio_util::io::InspectReader;

use super::KubeCluster;
use crate::cluster::streams::{Content, Dialed, Opened, PodFacts, PodStream, Streams};
use crate::cluster::{ChildKind, ClusterError};

#[async_trait]
impl Streams for KubeCluster {
    /// Over a connection for streams: on the others a request may wait 40 ms for an acknowledgement.
    async fn pod(&self, key: &ObjectKey) -> Result<Option<PodFacts>, ClusterError> {
        let pods = self.pods_beside(key);
        let pod = self.call(ChildKind::Pod, key, pods.get_opt(&key.name)).await?;
        Ok(pod.as_ref().map(PodFacts::from))
    }

    async fn open(&self, stream: PodStream) -> Result<Opened, ClusterError> {
        let mut request = Request::builder()
            .method(&stream.method)
            .uri(target(&stream)?)
            .body(kube::client::Body::empty())
            .map_err(unusable)?;
        *request.headers_mut() = stream.headers;
        let limit = self.0.config.stream_timeout;
        let open = async {
            let mut response = self.0.streaming.send(request).await.map_err(unavailable)?;
            let content = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // It has taken a connection for good: the next stream finds another.
                self.0.spare.notify_one();
                let upgraded = hyper::upgrade::on(&mut response).await.map_err(unavailable)?;
                Some(Content::Switched(Box::new(TokioIo::new(upgraded))))
            } else {
                None
            };
            let (head, body) = response.into_parts();
            let content = content
                .unwrap_or_else(|| Content::Body(body.map_err(io::Error::other).boxed_unsync()));
            Ok(Opened { status: head.status, headers: head.headers, content })
        };
        tokio::time::timeout(limit, open).await.unwrap_or_else(|_| Err(late(limit)))
    }

    async fn dial(&self, pod: &ObjectKey, port: u16) -> Result<Dialed, ClusterError> {
        let pods = self.pods_beside(pod);
        let limit = self.0.config.stream_timeout;
        let ports = [port];
        let opening = tokio::time::timeout(limit, pods.portforward(&pod.name, &ports));
        let mut forwarder = opening.await.map_err(|_| late(limit))?.map_err(unavailable)?;
        self.0.spare.notify_one();
        let taken = forwarder.take_stream(port).zip(forwarder.take_error(port));
        let (stream, refused) = taken.ok_or_else(|| unavailable("the stream is taken"))?;
        let held = LetGo(forwarder);
        // It inspects nothing: it goes with the stream.
        let io = InspectReader::new(stream, move |_: &[u8]| _ = &held);
        Ok(Dialed { io: Box::new(io), refused: refused.boxed() })
    }
}

impl KubeCluster {
    /// Those of the Pod's namespace, over connections for streams.
    fn pods_beside(&self, pod: &ObjectKey) -> Api<Pod> {
        let namespace = pod.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.0.streaming.clone(), namespace)
    }
}

/// Lets a forwarded port go at once when nobody has it any more.
struct LetGo(Portforwarder);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The path is made of names alone that the cluster itself has given to things; whatever else
/// would leave the Pod is refused.
fn target(stream: &PodStream) -> Result<String, ClusterError> {
    let namespace = stream.pod.namespace.as_deref().unwrap_or_default();
    let name = &stream.pod.name;
    for segment in [namespace, name] {
        let plain =
            |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        if segment.is_empty() || segment.starts_with('.') || !segment.bytes().all(plain) {
            return Err(unusable(format!("{segment:?} is no name of a Pod or namespace")));
        }
    }
    let PodStream { subresource, query, .. } = stream;
    let mut target = format!("/api/v1/namespaces/{namespace}/pods/{name}/{subresource}");
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    Ok(target)
}

fn late(limit: std::time::Duration) -> ClusterError {
    unavailable(format!("no answer within {limit:?}"))
}

fn unavailable(error: impl std::fmt::Display) -> ClusterError {
    ClusterError::Unavailable { detail: error.to_string() }
}

fn unusable(error: impl std::fmt::Display) -> ClusterError {
    ClusterError::Rejected { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn only_names_reach_the_path() {
        let of = |namespace: &str, name: &str, query: &str| {
            target(&PodStream {
                pod: ObjectKey::namespaced(namespace, name),
                subresource: "exec",
                method: Method::GET,
                query: query.into(),
                headers: HeaderMap::new(),
            })
        };
        assert_eq!(of("ns", "a-1.b", "").unwrap(), "/api/v1/namespaces/ns/pods/a-1.b/exec");
        assert_eq!(of("ns", "a", "x=1").unwrap(), "/api/v1/namespaces/ns/pods/a/exec?x=1");
        for bad in ["", "..", ".", "a/b", "a%2fb", "a?b", "a#b", "A", "a b", "ä"] {
            assert!(of("ns", bad, "").is_err(), "{bad}");
            assert!(of(bad, "a", "").is_err(), "{bad}");
        }
    }
}
