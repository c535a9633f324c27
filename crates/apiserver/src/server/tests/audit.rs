//! What is recorded of requests over loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::harness::{Wire, World};
use crate::audit::{Audit, Log, LogMode, LogOptions, Policy, Rotation};
use crate::clock::SystemClock;
use crate::server::{Limits, ListenerConfig};

const TOKEN: (&str, &str) = ("authorization", "Bearer good");
const ALL: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: RequestResponse}]\n";

struct Recorded {
    world: World,
    path: PathBuf,
    audit: Audit,
}

impl Recorded {
    async fn start(policy: Policy, mode: LogMode) -> Self {
        let path = std::env::temp_dir().join(format!("audit-{}.log", crate::clock::new_uid()));
        Self::at(path, policy, mode, Limits::default()).await
    }

    async fn at(path: PathBuf, policy: Policy, mode: LogMode, limits: Limits) -> Self {
        let rotation = Rotation { bytes_max: 1 << 20, backups_max: 0, age_max: None };
        let log = Log::open(LogOptions { path: path.clone(), mode, rotation }).unwrap();
        let audit = Audit::new(policy, log, Arc::new(SystemClock));
        let world = World::audited(limits, ListenerConfig::default(), audit.clone()).await;
        Self { world, path, audit }
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for an event that `wanted` says yes to.
    async fn event(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1000 {
            if let Some(found) = self.events().into_iter().find(&wanted) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not among {:#?}", self.events());
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap_or_default();
    }
}

fn stages(events: &[Value]) -> Vec<(&str, &str, u64)> {
    events
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or_default();
            (text("verb"), text("stage"), event["responseStatus"]["code"].as_u64().unwrap_or(0))
        })
        .collect()
}

#[tokio::test]
async fn every_request_is_recorded_and_no_credential() {
    let it = Recorded::start(Policy::metadata(), LogMode::Blocking).await;
    let front = it.world.front.client("front-proxy-client", None);
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = it.world.connect(wire, Some(&front)).await;
        let headers = [
            ("x-remote-user", "alice"),
            ("x-remote-group", "team"),
            ("x-remote-extra-canary", "extra"),
            ("audit-id", "the-audit-id"),
            ("x-forwarded-for", "203.0.113.7, canary, 2001:db8::1"),
            ("user-agent", "kubectl/v1"),
            ("cookie", "canary-cookie"),
        ];
        assert_eq!(client.get("/echo?a=b", &headers).await.code, StatusCode::OK);
    }
    let events = it.events();
    assert_eq!(events.len(), 2);
    let mut event = events[0].clone();
    for time in ["requestReceivedTimestamp", "stageTimestamp"] {
        let text = event[time].as_str().unwrap();
        let moment: jiff::Timestamp = text.parse().unwrap();
        assert!(text.len() == "2026-01-01T00:00:00.000000Z".len(), "{text}");
        assert!(moment > "2026-01-01T00:00:00Z".parse().unwrap());
        event[time] = Value::Null;
    }
    let expected = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
        "auditID": "the-audit-id", "stage": "ResponseComplete",
        "requestURI": "/echo?a=b", "verb": "get",
        "user": {
            "username": "alice", "groups": ["team", "system:authenticated"],
            "extra": {"canary": ["extra"]},
        },
        "sourceIPs": ["203.0.113.7", "2001:db8::1", "127.0.0.1"],
        "userAgent": "kubectl/v1",
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": null, "stageTimestamp": null,
        "annotations": {"authorization.k8s.io/decision": "allow"},
    });
    assert_eq!(event, expected);
    assert!(!std::fs::read_to_string(&it.path).unwrap().contains("canary-cookie"));

    // Whoever is not the front says what he likes.
    let mut client = it.world.connect(Wire::Http2, None).await;
    let headers = [TOKEN, ("x-forwarded-for", "203.0.113.7"), ("audit-id", &"x".repeat(65))];
    assert_eq!(client.get("/echo", &headers).await.code, StatusCode::OK);
    let event = it.events().pop().unwrap();
    assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(event["auditID"].as_str().unwrap().len(), 36);
    assert!(!std::fs::read_to_string(&it.path).unwrap().contains("good"));
}

#[tokio::test]
async fn refusals_are_recorded() {
    let it = Recorded::start(Policy::metadata(), LogMode::Blocking).await;
    let mut client = it.world.connect(Wire::Http2, None).await;
    for (headers, code) in [
        (&[][..], StatusCode::FORBIDDEN),
        (&[("authorization", "Bearer canary")], StatusCode::UNAUTHORIZED),
        (&[TOKEN, ("impersonate-user", "root")], StatusCode::FORBIDDEN),
    ] {
        assert_eq!(client.get("/echo", headers).await.code, code);
    }
    let events = it.events();
    let expected = [
        ("get", "ResponseComplete", 403),
        ("get", "ResponseStarted", 401),
        ("get", "ResponseComplete", 403),
    ];
    assert_eq!(stages(&events), expected);
    assert_eq!(events[0]["user"]["username"], "system:anonymous");
    assert_eq!(events[0]["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(events[0]["responseStatus"]["reason"], "Forbidden");
    let message = events[1]["responseStatus"]["message"].as_str().unwrap();
    assert_eq!(message, "Authentication failed: the token was refused");
    assert_eq!(events[1]["user"], json!({}));
    assert!(!std::fs::read_to_string(&it.path).unwrap().contains("canary"));
}

#[tokio::test]
async fn a_stream_is_recorded_at_its_start_and_at_its_end() {
    let mut it = Recorded::start(Policy::metadata(), LogMode::Batch).await;
    for wire in [Wire::Http1, Wire::Http2] {
        let mut client = it.world.connect(wire, None).await;
        let stream = client.get("/stream?watch=true", &[TOKEN]);
        let mut stream = Box::pin(stream);
        tokio::select! {
            _ = &mut stream => panic!("it does not end"),
            started = it.event(|event| event["stage"] == "ResponseStarted") => {
                assert_eq!(started["responseStatus"]["code"], 200);
            }
        }
        assert!(it.events().iter().all(|event| event["stage"] != "ResponseComplete"));
        drop(stream);
        drop(client);
        it.event(|event| event["stage"] == "ResponseComplete").await;
        it = Recorded::start(Policy::metadata(), LogMode::Batch).await;
    }
}

#[tokio::test]
async fn panics_and_clients_that_leave_are_recorded() {
    let it = Recorded::start(Policy::parse(ALL).unwrap(), LogMode::Blocking).await;
    let mut client = it.world.connect(Wire::Http2, None).await;
    client.get("/panic", &[TOKEN]).await;
    assert_eq!(stages(&it.events()), [("get", "RequestReceived", 0), ("get", "Panic", 500)]);

    let mut leaving = Box::pin(client.get("/slow", &[TOKEN]));
    tokio::select! {
        _ = &mut leaving => panic!("it is not released"),
        () = it.world.started() => {}
    }
    drop(leaving);
    drop(client);
    let left = it.event(|event| event["stage"] == "ResponseComplete").await;
    assert_eq!(
        left["responseStatus"],
        json!({"metadata": {}, "message": "Connection closed early"})
    );
}

#[tokio::test]
async fn what_the_policy_leaves_out_is_left_out() {
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
        - {level: None, nonResourceURLs: [/healthz]}\n\
        - {level: RequestResponse, nonResourceURLs: [/version]}\n\
        - {level: Metadata, users: [token-user], omitStages: [ResponseComplete]}\n\
        - {level: Metadata}\n";
    let it = Recorded::start(Policy::parse(policy).unwrap(), LogMode::Blocking).await;
    let mut client = it.world.master().await;
    for path in ["/healthz", "/version", "/metrics", "/echo"] {
        assert_eq!(client.get(path, &[]).await.code, StatusCode::OK);
    }
    let mut other = it.world.connect(Wire::Http2, None).await;
    assert_eq!(other.get("/echo", &[TOKEN]).await.code, StatusCode::OK);
    let events = it.events();
    let told: Vec<_> = events.iter().map(|event| (&event["requestURI"], &event["level"])).collect();
    let (metadata, whole) = (json!("Metadata"), json!("RequestResponse"));
    let uris = [json!("/version"), json!("/metrics"), json!("/echo")];
    assert_eq!(told, [(&uris[0], &whole), (&uris[1], &metadata), (&uris[2], &metadata)]);
    assert_eq!(events[0]["responseObject"], json!({"major": "1"}));
    assert!(events[1].get("responseObject").is_none());

    let mut registry = prometheus_client::registry::Registry::default();
    it.audit.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "apiserver_audit_event_total 3",
        r#"apiserver_audit_error_total{plugin="log"} 0"#,
        r#"apiserver_audit_level_total{level="None"} 1"#,
        r#"apiserver_audit_level_total{level="Metadata"} 3"#,
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[tokio::test]
async fn a_log_that_can_not_be_written_refuses_requests_only_if_told_to() {
    let full = PathBuf::from("/dev/full");
    for (mode, code) in [
        (LogMode::BlockingStrict, StatusCode::INTERNAL_SERVER_ERROR),
        (LogMode::Blocking, StatusCode::OK),
        (LogMode::Batch, StatusCode::OK),
    ] {
        let policy = Policy::parse(ALL).unwrap();
        let rotation = Rotation { bytes_max: 1 << 20, backups_max: 0, age_max: None };
        let log = Log::open(LogOptions { path: full.clone(), mode, rotation }).unwrap();
        let audit = Audit::new(policy, log, Arc::new(SystemClock));
        let world =
            World::audited(Limits::default(), ListenerConfig::default(), audit.clone()).await;
        let mut client = world.connect(Wire::Http2, None).await;
        let answer = client.get("/echo", &[TOKEN]).await;
        assert_eq!(answer.code, code, "{mode:?}");
        if mode == LogMode::BlockingStrict {
            let text = "Internal error occurred: failed to store audit event";
            assert_eq!(answer.message(), text);
        }
        audit.close().await;
    }
}

#[tokio::test]
async fn what_waits_in_the_queue_is_written_at_the_end() {
    let it = Recorded::start(Policy::metadata(), LogMode::Batch).await;
    let mut client = it.world.connect(Wire::Http2, None).await;
    for _ in 0..300 {
        assert_eq!(client.get("/echo", &[TOKEN]).await.code, StatusCode::OK);
    }
    it.audit.close().await;
    assert_eq!(it.events().len(), 300);
}
