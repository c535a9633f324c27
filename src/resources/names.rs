//! Names and labels by Kubernetes' rules, with its texts
//! (`k8s.io/apimachinery/pkg/util/validation`).

use std::collections::BTreeMap;

use apiserver::field::FieldError;
use serde_json::Value;

const LABEL_BYTES_MAX: usize = 63;
const SUBDOMAIN_BYTES_MAX: usize = 253;

const DNS_1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
     characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
     '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters \
     or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
     'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const DNS_1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
     alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
     (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must \
     start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
     regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
     characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
     'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with `name` as an RFC 1123 label: of Pods, containers and host names.
pub(super) fn dns_1123_label(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, LABEL_BYTES_MAX);
    if !is_lower_label(name) {
        wrong.push(DNS_1123_LABEL.to_owned());
    }
    wrong
}

/// What is wrong with `name` as an RFC 1035 label: of Services.
pub(super) fn dns_1035_label(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, LABEL_BYTES_MAX);
    if !is_lower_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(DNS_1035_LABEL.to_owned());
    }
    wrong
}

/// Adds an error for each text that `check` has for `value`.
pub(super) fn check(
    errors: &mut Vec<FieldError>,
    field: &str,
    value: &str,
    check: impl Fn(&str) -> Vec<String>,
) {
    let wrong = check(value);
    errors.extend(wrong.iter().map(|text| FieldError::invalid(field, &Value::from(value), text)));
}

/// Checks the keys and values of labels.
pub(super) fn check_labels(
    errors: &mut Vec<FieldError>,
    field: &str,
    labels: &BTreeMap<String, String>,
) {
    for (key, value) in labels {
        check(errors, field, key, qualified_name);
        check(errors, field, value, label_value);
    }
}

/// Checks the keys of annotations.
pub(super) fn check_annotations(
    errors: &mut Vec<FieldError>,
    field: &str,
    annotations: &BTreeMap<String, String>,
) {
    for key in annotations.keys() {
        // Kubernetes lets the prefix of an annotation have upper case.
        check(errors, field, key, |key| qualified_name(&key.to_lowercase()));
    }
}

fn qualified_name(key: &str) -> Vec<String> {
    let parts: Vec<_> = key.split('/').collect();
    let (prefix, name) = match parts[..] {
        [name] => (None, name),
        [prefix, name] => (Some(prefix), name),
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED_NAME} with an optional DNS subdomain prefix and '/' \
                 (e.g. 'example.com/MyName')"
            )];
        }
    };
    let mut wrong = Vec::new();
    match prefix {
        Some("") => wrong.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            wrong.extend(dns_1123_subdomain(prefix).iter().map(|w| format!("prefix part {w}")));
        }
        None => {}
    }
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else {
        wrong.extend(too_long(name, LABEL_BYTES_MAX).iter().map(|w| format!("name part {w}")));
    }
    if !is_label_text(name) {
        wrong.push(format!("name part {QUALIFIED_NAME}"));
    }
    wrong
}

fn label_value(value: &str) -> Vec<String> {
    let mut wrong = too_long(value, LABEL_BYTES_MAX);
    if !value.is_empty() && !is_label_text(value) {
        wrong.push(LABEL_VALUE.to_owned());
    }
    wrong
}

fn dns_1123_subdomain(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, SUBDOMAIN_BYTES_MAX);
    if !name.split('.').all(is_lower_label) {
        wrong.push(DNS_1123_SUBDOMAIN.to_owned());
    }
    wrong
}

fn too_long(text: &str, bytes_max: usize) -> Vec<String> {
    if text.len() > bytes_max {
        vec![format!("must be no more than {bytes_max} characters")]
    } else {
        Vec::new()
    }
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_lower_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_label_text(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_names() {
        for (name, ok_1123, ok_1035) in [
            ("a", true, true),
            ("my-name-1", true, true),
            ("1a", true, false),
            ("", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("A", false, false),
            ("a.b", false, false),
            ("a_b", false, false),
        ] {
            assert_eq!(dns_1123_label(name).is_empty(), ok_1123, "{name:?}");
            assert_eq!(dns_1035_label(name).is_empty(), ok_1035, "{name:?}");
        }
        assert_eq!(dns_1123_label(&"a".repeat(63)), Vec::<String>::new());
        assert_eq!(dns_1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    }

    #[test]
    fn keys_and_values() {
        for (key, ok) in [
            ("app", true),
            ("example.com/App_1", true),
            ("", false),
            ("/app", false),
            ("example.com/", false),
            ("a/b/c", false),
            ("Example.com/app", false),
            ("-app", false),
        ] {
            assert_eq!(qualified_name(key).is_empty(), ok, "{key:?}");
        }
        assert!(!qualified_name(&"a".repeat(64)).is_empty());
        for (value, ok) in [("", true), ("v1.0_x", true), ("-x", false), ("a b", false)] {
            assert_eq!(label_value(value).is_empty(), ok, "{value:?}");
        }
    }
}
