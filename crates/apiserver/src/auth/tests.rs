use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls_pki_types::CertificateDer;

use super::testing::{FakeAccess, FakeCa, FakeTokens, trust, trust_config};
use super::*;
use crate::clock::ManualClock;

const FRONT: &str = "front-proxy-client";

struct World {
    front: FakeCa,
    clients: FakeCa,
    trust: Trust,
    clock: ManualClock,
    authenticator: Authenticator,
}

fn world() -> World {
    let (front, clients) = (FakeCa::new("front-proxy-ca"), FakeCa::new("kubernetes"));
    let trust = trust(&front, &clients);
    let clock = ManualClock::new("2026-11-24T00:00:00Z".parse().unwrap());
    let authenticator =
        Authenticator::new(trust.clone(), Arc::new(FakeTokens), Arc::new(clock.clone()));
    World { front, clients, trust, clock, authenticator }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

impl World {
    async fn ask(&self, chain: &[CertificateDer<'static>], headers: &mut HeaderMap) -> String {
        match self.authenticator.authenticate(chain, headers).await {
            Ok(found) => found.user.name,
            Err(error) => error.code().to_string(),
        }
    }

    async fn as_alice(&self, certificate: &testing::FakeCertificate) -> String {
        let mut headers = headers(&[("x-remote-user", "alice")]);
        self.ask(std::slice::from_ref(&certificate.der), &mut headers).await
    }
}

#[tokio::test]
async fn before_the_authorities_are_known_a_certificate_is_no_reason_to_be_nobody() {
    let world = world();
    world.trust.store(TrustConfig::default());
    let certificate = world.front.client(FRONT, None);
    assert_eq!(world.as_alice(&certificate).await, "503");
    assert_eq!(world.ask(&[], &mut HeaderMap::new()).await, "system:anonymous", "probes");
}

#[tokio::test]
async fn front_proxy_names_the_user_and_the_headers_are_gone() {
    let world = world();
    let certificate = world.front.client(FRONT, None);
    let mut headers = headers(&[
        ("x-remote-user", "alice"),
        ("x-remote-uid", "u-1"),
        ("x-remote-group", "dev"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-example.com%2fscope", "a"),
        ("x-remote-extra-example.com%2fscope", "b"),
        ("authorization", "Bearer bad"),
        ("accept", "*/*"),
    ]);
    let found = world.authenticator.authenticate(&[certificate.der], &mut headers).await.unwrap();
    assert_eq!(found.method, Method::FrontProxy);
    assert_eq!(
        found.user,
        User {
            name: "alice".into(),
            uid: "u-1".into(),
            groups: vec!["dev".into(), "ops".into(), "system:authenticated".into()],
            extra: [("example.com/scope".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
        }
    );
    assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
}

#[tokio::test]
async fn only_an_allowed_name_of_the_right_ca_is_a_front_proxy() {
    let world = world();
    assert_eq!(world.as_alice(&world.front.client(FRONT, None)).await, "alice");
    assert_eq!(world.as_alice(&world.front.client("kubelet", None)).await, "401");
    // A user's own certificate gives its own identity, whatever the headers say.
    assert_eq!(world.as_alice(&world.clients.client(FRONT, None)).await, FRONT);
    let stranger = FakeCa::new("front-proxy-ca");
    assert_eq!(world.as_alice(&stranger.client(FRONT, None)).await, "401");
}

#[tokio::test]
async fn identity_headers_without_a_certificate_mean_nothing() {
    let world = world();
    let mut without = headers(&[("x-remote-user", "alice"), ("x-remote-group", "system:masters")]);
    assert_eq!(world.ask(&[], &mut without).await, "system:anonymous");
    assert!(without.is_empty());
}

#[tokio::test]
async fn a_rotated_ca_counts_at_once() {
    let world = world();
    let (old, next) = (world.front.client(FRONT, None), FakeCa::new("front-proxy-ca"));
    assert_eq!(world.as_alice(&old).await, "alice");
    world.trust.store(trust_config(&next, &world.clients));
    assert_eq!(world.as_alice(&old).await, "401");
    assert_eq!(world.as_alice(&next.client(FRONT, None)).await, "alice");
}

#[tokio::test]
async fn an_empty_list_of_names_allows_any_certificate_of_the_ca() {
    let world = world();
    let mut config = trust_config(&world.front, &world.clients);
    config.request_header.as_mut().unwrap().allowed_names.clear();
    world.trust.store(config);
    assert_eq!(world.as_alice(&world.front.client("whoever", None)).await, "alice");
}

#[tokio::test]
async fn validity_follows_the_clock() {
    let world = world();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, FRONT);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let front = world.front.sign(params.clone());
    let user = world.clients.sign(params);
    assert_eq!(world.as_alice(&front).await, "alice");
    assert_eq!(world.ask(std::slice::from_ref(&user.der), &mut HeaderMap::new()).await, FRONT);
    for time in ["2025-12-31T00:00:00Z", "2027-01-02T00:00:00Z"] {
        world.clock.set(time.parse::<Timestamp>().unwrap());
        assert_eq!(world.as_alice(&front).await, "401");
        let chain = std::slice::from_ref(&user.der);
        assert_eq!(world.ask(chain, &mut HeaderMap::new()).await, "401");
    }
}

/// As in Go's verifier: listed usages must include clientAuth, no list means any usage.
#[tokio::test]
async fn a_certificate_for_servers_is_no_client() {
    let world = world();
    assert_eq!(world.as_alice(&world.front.server(FRONT)).await, "401");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, FRONT);
    assert_eq!(world.as_alice(&world.front.sign(params)).await, "alice");
}

#[tokio::test]
async fn a_client_certificate_is_a_user_with_groups() {
    let world = world();
    let bob = world.clients.client("bob", Some("dev"));
    let found = world.authenticator.authenticate(&[bob.der], &mut HeaderMap::new()).await.unwrap();
    assert_eq!(found.method, Method::Certificate);
    assert_eq!(found.user.name, "bob");
    assert_eq!(found.user.groups, ["dev", "system:authenticated"]);
}

#[tokio::test]
async fn a_certificate_of_a_foreign_ca_is_no_credential() {
    let world = world();
    let kubelet = FakeCa::new("kubelet-ca").client("kubelet", None);
    let chain = [kubelet.der];
    assert_eq!(world.ask(&chain, &mut HeaderMap::new()).await, "system:anonymous");
    let mut with_token = headers(&[("authorization", "Bearer good")]);
    assert_eq!(world.ask(&chain, &mut with_token).await, "token-user");
}

#[tokio::test]
async fn tokens() {
    let world = world();
    for (value, expected) in [
        ("Bearer good", "token-user"),
        ("bearer good", "token-user"),
        ("Bearer bad", "401"),
        ("Bearer broken", "401"),
        ("Basic Zm9v", "system:anonymous"),
    ] {
        let mut headers = headers(&[("authorization", value)]);
        assert_eq!(world.ask(&[], &mut headers).await, expected, "{value}");
        assert!(headers.is_empty(), "{value}");
    }
}

#[tokio::test]
async fn tokens_of_browsers_come_as_a_subprotocol() {
    let world = world();
    let token = |text: &str| {
        format!("base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode(text))
    };
    let ask = async |protocols: &str, upgrade: &str| {
        let mut headers = headers(&[("sec-websocket-protocol", protocols), ("upgrade", upgrade)]);
        let name = world.ask(&[], &mut headers).await;
        (name, headers["sec-websocket-protocol"].to_str().unwrap().to_owned())
    };
    let offered = format!("{}, v5.channel.k8s.io", token("good"));
    let expected = ("token-user".to_owned(), "v5.channel.k8s.io".to_owned());
    assert_eq!(ask(&offered, "websocket").await, expected);
    assert_eq!(ask(&offered, "SPDY/3.1").await.0, "system:anonymous");
    assert_eq!(ask(&token("good"), "websocket").await.0, "401");
    assert_eq!(ask(&format!("{offered}, {}", token("x")), "websocket").await.0, "401");
}

fn resource(subresource: &str, namespace: &str, name: &str) -> Attributes {
    Attributes::Resource {
        verb: "get".into(),
        group: "g".into(),
        version: "v1".into(),
        resource: "sandboxes".into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn path(path: &str) -> Attributes {
    Attributes::NonResource { verb: "get".into(), path: path.into() }
}

fn named(name: &str) -> User {
    User { name: name.into(), ..User::default() }
}

#[tokio::test]
async fn refusals_say_who_what_and_where() {
    let cases = [
        (
            resource("exec", "ns", "a"),
            "",
            r#"sandboxes.g "a" is forbidden: User "u" cannot get resource "sandboxes/exec" in API group "g" in the namespace "ns""#,
        ),
        (
            resource("", "", ""),
            "no rule",
            r#"sandboxes.g is forbidden: User "u" cannot get resource "sandboxes" in API group "g" at the cluster scope: no rule"#,
        ),
        (path("/x"), "", r#"forbidden: User "u" cannot get path "/x""#),
    ];
    for (attributes, reason, expected) in cases {
        let access = FakeAccess { reason: reason.into(), ..FakeAccess::default() };
        let authorizer = Authorizer::new(AuthorizerConfig::default(), Arc::new(access));
        let error = authorizer.authorize(&named("u"), attributes).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (403, expected));
    }
}

#[tokio::test]
async fn masters_and_open_paths_are_not_reviewed() {
    let access = Arc::new(FakeAccess { is_broken: true, ..FakeAccess::default() });
    let authorizer = Authorizer::new(AuthorizerConfig::default(), access.clone());
    let master = User { groups: vec!["system:masters".into()], ..named("root") };
    let permit = authorizer.authorize(&master, resource("", "ns", "a")).await.unwrap();
    assert_eq!(permit.user().name, "root");
    assert_eq!(permit.attributes(), Some(&resource("", "ns", "a")));
    assert!(authorizer.authorize(&named("u"), path("/readyz")).await.is_ok());
    assert_eq!(access.asked.load(Ordering::SeqCst), 0);
    let error = authorizer.authorize(&named("u"), path("/readyz/etcd")).await.unwrap_err();
    assert_eq!((error.code(), error.reason().as_str()), (500, "InternalError"));
}

#[tokio::test]
async fn answers_are_remembered_by_everything_asked_and_failures_are_not() {
    let access = Arc::new(FakeAccess { allowed: vec!["u".into()], ..FakeAccess::default() });
    let authorizer = Authorizer::new(AuthorizerConfig::default(), access.clone());
    for _ in 0..3 {
        assert!(authorizer.authorize(&named("u"), resource("", "ns", "a")).await.is_ok());
        assert!(authorizer.authorize(&named("v"), resource("", "ns", "a")).await.is_err());
        assert!(authorizer.authorize(&named("u"), resource("exec", "ns", "a")).await.is_ok());
    }
    assert_eq!(access.asked.load(Ordering::SeqCst), 3);
    assert_eq!(*access.last.lock().unwrap(), Some(resource("exec", "ns", "a")));

    let large = resource("", "ns", &"a".repeat(20_000));
    for _ in 0..2 {
        assert!(authorizer.authorize(&named("u"), large.clone()).await.is_ok());
    }
    assert_eq!(access.asked.load(Ordering::SeqCst), 5);

    let broken = Arc::new(FakeAccess { is_broken: true, ..FakeAccess::default() });
    let authorizer = Authorizer::new(AuthorizerConfig::default(), broken.clone());
    for _ in 0..2 {
        assert!(authorizer.authorize(&named("u"), path("/x")).await.is_err());
    }
    assert_eq!(broken.asked.load(Ordering::SeqCst), 2);
}
