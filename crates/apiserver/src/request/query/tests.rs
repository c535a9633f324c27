use serde_json::json;

use super::*;

fn query(text: &str) -> Query {
    Query::parse(Some(text))
}

#[test]
fn list_combinations_that_kubernetes_refuses() {
    // query, code, part of the message
    let table = [
        ("resourceVersionMatch=Exact", 422, "forbidden unless resourceVersion is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            422,
            "is forbidden for resourceVersion \"0\"",
        ),
        (
            "resourceVersion=5&resourceVersionMatch=Exact&continue=x",
            422,
            "resourceVersionMatch is forbidden when continue is provided",
        ),
        ("resourceVersion=5&resourceVersionMatch=Other", 422, "supported values: \"Exact\""),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        (
            "resourceVersion=5&continue=x",
            400,
            "specifying resource version is not allowed when using continue",
        ),
        ("resourceVersion=abc", 422, "resourceVersion: Invalid value: \"abc\""),
        ("limit=x", 400, "invalid syntax"),
    ];
    for (text, code, message) in table {
        let error = list_options(&query(text)).unwrap_err();
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.message().contains(message), "{text}: {error}");
    }
    let options = list_options(&query("limit=5&continue=x&resourceVersion=0")).unwrap();
    assert_eq!((options.limit, options.continue_token.as_str()), (5, "x"));
}

#[test]
fn watch_initial_events_need_not_older_than() {
    for text in [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
    ] {
        assert_eq!(watch_options(&query(text)).unwrap_err().code(), 422, "{text}");
    }
    let options = watch_options(&query(
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1&timeoutSeconds=9",
    ))
    .unwrap();
    assert_eq!(options.send_initial_events, Some(true));
    assert!(options.allow_bookmarks);
    assert_eq!(options.timeout, Some(Duration::from_secs(9)));
}

#[test]
fn write_options_refuse_unknown_values() {
    for text in ["dryRun=Some", "fieldValidation=Maybe", "force=true", "fieldManager=a%01"] {
        let error = write_options(&query(text), "CreateOptions", "curl/8").unwrap_err();
        assert_eq!(error.code(), 422, "{text}");
    }
    let options = write_options(&query("dryRun=All"), "CreateOptions", "kubectl/v1.37").unwrap();
    assert!(options.dry_run);
    assert_eq!(options.field_manager, "kubectl");
}

#[test]
fn delete_options_from_body_or_query() {
    let body = Object::from_value(json!({
        "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u"}, "dryRun": ["All"]
    }));
    let options = delete_options(&query("propagationPolicy=Orphan"), body.as_ref()).unwrap();
    assert_eq!(options.propagation, Some(Propagation::Foreground));
    assert_eq!(options.preconditions.uid.as_deref(), Some("u"));
    assert!(options.dry_run);
    let options = delete_options(&query("orphanDependents=true"), None).unwrap();
    assert_eq!(options.propagation, Some(Propagation::Orphan));
    for text in ["propagationPolicy=X", "propagationPolicy=Orphan&orphanDependents=false"] {
        assert_eq!(delete_options(&query(text), None).unwrap_err().code(), 422, "{text}");
    }
}
