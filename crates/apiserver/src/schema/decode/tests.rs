use serde_json::json;

use super::*;

#[test]
fn duplicate_fields_are_reported_with_their_path() {
    let text = br#"{"a": 1, "spec": {"x": 1, "x": 2, "list": [{"y": 1}, {"y": 1, "y": 2, "y": 3}]}, "a": 2}"#;
    let (value, duplicates) = decode_json(text).unwrap();
    assert_eq!(value, json!({"a": 2, "spec": {"x": 2, "list": [{"y": 1}, {"y": 3}]}}));
    assert_eq!(duplicates, ["spec.x", "spec.list[1].y", "a"]);

    let yaml = b"a: 1\nspec:\n  name: x\n  on: 2\n  name: z\n1: one\n";
    let (value, duplicates) = decode_yaml(yaml).unwrap();
    assert_eq!(value["spec"]["name"], "z");
    assert_eq!(value["1"], "one");
    assert_eq!(duplicates, ["line 5: key \"name\" already set in map"]);
}

#[test]
fn broken_json_reads_as_in_go() {
    let table: &[(&str, &str)] = &[
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("{\"a\": }", "invalid character '}' looking for beginning of value"),
        ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\": 1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{}\n x", "invalid character 'x' after top-level value"),
        ("{\"a\": 1,}", "invalid character '}' looking for beginning of object key string"),
    ];
    for (text, expected) in table {
        assert_eq!(decode_json(text.as_bytes()).unwrap_err(), *expected, "{text}");
    }
    let deep = "[".repeat(200);
    assert!(decode_json(deep.as_bytes()).unwrap_err().contains("recursion limit"));
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    assert!(decode_yaml(deep.as_bytes()).is_err());
}
