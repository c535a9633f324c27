//! The ports' implementations against a fake host API server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::admission::{NamespaceState, Namespaces as _};
use crate::auth::testing::FakeCa;
use crate::auth::{AccessReviewer as _, Attributes, TokenReviewer as _, User};
use crate::tasks::{OnExit, Tasks};

/// Answers reviews, lists and single objects; watches stay silent.
struct FakeCluster {
    ca_pem: String,
    asked: AtomicUsize,
}

impl FakeCluster {
    async fn start(tasks: &Tasks) -> (Arc<Self>, kube::Client) {
        let this = Arc::new(Self { ca_pem: FakeCa::new("ca").pem, asked: AtomicUsize::new(0) });
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", tcp.local_addr().unwrap()).parse().unwrap();
        let (cluster, own) = (this.clone(), tasks.clone());
        tasks.spawn("cluster", OnExit::Ignore, async move {
            while let Ok((stream, _)) = tcp.accept().await {
                let cluster = cluster.clone();
                own.spawn("cluster connection", OnExit::Ignore, async move {
                    let service = service_fn(|request| cluster.answer(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        (this, kube::Client::try_from(kube::Config::new(uri)).unwrap())
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (parts, body) = request.into_parts();
        if parts.uri.query().is_some_and(|query| query.contains("watch=true")) {
            std::future::pending::<()>().await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (code, answer) = self.judge(parts.uri.path(), &sent);
        let response = Response::builder().status(code).header("content-type", "application/json");
        Ok(response.body(Full::from(answer.to_string())).unwrap())
    }

    fn judge(&self, path: &str, sent: &Value) -> (u16, Value) {
        let list = |items: Value| json!({"metadata": {"resourceVersion": "1"}, "items": items});
        match path {
            "/apis/authentication.k8s.io/v1/tokenreviews" => {
                let status = match sent["spec"]["token"].as_str() {
                    Some("good") => {
                        json!({"authenticated": true, "user": {"username": "u", "groups": ["g"]}})
                    }
                    Some("broken") => return (403, json!({"code": 403, "message": "no"})),
                    _ => json!({"error": "unknown token"}),
                };
                (201, json!({"metadata": {}, "spec": sent["spec"], "status": status}))
            }
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => {
                let allowed = sent["spec"]["resourceAttributes"]["subresource"] == "exec";
                let status = json!({"allowed": allowed, "reason": "because"});
                (201, json!({"metadata": {}, "spec": sent["spec"], "status": status}))
            }
            "/api/v1/namespaces/kube-system/configmaps" => {
                let data = json!({"client-ca-file": self.ca_pem});
                let name = "extension-apiserver-authentication";
                (200, list(json!([{"metadata": {"name": name}, "data": data}])))
            }
            "/api/v1/namespaces" => (200, list(json!([{"metadata": {"name": "known"}}]))),
            "/api/v1/namespaces/new" => (200, json!({"metadata": {"name": "new"}})),
            _ => (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"})),
        }
    }
}

#[tokio::test]
async fn token_reviews_are_remembered_and_failures_to_ask_are_not() {
    let tasks = Tasks::new();
    let (cluster, client) = FakeCluster::start(&tasks).await;
    let reviewer = KubeTokenReviewer::new(client, TokenReviewConfig::default());
    for _ in 0..3 {
        let user = reviewer.review("good").await.unwrap().unwrap();
        assert_eq!((user.name.as_str(), user.groups), ("u", vec!["g".to_owned()]));
        assert_eq!(reviewer.review("bad").await.unwrap(), None);
    }
    assert_eq!(cluster.asked.load(Ordering::SeqCst), 2);
    for _ in 0..2 {
        assert_eq!(reviewer.review("broken").await.unwrap_err().code(), 503);
    }
    assert_eq!(cluster.asked.load(Ordering::SeqCst), 4);
    assert_eq!(reviewer.review(&"x".repeat(1 << 20)).await.unwrap(), None);
    assert_eq!(cluster.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn access_reviews_carry_the_subresource() {
    let tasks = Tasks::new();
    let (_cluster, client) = FakeCluster::start(&tasks).await;
    let reviewer = KubeAccessReviewer::new(client, ReviewConfig::default());
    for (subresource, expected) in [("exec", true), ("", false)] {
        let attributes = Attributes::Resource {
            verb: "create".into(),
            group: "g".into(),
            version: "v1".into(),
            resource: "sandboxes".into(),
            subresource: subresource.into(),
            namespace: "ns".into(),
            name: "a".into(),
        };
        let decision = reviewer.review(&User::default(), &attributes).await.unwrap();
        assert_eq!((decision.allowed, decision.reason.as_str()), (expected, "because"));
    }
}

#[tokio::test]
async fn the_bundle_and_the_namespaces_are_followed() {
    let tasks = Tasks::new();
    let (_cluster, client) = FakeCluster::start(&tasks).await;
    let bundle = CaBundle::follow(client.clone(), &tasks);
    tokio::time::timeout(Duration::from_secs(10), bundle.ready()).await.unwrap();
    assert_eq!(bundle.trust().load().client_ca.as_slice().len(), 1);
    let namespaces = NamespaceCache::follow(client, &tasks);
    for (name, expected) in [
        ("known", NamespaceState::Active),
        ("new", NamespaceState::Active),
        ("none", NamespaceState::Missing),
    ] {
        let poll = async {
            while name == "known" && !namespaces.is_synced() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            namespaces.state(name).await
        };
        let state = tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap();
        assert_eq!(state.unwrap(), expected, "{name}");
    }
}
