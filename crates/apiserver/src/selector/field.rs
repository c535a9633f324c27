//! Field selectors (`k8s.io/apimachinery/pkg/fields/selector.go`).

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use crate::meta::Object;
use crate::status::ApiError;

/// A parsed field selector; the default matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    negated: bool,
}

impl FieldSelector {
    /// Parses comma-separated `a=b`, `a==b` and `a!=b`; `\\`, `\,` and `\=` are escapes in values.
    ///
    /// # Errors
    /// 400 for a term without an operator or an unknown escape.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let (field, value, negated) = split_term(part).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                ))
            })?;
            terms.push(Term { field: field.to_owned(), value: unescape(value)?, negated });
        }
        Ok(Self { terms })
    }

    /// Checks that every field is `metadata.name`, `metadata.namespace` or in `allowed`.
    ///
    /// # Errors
    /// 400 `field label not supported: spec.x`.
    pub fn validate(&self, allowed: &[&str]) -> Result<(), ApiError> {
        for term in &self.terms {
            let field = term.field.as_str();
            if !matches!(field, "metadata.name" | "metadata.namespace") && !allowed.contains(&field)
            {
                return Err(ApiError::bad_request(format!("field label not supported: {field}")));
            }
        }
        Ok(())
    }

    /// Whether every term holds; a field that the object lacks counts as empty.
    pub fn matches(&self, object: &Object) -> bool {
        self.terms.iter().all(|term| {
            let found = match object.at(&term.field) {
                None | Some(Value::Null) => Cow::Borrowed(""),
                Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
                Some(other) => Cow::Owned(other.to_string()),
            };
            (found == term.value) != term.negated
        })
    }

    /// [`FieldSelector::matches`] for fields that are not in an object; absent ones are empty.
    pub fn matches_by<'a>(&self, field: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|term| (field(&term.field) == term.value) != term.negated)
    }

    /// The value, if it is not empty, that a `field=value` term asks for.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.field == field && !term.negated && !term.value.is_empty())
            .map(|term| term.value.as_str())
    }

    /// The name that a `metadata.name=x` term asks for.
    pub fn exact_name(&self) -> Option<&str> {
        self.exact("metadata.name")
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{}{operator}", term.field)?;
            for c in term.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(part: &str) -> Option<(&str, &str, bool)> {
    for (at, _) in part.char_indices() {
        let rest = &part[at..];
        for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&part[..at], value, negated));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, ApiError> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => {
                    return Err(ApiError::bad_request(format!(
                        "invalid field selector: invalid escape sequence: \\{other}"
                    )));
                }
                None => {
                    return Err(ApiError::bad_request(
                        "invalid field selector: invalid escape sequence: \\",
                    ));
                }
            },
            ',' | '=' => {
                return Err(ApiError::bad_request(format!(
                    "invalid field selector: unescaped character in value: {c}"
                )));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Object {
        Object::from_value(json!({
            "metadata": {"name": "a", "namespace": "ns"},
            "spec": {"n": 3, "odd": "x,y=z\\"},
        }))
        .unwrap()
    }

    #[test]
    fn matches_as_kubernetes_does() {
        for (text, expected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=ns", true),
            ("metadata.name!=a", false),
            ("metadata.name=b", false),
            ("spec.n=3", true),
            ("spec.missing=", true),
            ("spec.missing!=", false),
            (r"spec.odd=x\,y\=z\\", true),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(&object()), expected, "{text}");
        }
    }

    #[test]
    fn prints_what_it_parsed() {
        let text = r"spec.odd=x\,y\=z\\,metadata.name!=b";
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.to_string(), text);
        assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn refuses_nonsense() {
        for text in ["a", "a=b,c", r"a=\x", "a=b\\", "a=b=c"] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().code(), 400, "{text}");
        }
        let error = FieldSelector::parse("spec.x=1").unwrap().validate(&["spec.y"]).unwrap_err();
        assert_eq!(error.message(), "field label not supported: spec.x");
    }

    #[test]
    fn knows_the_name_it_asks_for() {
        assert_eq!(FieldSelector::parse("metadata.name=a").unwrap().exact_name(), Some("a"));
        assert_eq!(FieldSelector::parse("metadata.name!=a").unwrap().exact_name(), None);
    }
}
