use serde_json::Value;

use super::*;
use crate::openapi::tests::built;

fn header_of<'a>(response: &'a OpenApiResponse, name: &header::HeaderName) -> Option<&'a str> {
    response.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

#[test]
fn documents_are_served_with_cache_headers() {
    let documents = built();
    let none = HeaderMap::new();
    let index = documents.respond("/openapi/v3", None, &none).unwrap();
    assert_eq!(
        (index.status, header_of(&index, &header::CONTENT_TYPE)),
        (200, Some("application/json"))
    );
    let paths: Value = serde_json::from_slice(&index.body).unwrap();
    for path in ["apis", "apis/sandbox.x-k8s.io", "apis/sandbox.x-k8s.io/v1beta1", "version"] {
        let url = paths["paths"][path]["serverRelativeURL"].as_str().unwrap();
        let (url, query) = url.split_once('?').unwrap();
        let response = documents.respond(url, Some(query), &none).unwrap();
        assert_eq!(response.status, 200);
        assert!(header_of(&response, &header::CACHE_CONTROL).unwrap().contains("immutable"));
        let old = documents.respond(url, Some("hash=ABC"), &none).unwrap();
        assert_eq!((old.status, header_of(&old, &header::CACHE_CONTROL)), (200, None));
    }
    assert!(documents.respond("/openapi/v3/apis/other", None, &none).is_none());
    assert!(documents.respond("/openapi/v4", None, &none).is_none());
}

#[test]
fn known_documents_are_not_sent_again() {
    let documents = built();
    for path in ["/openapi/v3", "/openapi/v2", "/openapi/v3/apis/sandbox.x-k8s.io/v1beta1"] {
        let first = documents.respond(path, None, &HeaderMap::new()).unwrap();
        let etag = header_of(&first, &header::ETAG).unwrap();
        for known in [etag.to_owned(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
            let again = documents.respond(path, None, &headers).unwrap();
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {known}");
            assert_eq!(header_of(&again, &header::ETAG), Some(etag));
        }
    }
}

#[test]
fn only_json_is_served() {
    let documents = built();
    let table = [
        ("application/json", 200),
        ("*/*", 200),
        ("application/com.github.proto-openapi.spec.v3.v1.0+protobuf", 406),
        ("application/com.github.proto-openapi.spec.v2.v1.0+protobuf, application/json;q=0.5", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
    ];
    for (accept, status) in table {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        for path in ["/openapi/v2", "/openapi/v3/apis/sandbox.x-k8s.io/v1beta1"] {
            let response = documents.respond(path, None, &headers).unwrap();
            assert_eq!(response.status, status, "{accept}");
        }
    }
}
