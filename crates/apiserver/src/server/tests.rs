//! The server over loopback, with fake ports behind it.

mod audit;
mod harness;

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use self::harness::{Wire, World};
use super::{Limits, ListenerConfig, Outcome, Tls, TlsConfig};
use crate::auth::testing::FakeCertificate;
use crate::tasks::Tasks;

#[tokio::test]
async fn both_protocols_work_without_a_certificate() {
    let world = World::start().await;
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = world.connect(wire, None).await;
        let answer = client.get("/healthz", &[]).await;
        assert_eq!((answer.code, answer.text.as_str()), (StatusCode::OK, "ok"), "{wire:?}");
        assert_eq!(answer.header("cache-control"), "no-cache, private");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(!answer.header("audit-id").is_empty());
    }
}

#[tokio::test]
async fn a_front_proxy_speaks_for_users_and_an_impostor_does_not() {
    let world = World::start().await;
    let headers = [("x-remote-user", "alice"), ("audit-id", "the-audit-id")];
    let front = world.front.client("front-proxy-client", None);
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = world.connect(wire, Some(&front)).await;
        let answer = client.get("/echo", &headers).await;
        assert_eq!((answer.code, answer.text.as_str()), (StatusCode::OK, "alice: no identity"));
        assert_eq!(answer.header("audit-id"), "the-audit-id");
        assert_eq!(answer.header("warning"), "299 - \"careful\"");
    }
    let impostor = world.front.client("kubelet", None);
    let answer = world.connect(Wire::Http2, Some(&impostor)).await.get("/echo", &headers).await;
    assert_eq!(answer.code, StatusCode::UNAUTHORIZED);
    let status: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(
        status,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
        })
    );
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_probe_with_a_foreign_certificate_is_served() {
    let world = World::start().await;
    let kubelet = crate::auth::testing::FakeCa::new("kubelet").client("kubelet", None);
    let mut client = world.connect(Wire::Http1, Some(&kubelet)).await;
    assert_eq!(client.get("/readyz", &[]).await.code, StatusCode::OK);
}

#[tokio::test]
async fn refusals_are_statuses() {
    let world = World::start().await;
    let mut client = world.connect(Wire::Http2, None).await;
    let answer = client.get("/echo", &[]).await;
    assert_eq!(answer.code, StatusCode::FORBIDDEN);
    assert_eq!(answer.message(), r#"forbidden: User "system:anonymous" cannot get path "/echo""#);

    let headers = [("authorization", "Bearer good"), ("impersonate-user", "root")];
    let answer = client.get("/echo", &headers).await;
    assert_eq!(answer.code, StatusCode::FORBIDDEN);
    assert!(answer.message().starts_with("forbidden: impersonation"));
}

#[tokio::test]
async fn health_texts() {
    let world = World::start().await;
    let mut client = world.master().await;
    let mut get = async |path: &str| {
        let answer = client.get(path, &[]).await;
        (answer.code.as_u16(), answer.text)
    };
    let ok = |text: &str| (200, text.to_owned());
    let failed = |text: &str| (500, text.to_owned());
    assert_eq!(
        get("/readyz?verbose").await,
        ok("[+]ping ok\n[+]etcd ok\n[+]shutdown ok\nreadyz check passed\n")
    );
    assert_eq!(get("/livez?verbose").await, ok("[+]ping ok\nlivez check passed\n"));
    assert_eq!(get("/readyz/etcd").await, ok("ok"));
    assert_eq!(get("/livez/etcd").await.0, 404);

    world.etcd_fails.store(true, Ordering::SeqCst);
    assert_eq!(
        get("/readyz").await,
        failed(
            "[+]ping ok\n[-]etcd failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n"
        )
    );
    assert_eq!(get("/readyz/etcd").await, failed("internal server error: no leader\n"));
    assert_eq!(get("/readyz?exclude=etcd").await, ok("ok"));
    assert_eq!(
        get("/readyz?exclude=etcd&exclude=x&verbose").await,
        ok("[+]ping ok\n[+]etcd excluded: ok\n[+]shutdown ok\n\
            warn: some health checks cannot be excluded: no matches for \"x\"\n\
            readyz check passed\n")
    );
    assert_eq!(get("/healthz").await, ok("ok"));
}

#[tokio::test]
async fn version_and_metrics() {
    let world = World::start().await;
    let mut client = world.master().await;
    assert_eq!(client.get("/version", &[]).await.text, r#"{"major":"1"}"#);
    assert_eq!(client.get("/echo", &[]).await.code, StatusCode::OK);
    let text = client.get("/metrics", &[]).await.text;
    for line in [
        r#"apiserver_request_total{verb="GET",group="",version="",resource="",subresource="",scope="",component="apiserver",code="200"} 2"#,
        r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#,
        r#"authentication_attempts{result="success"} 3"#,
        r#"authorization_attempts_total{result="allowed"} 3"#,
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[tokio::test]
async fn too_many_requests_wait_outside() {
    let world = World::with(Limits { reads_max: 1, ..Limits::default() }).await;
    let token = [("authorization", "Bearer good")];
    let mut slow = world.connect(Wire::Http2, None).await;
    let mut quick = slow.again();
    let (held, refused) = tokio::join!(slow.get("/slow", &token), async {
        world.started().await;
        assert_eq!(quick.get("/healthz", &[]).await.code, StatusCode::OK);
        // Mutations, streams and masters have room of their own.
        assert_eq!(quick.send("POST", "/echo", &token).await.code, StatusCode::OK);
        assert_eq!(quick.get("/echo?watch=true", &token).await.code, StatusCode::OK);
        assert_eq!(world.master().await.get("/echo", &[]).await.code, StatusCode::OK);
        let refused = quick.get("/echo", &token).await;
        world.release();
        refused
    });
    assert_eq!(held.code, StatusCode::OK);
    assert_eq!(refused.code, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.text, "Too many requests, please try again later.\n");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(quick.get("/echo", &token).await.code, StatusCode::OK);
}

#[tokio::test]
async fn a_request_has_a_deadline() {
    let limits = Limits { request_timeout: Duration::from_millis(20), ..Limits::default() };
    let world = World::with(limits).await;
    let answer = world.master().await.get("/slow", &[]).await;
    assert_eq!(answer.code, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.message(), "Timeout: request did not complete within the allotted timeout");
}

#[tokio::test]
async fn a_panic_is_one_requests_problem() {
    let world = World::start().await;
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = world.connect(wire, None).await;
        let token = [("authorization", "Bearer good")];
        let answer = client.get("/panic", &token).await;
        assert_eq!(answer.code, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(answer.message().starts_with("Internal error occurred: "));
        assert_eq!(client.get("/echo", &token).await.code, StatusCode::OK);
    }
}

#[tokio::test]
async fn shutdown_finishes_what_is_under_way() {
    let mut world = World::start().await;
    let token = [("authorization", "Bearer good")];
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = world.connect(wire, None).await;
        let address = world.address;
        let (answer, outcome) = tokio::join!(client.get("/slow", &token), async {
            world.started().await;
            let mut probe = world.connect(Wire::Http1, None).await;
            assert_eq!(probe.get("/readyz", &[]).await.code, StatusCode::OK);
            world.shut_down();
            world.failing_readyz(&mut probe).await;
            harness::refused(address).await;
            world.release();
            world.outcome().await
        });
        assert_eq!(answer.code, StatusCode::OK);
        assert_eq!(answer.text, "token-user: no identity");
        assert_eq!(outcome, Outcome::Drained);
        world = World::start().await;
    }
}

#[tokio::test]
async fn shutdown_ends_streams_cleanly() {
    let mut world = World::start().await;
    let token = [("authorization", "Bearer good")];
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = world.connect(wire, None).await;
        let (answer, outcome) = tokio::join!(client.get("/stream?watch=true", &token), async {
            world.started().await;
            world.shut_down();
            world.outcome().await
        });
        assert_eq!((answer.code, answer.text.as_str()), (StatusCode::OK, "event"));
        assert_eq!(outcome, Outcome::Drained);
        world = World::start().await;
    }
}

#[tokio::test]
async fn shutdown_cuts_off_what_does_not_end() {
    let mut world = World::start().await;
    let token = [("authorization", "Bearer good")];
    let mut client = world.connect(Wire::Http2, None).await;
    let outcome = tokio::join!(client.try_get("/slow", &token), async {
        world.started().await;
        world.shut_down();
        world.outcome().await
    });
    assert!(outcome.0.is_none());
    assert_eq!(outcome.1, Outcome::CutOff);
}

#[tokio::test]
async fn a_replaced_certificate_is_served_from_the_next_handshake_on() {
    let world = World::start().await;
    let mut before = world.connect(Wire::Http1, None).await;
    let next = world.serving_ca.server("localhost");
    world.tls.replace(next.pem.as_bytes(), next.key.serialize_pem().as_bytes()).unwrap();
    let after = world.connect(Wire::Http1, None).await;
    assert_eq!(after.certificate, next.der);
    assert_ne!(before.certificate, next.der);
    assert_eq!(before.get("/healthz", &[]).await.code, StatusCode::OK);

    let other = world.serving_ca.server("localhost");
    let mismatched = Tls::from_pem(next.pem.as_bytes(), other.key.serialize_pem().as_bytes());
    assert!(mismatched.is_err());
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let listener =
        ListenerConfig { idle_timeout: Duration::from_millis(20), ..ListenerConfig::default() };
    let world = World::build(Limits::default(), listener).await;
    for wire in [Wire::Http1, Wire::Http2] {
        let untouched = world.connect(wire, None).await;
        let mut used = world.connect(wire, None).await;
        assert_eq!(used.get("/healthz", &[]).await.code, StatusCode::OK);
        untouched.closed().await;
        used.closed().await;
    }
}

#[tokio::test]
async fn an_old_connection_ends_after_its_requests() {
    let listener =
        ListenerConfig { age_max: Duration::from_millis(20), ..ListenerConfig::default() };
    let world = World::build(Limits::default(), listener).await;
    let token = [("authorization", "Bearer good")];
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = world.connect(wire, None).await;
        let (answer, ()) = tokio::join!(client.get("/slow", &token), async {
            world.started().await;
            tokio::time::sleep(Duration::from_millis(60)).await;
            world.release();
        });
        assert_eq!(answer.code, StatusCode::OK);
        client.closed().await;
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let listener = ListenerConfig { connections_max: 1, ..ListenerConfig::default() };
    let world = World::build(Limits::default(), listener).await;
    let first = world.connect(Wire::Http1, None).await;
    let mut second = Box::pin(world.connect(Wire::Http1, None));
    let waited = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(waited.is_err());
    drop(first);
    assert_eq!(second.await.get("/healthz", &[]).await.code, StatusCode::OK);
}

#[tokio::test]
async fn a_serving_certificate_is_followed() {
    let world = World::start().await;
    let folder = std::env::temp_dir().join(format!("tls-{}", crate::clock::new_uid()));
    tokio::fs::create_dir(&folder).await.unwrap();
    let config = TlsConfig {
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
        poll_interval: Duration::from_millis(5),
    };
    let write = async |certificate: &FakeCertificate| {
        tokio::fs::write(&config.certificate, &certificate.pem).await.unwrap();
        // A look in between meets a certificate that doesn't belong to the key.
        tokio::time::sleep(Duration::from_millis(30)).await;
        tokio::fs::write(&config.key, certificate.key.serialize_pem()).await.unwrap();
    };
    let (first, second) = (world.serving_ca.server("a"), world.serving_ca.server("b"));
    write(&first).await;
    let tasks = Tasks::new();
    let tls = Tls::follow(config.clone(), &tasks).await.unwrap();
    assert_eq!(tls.certificate(), first.der);
    write(&second).await;
    let poll = async {
        while tls.certificate() != second.der {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), poll).await.unwrap();
    tasks.shutdown().await;
    tokio::fs::remove_dir_all(&folder).await.unwrap();
}
