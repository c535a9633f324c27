use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::super::activity::InUse;
use super::super::tests::{self as shared, headers};
use super::address::{Address, Scheme, split};
use super::backend::{counted, secured};
use super::headers::{for_the_client, for_the_pod};
use super::*;
use crate::cluster::PodPhase;
use crate::cluster::streams::{PodFacts, PodPort};

fn pod(ports: &[(&str, u16)]) -> PodFacts {
    let ports =
        ports.iter().map(|(name, number)| PodPort { name: (*name).into(), number: *number });
    PodFacts { ports: ports.collect(), ..shared::pod("u", PodPhase::Running, None) }
}

#[test]
fn an_address_is_a_name_with_more() {
    for (text, scheme, name, port) in [
        ("box", Scheme::Http, "box", ""),
        ("box:8080", Scheme::Http, "box", "8080"),
        ("box:web", Scheme::Http, "box", "web"),
        ("box:", Scheme::Http, "box", ""),
        ("http:box:8080", Scheme::Http, "box", "8080"),
        ("https:box:8443", Scheme::Https, "box", "8443"),
        ("https:box:", Scheme::Https, "box", ""),
        (":box:1", Scheme::Http, "box", "1"),
    ] {
        assert_eq!(Address::parse(text).unwrap(), Address { scheme, name, port }, "{text}");
    }
    for text in ["", ":80", "ftp:box:21", "http::80", "a:b:c:d", "HTTP:box:80"] {
        let error = Address::parse(text).unwrap_err();
        assert_eq!(error.code(), 400, "{text}");
        assert_eq!(error.message(), format!("invalid sandbox request {text:?}"));
    }
}

#[test]
fn a_port_is_asked_for_or_declared() {
    let declared = pod(&[("", 3000), ("web", 8080)]);
    for (text, pod, expected) in [
        ("box", &declared, Some(3000)),
        ("box", &pod(&[]), Some(80)),
        ("box:web", &declared, Some(8080)),
        ("box:9", &declared, Some(9)),
        ("box:65535", &declared, Some(65535)),
        ("box:65536", &declared, None),
        ("box:0", &declared, None),
        ("box:-1", &declared, None),
        ("box:gone", &declared, None),
        ("box:web", &pod(&[]), None),
    ] {
        let got = Address::parse(text).unwrap().port(pod);
        assert_eq!(got.as_ref().ok().copied(), expected, "{text}: {got:?}");
        assert!(got.is_ok() || got.unwrap_err().code() == 400);
    }
}

#[test]
fn the_path_goes_on_as_it_came() {
    let root = "/apis/g/v/namespaces/ns/sandboxes/box:80/proxy";
    for (rest, expected) in [
        ("", "/"),
        ("/", "/"),
        ("/a", "/a"),
        ("/a/b/", "/a/b/"),
        ("//a", "//a"),
        ("/a%2Fb/../c", "/a%2Fb/../c"),
        ("/proxy/x", "/proxy/x"),
    ] {
        assert_eq!(split(&format!("{root}{rest}")), (root, expected), "{rest}");
    }
    // What the server takes for empty segments is none of the eight.
    let odd = "//apis/g//v/namespaces/ns/sandboxes/box/proxy";
    assert_eq!(split(&format!("{odd}/x")), (odd, "/x"));
    assert_eq!(split("/apis/g"), ("/apis/g", "/"));
}

#[test]
fn nothing_of_the_user_goes_to_the_pod() {
    let asked = headers(&[
        ("host", "api.example"),
        ("authorization", "Bearer secret"),
        ("proxy-authorization", "secret"),
        ("cookie", "session=secret"),
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-scopes", "all"),
        ("impersonate-user", "admin"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "api.example"),
        ("x-forwarded-prefix", "/forged"),
        ("forwarded", "for=192.0.2.1"),
        ("origin", "https://api.example"),
        ("referer", "https://api.example/secret"),
        ("audit-id", "id"),
        ("connection", "keep-alive, X-Private, close"),
        ("keep-alive", "timeout=5"),
        ("x-private", "between us"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("content-type", "application/json"),
        ("accept", "text/html"),
        ("accept", "*/*"),
        ("x-app", "kept"),
    ]);
    let mut expected = vec![
        ("content-type", "application/json"),
        ("accept", "text/html"),
        ("accept", "*/*"),
        ("x-app", "kept"),
        ("host", "localhost:8080"),
        ("x-forwarded-prefix", "/root"),
        ("x-forwarded-proto", "https"),
    ];
    assert_eq!(for_the_pod(&asked, 8080, "/root", false).unwrap(), headers(&expected));
    expected.extend([("connection", "Upgrade"), ("upgrade", "websocket")]);
    assert_eq!(for_the_pod(&asked, 8080, "/root", true).unwrap(), headers(&expected));
}

#[test]
fn a_sandbox_gives_clients_no_orders() {
    let answered = headers(&[
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h2=\"elsewhere:443\""),
        ("www-authenticate", "Basic"),
        ("proxy-authenticate", "Basic"),
        ("clear-site-data", "\"*\""),
        ("service-worker-allowed", "/"),
        ("audit-id", "forged"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("content-type", "text/html"),
        ("content-length", "7"),
        ("content-security-policy", "default-src 'self'"),
        ("x-app", "kept"),
    ]);
    let got = for_the_client(&answered);
    let expected = headers(&[
        ("content-type", "text/html"),
        ("content-length", "7"),
        ("content-security-policy", "default-src 'self'"),
        (
            "content-security-policy",
            "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
        ),
        ("x-app", "kept"),
    ]);
    assert_eq!(got, expected);
}

#[tokio::test]
async fn whoever_listens_may_show_any_certificate() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let signed = rcgen::generate_simple_self_signed(vec!["elsewhere.example".into()]).unwrap();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let (ours, theirs) = duplex(1 << 16);
    let server = async {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(theirs).await.unwrap();
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"ping");
        stream.write_all(b"pong").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let client = async {
        let usage = Arc::new(InUse::for_tests());
        let io = secured(Box::new(ours)).await.unwrap();
        let mut io = counted(io, usage.clone());
        io.write_all(b"ping").await.unwrap();
        io.flush().await.unwrap();
        let mut said = String::new();
        io.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "pong");
        assert_eq!(usage.bytes(), (4, 4));
    };
    tokio::join!(server, client);
    // Who speaks no TLS is not taken for one who does.
    let (ours, mut theirs) = duplex(1 << 16);
    theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert!(secured(Box::new(ours)).await.is_err());
}

#[test]
fn only_websockets_are_upgraded_to() {
    let parts = |pairs: &[(&str, &str)]| {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = headers(pairs);
        parts
    };
    for plain in [&[][..], &[("upgrade", "h2c")], &[("connection", "keep-alive")]] {
        assert!(upgrade(&parts(plain)).unwrap().is_none(), "{plain:?}");
    }
    for (asked, text) in [
        (&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")][..], "unable to upgrade"),
        (&[("connection", "upgrade"), ("upgrade", "SPDY/3.1")], "unable to upgrade"),
        (&[("connection", "upgrade")], "unable to upgrade"),
        // HTTP/2 has no such thing.
        (&[("connection", "upgrade"), ("upgrade", "websocket")], "Upgrade request required"),
    ] {
        let error = upgrade(&parts(asked)).unwrap_err();
        assert_eq!(error.code(), 400);
        assert!(error.message().contains(text), "{asked:?}: {}", error.message());
    }
}

/// Bytes as the Pod sees and says them; `exchange` wants a body from the wire.
#[tokio::test]
async fn a_redirect_is_refused_and_everything_else_passes() {
    for (said, code, body) in [
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 1\r\n\r\nx", 502, NO_REDIRECT),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, ""),
        ("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy", 503, "busy"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end"),
    ] {
        let (ours, mut theirs) = duplex(1 << 16);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, String>(TokioIo::new(ours)).await.unwrap();
        let server = async {
            let mut asked = vec![0; 1024];
            let count = theirs.read(&mut asked).await.unwrap();
            assert!(count > 0);
            theirs.write_all(said.as_bytes()).await.unwrap();
            drop(theirs);
        };
        let client = async {
            let answer = sender.send_request(Request::new(String::new())).await.unwrap();
            let passed = passed_on(answer).unwrap();
            assert_eq!(passed.status(), code);
            assert!(!passed.headers().contains_key("location"));
            let got = passed.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(got, body);
        };
        let (_, (), ()) = tokio::join!(connection, server, client);
    }
}

/// A connection that nobody drives stands for one whose end hyper has not noticed.
#[tokio::test(start_paused = true)]
async fn an_answer_is_not_waited_for_when_nobody_brings_it() {
    let (ours, _theirs) = duplex(64);
    let (sender, connection) = handshake(TokioIo::new(ours)).await.unwrap();
    let (driven, gone) = oneshot::channel();
    let refused = Box::pin(async { Some("connection refused".to_owned()) });
    let request = Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    let (answer, ()) = tokio::join!(
        exchange(sender, request, gone, refused),
        holding(driven, tokio::time::sleep(Duration::from_secs(5))),
    );
    let error = answer.unwrap_err();
    let told = (error.code(), error.message());
    assert_eq!(told, (503, "error trying to reach service: connection refused"));
    drop(connection);
}
