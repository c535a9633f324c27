//! Streams over the whole of the server: TLS, chain, the second question, the upgrade.

use std::sync::Arc;
use std::time::Duration;

use apiserver::meta::Gvk;
use apiserver::resource::{Connect, ConnectDef, ConnectRequest, Subresource};
use apiserver::server::{Body, response};
use apiserver::status::ApiError;
use apiserver::tasks::OnExit;
use async_trait::async_trait;
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::Bench;
use crate::wire::{FakeReviews, Wire};

/// Says back what it is told, until the server stops.
struct Echo;

#[async_trait]
impl Connect for Echo {
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<Response<Body>, ApiError> {
        let upgrade = request.parts.extensions.get::<OnUpgrade>().cloned();
        let upgrade = upgrade.ok_or_else(|| ApiError::bad_request("Upgrade request required"))?;
        let stop = request.tasks.stopping().clone();
        request.tasks.spawn("echo", OnExit::Ignore, async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            let copy = tokio::io::copy(&mut read, &mut write);
            drop(stop.run_until_cancelled(copy).await);
        });
        let mut switched = Response::new(response::empty());
        *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = switched.headers_mut();
        headers.insert("connection", "Upgrade".parse().unwrap());
        headers.insert("upgrade", "echo".parse().unwrap());
        Ok(switched)
    }
}

pub(crate) fn echo() -> Subresource {
    Subresource::Connect(ConnectDef {
        name: "exec",
        methods: &["GET", "POST"],
        options: Gvk::new("test.x-k8s.io", "v1", "ThingExecOptions"),
        parameters: &[],
        takes_path: false,
        needs_create: true,
        handler: Arc::new(Echo),
    })
}

const EXEC: &str = "/apis/test.x-k8s.io/v1/namespaces/ns/things/a/exec";

#[tokio::test]
async fn a_stream_is_handed_over_and_ends_with_the_server() {
    let bench = Bench::new().await;
    let wire = Wire::serve_with(&bench, FakeReviews { allowed: true, except: "" }).await;
    for method in ["GET", "POST"] {
        let mut stream = wire.dial().await;
        let head = format!(
            "{method} {EXEC} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // Not HTTP by any means.
        stream.write_all(b"\x00\xff\r\n\r\nGET").await.unwrap();
        let mut back = [0; 9];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"\x00\xff\r\n\r\nGET");
        if method == "POST" {
            wire.stop.cancel();
            let end = tokio::time::timeout(Duration::from_secs(20), wire.tasks.shutdown());
            end.await.expect("a stream must not hold the server up");
            assert!(stream.read_u8().await.is_err(), "the stream has ended");
        }
    }
}

#[tokio::test]
async fn a_right_to_get_opens_no_stream() {
    let bench = Bench::new().await;
    let wire = Wire::serve_with(&bench, FakeReviews { allowed: true, except: "create" }).await;
    for (method, path, status, part) in [
        ("GET", EXEC.to_owned(), 403, "cannot create resource \\\"things/exec\\\""),
        ("POST", EXEC.to_owned(), 403, "cannot create resource \\\"things/exec\\\""),
        ("PUT", EXEC.to_owned(), 405, ""),
        ("GET", format!("{EXEC}/more"), 404, ""),
    ] {
        let answer = wire.ask(method, &path, "", "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        assert!(answer.contains(part), "{method} {path}: {answer}");
    }
    let wire = Wire::serve_with(&bench, FakeReviews { allowed: true, except: "" }).await;
    let answer = wire.ask("POST", &format!("{EXEC}?dryRun=All"), "", "").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("dryRun is not supported"));
}
