//! What holds of proxied requests whatever a client or a sandbox sends.

use http::HeaderMap;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::properties::{config, header_map};
use super::address::{Address, split};
use super::headers::{for_the_client, for_the_pod};

const OF_THE_USER: [&str; 9] = [
    "authorization",
    "cookie",
    "x-remote-user",
    "x-remote-extra-a",
    "impersonate-user",
    "origin",
    "x-forwarded-for",
    "forwarded",
    "audit-id",
];
const ORDERS: [&str; 5] =
    ["set-cookie", "strict-transport-security", "alt-svc", "www-authenticate", "clear-site-data"];
const OF_THE_HOP: [&str; 5] =
    ["keep-alive", "te", "trailer", "transfer-encoding", "proxy-connection"];

fn headers() -> impl Strategy<Value = HeaderMap> {
    let known =
        [&OF_THE_USER[..], &ORDERS, &OF_THE_HOP, &["connection", "upgrade", "x-own"]].concat();
    let name =
        prop_oneof![prop::sample::select(known).prop_map(str::to_owned), "[a-z][a-z0-9-]{0,12}",];
    let value = prop_oneof![
        "x-own, close",
        "x-forwarded-prefix, host",
        vec(any::<char>(), 0..20).prop_map(String::from_iter)
    ];
    header_map(name, value.prop_map(String::into_bytes))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_of_the_users_goes_to_the_pod(
        from in headers(), port in 1..=u16::MAX, websocket in any::<bool>(),
    ) {
        let sent = for_the_pod(&from, port, "/prefix", websocket).unwrap();
        for name in OF_THE_USER.iter().chain(&OF_THE_HOP) {
            prop_assert!(!sent.contains_key(*name), "{name}");
        }
        // Ours can't be taken away by naming them in Connection.
        prop_assert_eq!(sent["host"].to_str().unwrap(), format!("localhost:{port}"));
        prop_assert_eq!(&sent["x-forwarded-prefix"], "/prefix");
        prop_assert_eq!(sent.contains_key("upgrade"), websocket);
        prop_assert_eq!(sent.contains_key("connection"), websocket);
    }

    #[test]
    fn no_order_comes_back(from in headers()) {
        let told = for_the_client(&from);
        for name in ORDERS.iter().chain(&OF_THE_HOP).chain(&["connection", "upgrade"]) {
            prop_assert!(!told.contains_key(*name), "{name}");
        }
        let policies: Vec<_> = told.get_all("content-security-policy").iter().collect();
        prop_assert!(policies.last().unwrap().to_str().unwrap().starts_with("sandbox "));
    }

    #[test]
    fn a_path_is_split_and_not_changed(path in "(/{1,2}[a-z%0-9.]{0,6}){0,14}") {
        let (ours, rest) = split(&path);
        prop_assert!(rest.starts_with('/'));
        let whole = [ours, rest].concat();
        prop_assert!(whole == path || (ours == path && rest == "/"));
    }

    #[test]
    fn an_address_is_taken_or_refused(text in ".{0,30}") {
        match Address::parse(&text) {
            Ok(address) => prop_assert!(!address.name.is_empty() && !address.name.contains(':')),
            Err(error) => prop_assert_eq!(error.code(), 400),
        }
    }
}
