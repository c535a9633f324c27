//! What holds of streams' requests whatever a client sends: random, from a fixed seed, and shrunk when
//! it does not.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::frames::{Frames, close};
use super::kind::{ALL, Kind};
use super::request::{query, switched_headers, upgrade_headers};

pub(super) fn config() -> Config {
    Config {
        cases: 2000,
        rng_seed: RngSeed::Fixed(20_261_126),
        failure_persistence: None,
        ..Config::default()
    }
}

fn kinds() -> impl Strategy<Value = &'static Kind> {
    (0..ALL.len()).prop_map(|index| &ALL[index])
}

/// Names that mean something, and others.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "command",
            "container",
            "stdin",
            "stdout",
            "stderr",
            "tty",
            "ports",
            "follow",
            "path",
            "insecureSkipTLSVerifyBackend",
            "dryRun",
            "Container",
            "",
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
    ]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "connection",
            "upgrade",
            "sec-websocket-key",
            "sec-websocket-version",
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "x-stream-protocol-version",
            "authorization",
            "cookie",
            "x-remote-user",
            "x-remote-group",
            "impersonate-user",
            "host",
            "transfer-encoding",
            "content-length",
            "x-forwarded-for",
        ])
        .prop_map(str::to_owned),
        "[a-z][a-z0-9-]{0,20}",
    ];
    let value = prop_oneof![
        prop::sample::select(vec![
            "Upgrade",
            "upgrade, x-remote-user",
            "websocket",
            "WebSocket",
            "SPDY/3.1",
            "h2c",
            "websocket, h2c",
            "close",
            "",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..30),
    ];
    header_map(name, value)
}

/// A dozen headers at most, of such names and values.
pub(super) fn header_map(
    name: impl Strategy<Value = String>,
    value: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = HeaderMap> {
    vec((name, value), 0..12).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::try_from(name);
            // Others never get here: the connection is closed before.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                headers.append(name, value);
            }
        }
        headers
    })
}

/// A frame of a server, with its payload.
fn frames() -> impl Strategy<Value = (u8, Vec<u8>, u8)> {
    let length = prop_oneof![0..4usize, 120..130usize, 65_530..65_540usize];
    let payload = (length, any::<u8>(), 0..5u8).prop_map(|(length, fill, channel)| {
        let mut payload = vec![fill; length];
        if let Some(first) = payload.first_mut() {
            *first = channel;
        }
        payload
    });
    // How the length is written: as short as it can be, or longer.
    (prop::sample::select(vec![0x00, 0x80, 0x01, 0x82, 0x02, 0x89, 0x8a]), payload, 0..3u8)
}

fn on_the_wire(opcode: u8, payload: &[u8], form: u8) -> Vec<u8> {
    let mut bytes = vec![opcode];
    match (payload.len(), form) {
        (length @ 0..126, 0) => bytes.push(u8::try_from(length).unwrap()),
        (length @ 0..=65_535, 0 | 1) => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        (length, _) => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn only_listed_parameters_go_on(
        kind in kinds(),
        pairs in vec((names(), ".{0,20}"), 0..10),
        raw in prop::option::of(".{0,60}"),
        container in prop::option::of("[a-z]{1,8}"),
    ) {
        let mut asked = form_urlencoded::Serializer::new(String::new());
        asked.extend_pairs(&pairs);
        let asked = format!("{}&{}", asked.finish(), raw.unwrap_or_default());
        let container = container.unwrap_or_default();
        let sent = query(kind, Some(&asked), &container);
        prop_assert!(sent.is_ascii() && !sent.contains(['#', ' ', '\r', '\n']), "{sent:?}");
        let before: Vec<_> = form_urlencoded::parse(asked.as_bytes()).into_owned().collect();
        let after: Vec<_> = form_urlencoded::parse(sent.as_bytes()).into_owned().collect();
        let mut expected: Vec<_> = before
            .into_iter()
            .filter(|(name, value)| {
                kind.parameters.iter().any(|(known, _)| known == name)
                    && (name != "container" || !value.is_empty())
            })
            .collect();
        let is_told = expected.iter().any(|(name, _)| name == "container");
        if kind.takes("container") && !is_told && !container.is_empty() {
            expected.push(("container".into(), container));
        }
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn only_an_upgrades_headers_go_on(from in headers()) {
        const KNOWN: [&str; 7] = [
            "connection", "upgrade", "sec-websocket-key", "sec-websocket-version",
            "sec-websocket-protocol", "sec-websocket-extensions", "x-stream-protocol-version",
        ];
        match upgrade_headers(&from) {
            Err(error) => prop_assert_eq!(error.code(), 400),
            Ok(sent) => {
                for (name, value) in &sent {
                    prop_assert!(KNOWN.contains(&name.as_str()), "{name}");
                    prop_assert!(
                        matches!(name.as_str(), "connection" | "upgrade")
                            || from.get_all(name).iter().any(|one| one == value),
                        "{name}: {value:?}"
                    );
                }
                prop_assert_eq!(sent.get_all("upgrade").iter().count(), 1);
                prop_assert!(sent["upgrade"] == "websocket" || sent["upgrade"] == "SPDY/3.1");
                prop_assert_eq!(sent.get_all("connection").iter().count(), 1);
                prop_assert_eq!(&sent["connection"], "Upgrade");
            }
        }
        let answered = switched_headers(&from);
        for name in ["authorization", "cookie", "x-remote-user", "content-length", "host"] {
            prop_assert!(!answered.contains_key(name));
        }
        prop_assert_eq!(&answered["connection"], "Upgrade");
    }

    #[test]
    fn frames_end_where_a_reader_of_them_says(all in vec(frames(), 0..6), piece in 1..2000usize) {
        let mut stream = Vec::new();
        let mut ends = vec![0];
        for (opcode, payload, form) in &all {
            stream.extend(on_the_wire(*opcode, payload, *form));
            ends.push(stream.len());
        }
        let (mut frames, mut at) = (Frames::default(), 0);
        for part in stream.chunks(piece) {
            frames.pass(part);
            at += part.len();
            prop_assert_eq!(frames.is_between(), ends.contains(&at), "at {}", at);
        }
        // None of these is a Status.
        prop_assert_eq!(frames.exit_code(), None);
    }

    #[test]
    fn any_bytes_can_be_followed(bytes in vec(any::<u8>(), 0..400), piece in 1..50usize) {
        let mut frames = Frames::default();
        bytes.chunks(piece).for_each(|part| frames.pass(part));
        let mut whole = Frames::default();
        whole.pass(&bytes);
        prop_assert_eq!(frames.is_between(), whole.is_between());
        prop_assert_eq!(frames.exit_code(), whole.exit_code());
    }

    #[test]
    fn any_reason_fits_into_a_close(code in any::<u16>(), reason in ".{0,200}") {
        let frame = close(code, &reason);
        prop_assert!(frame.len() <= 127 && usize::from(frame[1]) == frame.len() - 2);
        prop_assert!(reason.starts_with(std::str::from_utf8(&frame[4..]).unwrap()));
    }
}
