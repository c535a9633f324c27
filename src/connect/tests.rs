use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use apiserver::meta::{Object, ObjectKey};
use apiserver::server::response;
use http::header::{HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use sandbox_api::{Sandbox, keys};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::activity::InUse;
use super::found::starts;
use super::kind::{ALL, Kind};
use super::request::{query, switched_headers, upgrade_headers};
use super::splice::{Ended, Limits, Protocol, splice};
use super::{answer, target};
use crate::cluster::streams::PodFacts;
use crate::cluster::{ChildMeta, Owner, PodPhase};

fn kind(name: &str) -> &'static Kind {
    ALL.iter().find(|kind| kind.name == name).unwrap()
}

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn sandbox(mode: &str, pod_name: Option<&str>) -> Sandbox {
    let template = json!({"spec": {"containers": [{"name": "main", "image": "i"}]}});
    let mut value = json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "Sandbox",
        "metadata": {"name": "box", "namespace": "ns", "uid": "u"},
        "spec": {"podTemplate": template, "operatingMode": mode},
    });
    if let Some(name) = pod_name {
        value["status"] = json!({"podName": name});
    }
    serde_json::from_value(value).unwrap()
}

pub(super) fn pod(owner_uid: &str, phase: PodPhase, annotation: Option<&str>) -> PodFacts {
    let annotated = annotation
        .map(|name| ("kubectl.kubernetes.io/default-container".to_owned(), name.to_owned()));
    let owner = Owner {
        api_version: "sandbox.x-k8s.io/v1beta1".into(),
        kind: "Sandbox".into(),
        name: "box".into(),
        uid: owner_uid.into(),
    };
    PodFacts {
        meta: ChildMeta {
            key: ObjectKey::namespaced("ns", "box"),
            uid: "p".into(),
            labels: BTreeMap::new(),
            annotations: annotated.into_iter().collect(),
            owner: (!owner_uid.is_empty()).then_some(owner),
            deleting: false,
        },
        phase,
        containers: vec!["main".into(), "side".into()],
        ports: Vec::new(),
    }
}

#[test]
fn the_pod_is_the_recorded_one_of_a_sandbox_that_shall_run() {
    let key = ObjectKey::namespaced("ns", "box");
    let of = |sandbox: Sandbox| target::pod_key(&key, &sandbox);
    assert_eq!(of(sandbox("Running", None)), Ok(key.clone()));
    let other = ObjectKey::namespaced("ns", "other");
    assert_eq!(of(sandbox("Running", Some("other"))), Ok(other));
    assert!(of(sandbox("Suspended", Some("box"))).unwrap_err().contains("suspended"));
}

#[test]
fn what_is_on_its_way_is_waited_for() {
    let with = |mode: &str, phase: &str, generation: i64, observed: i64| {
        let mut value = serde_json::to_value(sandbox(mode, None)).unwrap();
        value["metadata"]["generation"] = json!(generation);
        value["status"] = json!({"phase": phase, "observedGeneration": observed});
        serde_json::from_value::<Sandbox>(value).unwrap()
    };
    for (mode, phase, generation, observed, expected) in [
        ("Running", "Pending", 1, 1, true),
        ("Running", "Resuming", 2, 2, true),
        // The status is of the time before it was asked to run.
        ("Running", "Suspended", 2, 1, true),
        ("Running", "Running", 3, 2, true),
        ("Running", "Running", 3, 3, false),
        ("Running", "Succeeded", 1, 1, false),
        ("Running", "Failed", 2, 1, false),
        ("Suspended", "Suspending", 2, 2, false),
        ("Suspended", "Suspended", 2, 2, false),
    ] {
        let got = starts(&with(mode, phase, generation, observed));
        assert_eq!(got, expected, "{mode} {phase} {generation} {observed}");
    }
    assert!(starts(&sandbox("Running", None)), "not looked at yet");
    for (reason, expected) in [("DependenciesNotReady", true), ("ReconcilerError", false)] {
        let mut value = serde_json::to_value(sandbox("Running", None)).unwrap();
        value["status"] = json!({"phase": "Pending", "conditions": [{
            "type": "Ready", "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        assert_eq!(starts(&serde_json::from_value(value).unwrap()), expected, "{reason}");
    }
}

#[test]
fn only_an_own_pod_that_runs_is_streamed_to() {
    use PodPhase::{Failed, Pending, Running, Succeeded, Unknown};
    for (stream, uid, pod, expected) in [
        ("exec", "u", Some(pod("u", Running, None)), Ok("main")),
        ("exec", "u", Some(pod("u", Running, Some("side"))), Ok("side")),
        // An annotation that names no container is a mistake that must not make exec impossible.
        ("attach", "u", Some(pod("u", Running, Some("gone"))), Ok("main")),
        ("portforward", "u", Some(pod("u", Running, None)), Ok("main")),
        ("exec", "u", None, Err("no Pod")),
        ("log", "u", None, Err("no Pod")),
        ("exec", "u", Some(pod("other", Running, None)), Err("does not belong")),
        ("log", "u", Some(pod("other", Running, None)), Err("does not belong")),
        ("exec", "u", Some(pod("", Running, None)), Err("does not belong")),
        ("exec", "", Some(pod("", Running, None)), Err("does not belong")),
        ("exec", "u", Some(pod("u", Pending, None)), Err("Pending")),
        ("attach", "u", Some(pod("u", Succeeded, None)), Err("Succeeded")),
        ("portforward", "u", Some(pod("u", Failed, None)), Err("Failed")),
        ("exec", "u", Some(pod("u", Unknown, None)), Err("Unknown")),
        ("log", "u", Some(pod("u", Failed, None)), Ok("main")),
    ] {
        let got = target::container(kind(stream), uid, pod.as_ref());
        match expected {
            Ok(container) => assert_eq!(got.as_deref(), Ok(container), "{stream} {pod:?}"),
            Err(part) => assert!(got.unwrap_err().contains(part), "{stream} {pod:?}"),
        }
    }
}

#[test]
fn a_pod_goes_when_it_is_deleted_or_of_an_earlier_restart() {
    let stamp = |text: &str| json!({(keys::RESTARTED_AT): text});
    for (asked, has, deleting, owner, expected) in [
        (None, None, false, "u", false),
        (None, None, true, "u", true),
        (None, Some("1"), false, "u", false),
        (Some("1"), Some("1"), false, "u", false),
        (Some("2"), Some("1"), false, "u", true),
        (Some("1"), None, false, "u", true),
        (Some("1"), Some("1"), true, "u", true),
        // Somebody else's is none of ours to wait for.
        (Some("1"), None, true, "other", false),
    ] {
        let annotations = asked.map(stamp);
        let metadata = json!({"uid": "u", "annotations": annotations});
        let sandbox = Object::from_value(json!({"metadata": metadata})).unwrap();
        let mut pod = pod(owner, PodPhase::Running, None);
        pod.meta.deleting = deleting;
        let has = has.map(|text: &str| (keys::RESTARTED_AT.to_owned(), text.to_owned()));
        pod.meta.annotations.extend(has);
        assert_eq!(target::is_going(&sandbox, &pod), expected, "{asked:?} {pod:?}");
    }
}

#[test]
fn nothing_but_the_upgrade_goes_on() {
    let asked = headers(&[
        ("connection", "keep-alive, Upgrade, X-Remote-User"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "key"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ("sec-websocket-extensions", "none"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ("authorization", "Bearer secret"),
        ("cookie", "secret"),
        ("host", "elsewhere"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-a", "b"),
        ("impersonate-user", "admin"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-uri", "/"),
        ("proxy-authorization", "secret"),
        ("user-agent", "x"),
    ]);
    let expected = headers(&[
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "key"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ("sec-websocket-extensions", "none"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ("x-stream-protocol-version", "v3.channel.k8s.io"),
    ]);
    assert_eq!(upgrade_headers(&asked).unwrap(), expected);

    let answered = headers(&[
        ("connection", "Upgrade"),
        ("upgrade", "SPDY/3.1"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ("audit-id", "theirs"),
        ("set-cookie", "a=b"),
        ("x-kubernetes-pf-flowschema-uid", "u"),
    ]);
    let expected = headers(&[
        ("connection", "Upgrade"),
        ("upgrade", "SPDY/3.1"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
    ]);
    assert_eq!(switched_headers(&answered), expected);
}

#[test]
fn only_known_protocols_are_switched_to() {
    for (asked, text) in [
        (&[][..], "Upgrade request required"),
        (&[("upgrade", "websocket")], "Upgrade request required"),
        (&[("connection", "close"), ("upgrade", "websocket")], "Upgrade request required"),
        (&[("connection", "upgrade")], "unable to upgrade to \"\""),
        (&[("connection", "upgrade"), ("upgrade", "h2c")], "unable to upgrade to \"h2c\""),
        (
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
            "unable to upgrade",
        ),
        (&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], "unable to upgrade"),
    ] {
        let error = upgrade_headers(&headers(asked)).unwrap_err();
        assert_eq!(error.code(), 400, "{asked:?}");
        assert!(error.message().contains(text), "{asked:?}: {}", error.message());
    }
    for protocol in ["SPDY/3.1", "spdy/3.1", "websocket"] {
        let asked = headers(&[("connection", "Upgrade"), ("upgrade", protocol)]);
        assert!(upgrade_headers(&asked).is_ok(), "{protocol}");
    }
}

#[test]
fn only_known_parameters_go_on() {
    for (stream, asked, expected) in [
        ("exec", "", "container=main"),
        (
            "exec",
            "command=sh&command=-c&command=a%26b+c&stdin=true&tty=1",
            "command=sh&command=-c&command=a%26b+c&stdin=true&tty=1&container=main",
        ),
        ("exec", "container=side&stdout=true", "container=side&stdout=true"),
        ("exec", "container=&stdout=true", "stdout=true&container=main"),
        ("exec", "timeout=5s&pretty=true&as=admin&ports=1&follow=true", "container=main"),
        ("attach", "command=sh&stderr=true", "stderr=true&container=main"),
        ("portforward", "ports=80&container=side", "ports=80"),
        ("portforward", "", ""),
        (
            "log",
            "follow=true&tailLines=5&insecureSkipTLSVerifyBackend=true&stream=All",
            "follow=true&tailLines=5&stream=All&container=main",
        ),
        // What looks like more than one parameter stays one.
        ("log", "sinceTime=a%26follow%3Dtrue%23", "sinceTime=a%26follow%3Dtrue%23&container=main"),
    ] {
        assert_eq!(query(kind(stream), Some(asked), "main"), expected, "{stream} {asked}");
    }
    assert_eq!(query(kind("exec"), None, ""), "");
}

#[tokio::test]
async fn an_answer_without_a_stream_is_told_within_limits() {
    let of = async |status: u16, bytes: usize| {
        let head = headers(&[("content-type", "application/json"), ("location", "/elsewhere")]);
        let status = StatusCode::from_u16(status).unwrap();
        answer::refused(status, &head, response::full(vec![b'x'; bytes]), 16).await
    };
    let told = of(400, 16).await.unwrap();
    assert_eq!(told.status(), 400);
    assert_eq!(told.headers()["content-type"], "application/json");
    assert!(!told.headers().contains_key("location"));
    assert_eq!(told.into_body().collect().await.unwrap().to_bytes().len(), 16);
    for (status, bytes, code) in
        [(400, 17, 503), (401, 1, 500), (403, 1, 500), (302, 1, 500), (200, 1, 500), (101, 0, 500)]
    {
        assert_eq!(of(status, bytes).await.unwrap_err().code(), code, "{status}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_kubelet_is_the_users() {
    let text = "unable to upgrade: unable to negotiate protocol: client supports [v99]\n";
    for kind in [&[("content-type", "text/plain; charset=utf-8")][..], &[]] {
        let head = headers(kind);
        let answered =
            |max| answer::refused(StatusCode::FORBIDDEN, &head, response::full(text), max);
        let error = answered(1000).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (400, text.trim()));
        assert_eq!(answered(10).await.unwrap_err().code(), 503);
    }
}

const LONG: Duration = Duration::from_secs(3600);
const LIMITS: Limits = Limits { idle: LONG, lifetime: LONG };

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_until_either_end_is_through() {
    let (mut client, ours) = duplex(8);
    let (mut pod, theirs) = duplex(8);
    let ends = async {
        let mut text = [0; 26];
        let (sent, received) = tokio::join!(
            client.write_all(b"to the pod, more than fits"),
            pod.read_exact(&mut text)
        );
        sent.unwrap();
        received.unwrap();
        assert_eq!(&text, b"to the pod, more than fits");
        let said = async {
            pod.write_all(b"the last words of the pod").await.unwrap();
            drop(pod);
        };
        let mut heard = Vec::new();
        let (_, heard_all) = tokio::join!(said, client.read_to_end(&mut heard));
        heard_all.unwrap();
        assert_eq!(heard, b"the last words of the pod");
    };
    let ends = async {
        tokio::time::timeout(LONG / 2, ends).await.unwrap();
    };
    let usage = InUse::for_tests();
    let mut protocol = Protocol::new(true);
    let (ended, ()) =
        tokio::join!(splice(ours, theirs, LIMITS, &mut protocol, &usage, pending()), ends);
    assert_eq!(usage.bytes(), (26, 25));
    assert_eq!(ended, Ended::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_ended_says_why() {
    let short = Duration::from_secs(60);
    for (idle, lifetime, over, expected, code) in [
        (short, LONG, None, Ended::Idle, 1008_u16),
        (LONG, short, None, Ended::TooOld, 1008),
        (LONG, LONG, Some(Ended::Stopping), Ended::Stopping, 1001),
        (LONG, LONG, Some(Ended::Suspended), Ended::Suspended, 1001),
        (LONG, LONG, Some(Ended::Forbidden), Ended::Forbidden, 1008),
    ] {
        // Between two frames, in the middle of one, and where nobody speaks of frames.
        for (said, websocket, told) in
            [(&[0x82, 1, 7][..], true, true), (&[0x82, 2, 7], true, false), (&[], false, false)]
        {
            let (mut client, ours) = duplex(64);
            let (mut pod, theirs) = duplex(64);
            pod.write_all(said).await.unwrap();
            let over = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match over {
                    Some(why) => why,
                    None => pending().await,
                }
            };
            let mut protocol = Protocol::new(websocket);
            let got = splice(
                ours,
                theirs,
                Limits { idle, lifetime },
                &mut protocol,
                &InUse::for_tests(),
                over,
            )
            .await;
            assert_eq!(got, expected);
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            let last = heard.strip_prefix(said).unwrap();
            if told {
                assert_eq!((last[0], &last[2..4]), (0x88, &code.to_be_bytes()[..]), "{got:?}");
            } else {
                assert!(last.is_empty(), "{got:?}");
            }
        }
    }
}

#[test]
fn a_command_with_an_exit_code_has_ended_well() {
    for (why, exit_code, expected) in [
        (Ended::Broken, Some(7), Ended::Closed),
        (Ended::Broken, None, Ended::Broken),
        (Ended::Closed, None, Ended::Closed),
        (Ended::Stopping, Some(0), Ended::Stopping),
    ] {
        assert_eq!(why.of_command(exit_code), expected, "{why:?} {exit_code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_more_is_still_heard() {
    for _ in 0..64 {
        let (mut client, ours) = duplex(64);
        let (mut pod, theirs) = duplex(64);
        client.write_all(b"more than it cares for").await.unwrap();
        pod.write_all(b"exit code").await.unwrap();
        drop(pod);
        splice(ours, theirs, LIMITS, &mut Protocol::new(false), &InUse::for_tests(), pending())
            .await;
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"exit code");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_the_last_word_is_left() {
    let (_client, ours) = duplex(2);
    let (_pod, theirs) = duplex(2);
    let over = async { Ended::Deleted };
    let (usage, mut protocol) = (InUse::for_tests(), Protocol::new(true));
    let done = splice(ours, theirs, LIMITS, &mut protocol, &usage, over);
    assert_eq!(tokio::time::timeout(LONG / 2, done).await.unwrap(), Ended::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_moves_is_not_idle() {
    let (mut client, ours) = duplex(64);
    let (_pod, theirs) = duplex(64);
    let busy = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            client.write_all(b"x").await.unwrap();
        }
        drop(client);
    };
    let limits = Limits { idle: Duration::from_secs(60), lifetime: LONG };
    let usage = InUse::for_tests();
    let mut protocol = Protocol::new(false);
    let (ended, ()) =
        tokio::join!(splice(ours, theirs, limits, &mut protocol, &usage, pending()), busy);
    assert_eq!(ended, Ended::Closed);
}
