use serde_json::{Value, json};

use super::*;

fn kind() -> Arc<ItemKind> {
    let gvk = Gvk::new("g.io", "v1", "Thing");
    Arc::new(ItemKind::new(
        gvk,
        "/registry/g.io/things/".into(),
        &["spec.color", "status.phase", "spec.ref.name"],
    ))
}

fn item(text: &str) -> Item {
    Item::new(&kind(), "ns/a".into(), text.as_bytes(), 7, EventKind::Added)
}

fn value(item: &Item) -> Value {
    serde_json::from_slice(&item.json().unwrap()).unwrap()
}

#[test]
fn the_resource_version_is_put_in() {
    let head = r#""apiVersion":"g.io/v1","kind":"Thing""#;
    for (text, metadata) in [
        (format!(r#"{{{head},"metadata":{{"name":"a"}},"x":1}}"#), json!({"name": "a"})),
        (format!(r#"{{{head},"metadata":{{}},"x":1}}"#), json!({})),
        (format!(r#"{{"x":1,"metadata": {{ }} ,{head}}}"#), json!({})),
        // None of these is as the server writes it.
        (r#"{"x":1,"metadata":{"name":"a"}}"#.into(), json!({"name": "a"})),
        (r#"{"apiVersion":"old","metadata":{"name":"a"},"x":1}"#.into(), json!({"name": "a"})),
        (format!(r#"{{{head},"x":1}}"#), json!({})),
        (
            format!(r#"{{{head},"x":1,"metadata":{{"resourceVersion":"3","name":"b"}}}}"#),
            json!({"name": "b"}),
        ),
        (
            format!(r#"{{{head},"x":0,"x":1,"metadata":{{"name":"c","name":"d"}}}}"#),
            json!({"name": "d"}),
        ),
    ] {
        let mut expected =
            json!({"apiVersion": "g.io/v1", "kind": "Thing", "metadata": metadata, "x": 1});
        expected["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(value(&item(&text)), expected, "{text}");
    }
}

#[test]
fn frames_hold_the_object() {
    let item = item(r#"{"apiVersion":"g.io/v1","kind":"Thing","metadata":{"name":"a"}}"#);
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let object =
        r#"{"apiVersion":"g.io/v1","kind":"Thing","metadata":{"resourceVersion":"7","name":"a"}}"#;
    assert_eq!(text(item.json().unwrap()), object);
    for kind in [EventKind::Added, EventKind::Modified, EventKind::Deleted] {
        let expected = format!("{{\"type\":\"{}\",\"object\":{object}}}\n", kind.as_str());
        assert_eq!(text(item.frame(kind).unwrap()), expected);
    }
    // A longer number, and the other way round.
    let gone = item.deleted_at(12345);
    let object = object.replace('7', "12345");
    assert_eq!(text(gone.json().unwrap()), object);
    let expected = format!("{{\"type\":\"DELETED\",\"object\":{object}}}\n");
    assert_eq!(text(gone.frame(EventKind::Deleted).unwrap()), expected);
    assert_eq!(gone.revision(), 12345);
    assert_eq!(value(&gone.deleted_at(9))["metadata"]["resourceVersion"], "9");
}

#[test]
fn selectors_see_labels_and_declared_fields() {
    let item = item(
        r#"{"apiVersion":"g.io/v1","kind":"Thing","metadata":{"name":"a","namespace":"ns",
           "labels":{"z":"1","app":"x\u0079"}},"spec":{"color":"r\"ed","ref":{"name":"p"}},
           "status":{"phase":3}}"#,
    );
    for (labels, fields, expected) in [
        ("", "", true),
        ("app=xy,z", "metadata.name=a,metadata.namespace=ns", true),
        ("app!=xy", "", false),
        ("!other", r#"spec.color=r"ed"#, true),
        ("", "status.phase=3,spec.ref.name=p", true),
        ("", "spec.ref.name=q", false),
        ("", "metadata.name=b", false),
    ] {
        let selected = item.matches(
            &LabelSelector::parse(labels).unwrap(),
            &FieldSelector::parse(fields).unwrap(),
        );
        assert_eq!(selected, expected, "{labels} {fields}");
    }
}

#[test]
fn what_is_no_object_is_reported_by_name() {
    for text in ["", "nonsense", "[]", "null", r#"{"metadata":{"name":"a"}"#, r#"{"a":1} x"#] {
        let item = item(text);
        let error = item.json().unwrap_err();
        assert_eq!(error.code(), 500, "{text}");
        assert!(error.message().contains("Key: /registry/g.io/things/ns/a,"), "{text}: {error}");
        assert!(item.object().is_err() && item.frame(EventKind::Added).is_err());
        assert!(item.broken().is_some());
        assert_eq!((item.name(), item.key()), ("a", ObjectKey::namespaced("ns", "a")));
        for (fields, expected) in [
            // It must not be missed where it could belong.
            ("spec.color=red,metadata.namespace=ns", true),
            ("metadata.name=a", true),
            ("metadata.name=other", false),
            ("metadata.namespace=other", false),
        ] {
            let labels = LabelSelector::parse("x=1").unwrap();
            let selected = item.matches(&labels, &FieldSelector::parse(fields).unwrap());
            assert_eq!(selected, expected, "{fields}");
        }
    }
    let bytes = Item::new(&kind(), "ns/a".into(), b"{\"a\":\"\xff\"}", 7, EventKind::Added);
    assert!(bytes.broken().is_some());
}
