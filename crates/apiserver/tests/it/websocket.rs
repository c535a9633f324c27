//! Watches over WebSocket, and deletion of what can't be read, over the whole of the server.

use std::time::Duration;

use apiserver::storage::Write;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::{Bench, connect, env, thing};
use crate::wire::{FakeReviews, Gate, Wire, request};

const THINGS: &str = "/apis/test.x-k8s.io/v1/namespaces/ns/things";

async fn wire(bench: &Bench, except: &'static str) -> Wire {
    Wire::serve_with(bench, FakeReviews { allowed: true, except }).await
}

#[tokio::test]
async fn a_watch_speaks_websocket() {
    let bench = Bench::new().await;
    bench.create(thing("a", json!({}))).await;
    let wire = wire(&bench, "").await;
    let url = format!("wss://localhost{THINGS}?watch=true");
    let mut request = url.into_client_request().unwrap();
    let protocol = HeaderValue::from_static("binary.k8s.io");
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    let (mut socket, response) =
        tokio_tungstenite::client_async(request, wire.dial().await).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "binary.k8s.io");
    let mut next = async || {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        match message.expect("a message in time") {
            Some(Ok(Message::Text(text))) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                format!("{} {name}", event["type"].as_str().unwrap())
            }
            other => format!("{other:?}"),
        }
    };
    assert_eq!(next().await, "ADDED a");
    bench.create(thing("b", json!({}))).await;
    assert_eq!(next().await, "ADDED b");
    // The server's end ends it.
    wire.stop.cancel();
    let end = tokio::time::timeout(Duration::from_secs(20), wire.tasks.shutdown());
    end.await.expect("a watch must not hold the server up");
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_text(), "{message:?}");
    }
    drop(socket.close(None).await);
}

/// Whatever form they have, and although something else is still under way.
#[tokio::test]
async fn watches_end_when_the_drain_begins() {
    let gate = Gate::closed();
    let bench = Bench::with(connect(&env("TEST_ETCD_ENDPOINT")).await, gate.clone());
    let wire = wire(&bench, "").await;
    let watch = format!("{THINGS}?watch=true");
    let asked = format!("wss://localhost{watch}").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(asked, wire.dial().await).await.unwrap();
    let mut plain = wire.dial().await;
    plain.write_all(request("GET", &watch, "", "").as_bytes()).await.unwrap();
    let mut begun = [0; 15];
    plain.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200 OK");
    let mut creating = wire.dial().await;
    let body = json!({"metadata": {"name": "a"}}).to_string();
    creating.write_all(request("POST", THINGS, "", &body).as_bytes()).await.unwrap();
    gate.entered.notified().await;

    wire.stop.cancel();
    let end = timeout(PATIENCE, socket.next()).await.expect("the WebSocket ends");
    assert!(matches!(end, Some(Ok(Message::Close(_)))), "{end:?}");
    let rest = read_all(&mut plain).await;
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");

    gate.open.add_permits(1);
    let answer = read_all(&mut creating).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "what was under way is finished: {answer}");
    wire.tasks.shutdown().await;
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A server that closes without close_notify has still answered.
    drop(timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the answer ends"));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_websocket_that_is_none_is_refused() {
    let bench = Bench::new().await;
    let wire = wire(&bench, "").await;
    for headers in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 8\r\n",
    ] {
        let answer = wire.ask("GET", &format!("{THINGS}?watch=1"), headers, "").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

const UNSAFE: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";

#[tokio::test]
async fn what_cannot_be_read_is_deleted_on_purpose_only() {
    let bench = Bench::new().await;
    bench.create(thing("sound", json!({}))).await;
    let write = Write::Put { key: bench.path("broken"), value: "nonsense".into() };
    bench.kv.txn(Vec::new(), vec![write]).await.unwrap();
    let without = wire(&bench, "unsafe-delete-ignore-read-errors").await;
    let with = wire(&bench, "").await;
    let broken = format!("{THINGS}/broken");
    let body = |more: &str| {
        format!("{{\"kind\":\"DeleteOptions\",\"apiVersion\":\"v1\",\"{UNSAFE}\":true{more}}}")
    };
    for (wire, path, body, status, part) in [
        (&with, broken.as_str(), String::new(), 500, "object not decodable"),
        (&without, &broken, body(""), 403, "unsafe-delete-ignore-read-errors"),
        (&with, &format!("{THINGS}/sound"), body(""), 409, "invalid object"),
        (&with, &format!("{THINGS}/nobody"), body(""), 404, "not found"),
        (&with, THINGS, body(""), 422, "is not allowed with DELETECOLLECTION"),
        (
            &with,
            &broken,
            body(",\"propagationPolicy\":\"Foreground\""),
            422,
            "cannot be set together with .propagationPolicy",
        ),
        (
            &with,
            &broken,
            body(",\"preconditions\":{}"),
            422,
            "cannot be set together with .preconditions",
        ),
        (&with, &broken, body(",\"dryRun\":[\"All\"]"), 200, "Success"),
        (&with, &broken, body(""), 200, "\"name\":\"broken\""),
        (&with, &broken, body(""), 404, "not found"),
    ] {
        let answer = wire.ask("DELETE", path, "Content-Type: application/json\r\n", &body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {body}: {answer}");
        assert!(answer.contains(part), "{path} {body}: {answer}");
    }
}
