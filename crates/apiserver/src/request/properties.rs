//! What holds of paths and queries whatever a client sends.

use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::RequestInfo;
use super::query::{Query, delete_options, list_options, watch_options, write_options};

fn config() -> Config {
    Config {
        cases: 3000,
        rng_seed: RngSeed::Fixed(20_261_126),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Parameters that mean something with values that do, and anything else.
fn queries() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "labelSelector",
            "fieldSelector",
            "limit",
            "continue",
            "resourceVersion",
            "resourceVersionMatch",
            "timeoutSeconds",
            "allowWatchBookmarks",
            "sendInitialEvents",
            "dryRun",
            "fieldManager",
            "fieldValidation",
            "force",
            "gracePeriodSeconds",
            "propagationPolicy",
            "orphanDependents",
            "watch",
            "pretty",
        ])
        .prop_map(str::to_owned),
        ".{0,10}",
    ];
    let value = prop_oneof![
        prop::sample::select(vec![
            "",
            "0",
            "1",
            "-1",
            "true",
            "false",
            "All",
            "Exact",
            "NotOlderThan",
            "Strict",
            "a=b",
            "a in (b,c)",
            "a notin (",
            "!a",
            "metadata.name=x",
            "metadata.name!=",
            "x==,=y",
            "99999999999999999999",
            "9223372036854775807",
            "Background",
            "eyJ2IjoibWV0YSJ9",
        ])
        .prop_map(str::to_owned),
        ".{0,40}",
    ];
    let raw = ".{0,40}";
    (vec((name, value), 0..8), raw).prop_map(|(pairs, raw)| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        format!("{}&{raw}", query.finish())
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn options_are_read_or_refused(query in queries()) {
        let query = Query::parse(Some(&query));
        let codes = [
            list_options(&query).err().map(|error| error.code()),
            watch_options(&query).err().map(|error| error.code()),
            write_options(&query, "CreateOptions", "agent/1").err().map(|error| error.code()),
            delete_options(&query, None).err().map(|error| error.code()),
        ];
        for code in codes.into_iter().flatten() {
            prop_assert!(matches!(code, 400 | 410 | 422), "{code}");
        }
    }

    #[test]
    fn a_path_says_what_is_asked_for_and_no_less(
        method in prop::sample::select(vec![Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH]),
        path in "(/{1,2}(apis|api|v1|namespaces|flunders|watch|proxy|exec|[a-z.%0-9]{0,8})){0,10}/?",
        query in queries(),
    ) {
        let info = RequestInfo::parse(&method, &path, Some(&query));
        if info.is_resource {
            prop_assert!(!info.resource.is_empty());
            // What comes after the subresource can't take anything away from what is checked.
            let longer = format!("{}/more", path.trim_end_matches('/'));
            let more = RequestInfo::parse(&method, &longer, Some(&query));
            if !info.subresource.is_empty() {
                prop_assert_eq!(&more.subresource, &info.subresource);
                prop_assert_eq!((&more.resource, &more.namespace, &more.name), (&info.resource, &info.namespace, &info.name));
            }
        }
    }
}
