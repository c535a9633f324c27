//! Label selectors (`k8s.io/apimachinery/pkg/labels/selector.go`).

use std::fmt;

use crate::field::FieldError;
use crate::meta::Object;
use crate::registry::metadata::{label_value_errors, qualified_name_errors};
use crate::status::ApiError;

/// A parsed label selector; the default matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted and without repetition, as Kubernetes prints them.
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// Parses `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, `a>1`, `a<1`,
    /// joined by commas.
    ///
    /// # Errors
    /// 400 for what the grammar or the rules of label keys and values don't allow.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let tokens = tokens(text);
        let mut parser = Parser { tokens: &tokens, at: 0 };
        let mut requirements = parser.requirements().map_err(|detail| {
            ApiError::bad_request(format!("unable to parse requirement: {detail}"))
        })?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// Whether every requirement holds.
    pub fn matches(&self, object: &Object) -> bool {
        self.matches_by(|key| object.label(key))
    }

    /// [`LabelSelector::matches`] for labels that are not in an object.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// The value that a term `label=x` asks for, unless it is empty.
    pub fn exact(&self, label: &str) -> Option<&str> {
        let mut of_label = self.requirements.iter().filter(|it| it.key == label);
        of_label.find_map(|requirement| match (requirement.operator, &*requirement.values) {
            (Operator::Equals | Operator::In, [value]) if !value.is_empty() => Some(&**value),
            _ => None,
        })
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn matches(&self, label: Option<&str>) -> bool {
        let listed = label.is_some_and(|label| self.values.iter().any(|value| value == label));
        match self.operator {
            Operator::Equals | Operator::In => listed,
            // An object without the label matches too.
            Operator::NotEquals | Operator::NotIn => !listed,
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compare(label).is_some_and(std::cmp::Ordering::is_gt),
            Operator::LessThan => self.compare(label).is_some_and(std::cmp::Ordering::is_lt),
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<std::cmp::Ordering> {
        let label: i64 = label?.parse().ok()?;
        let bound: i64 = self.values.first()?.parse().ok()?;
        Some(label.cmp(&bound))
    }

    fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, String> {
        let quoted = |text: &str| serde_json::Value::String(text.to_owned());
        if let Some(detail) = qualified_name_errors(key).first() {
            return Err(FieldError::invalid("key", &quoted(key), detail).to_string());
        }
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for value in &values {
                if value.parse::<i64>().is_err() {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    return Err(
                        FieldError::invalid("values[0]", &quoted(value), detail).to_string()
                    );
                }
            }
        }
        for (index, value) in values.iter().enumerate() {
            if let Some(detail) = label_value_errors(value).first() {
                let field = format!("values[{index}][{key}]");
                return Err(FieldError::invalid(field, &quoted(value), detail).to_string());
            }
        }
        values.sort();
        values.dedup();
        Ok(Self { key: key.to_owned(), operator, values })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let Requirement { key, operator, values } = requirement;
            let values = values.join(",");
            match operator {
                Operator::Equals => write!(f, "{key}={values}")?,
                Operator::NotEquals => write!(f, "{key}!={values}")?,
                Operator::In => write!(f, "{key} in ({values})")?,
                Operator::NotIn => write!(f, "{key} notin ({values})")?,
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::GreaterThan => write!(f, "{key}>{values}")?,
                Operator::LessThan => write!(f, "{key}<{values}")?,
            }
        }
        Ok(())
    }
}

const SYMBOLS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// Splits into symbols and words; white space only separates.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => symbol.len(),
            None => rest
                .find(|c: char| c.is_whitespace() || "=!(),><".contains(c))
                .unwrap_or(rest.len()),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                None => return Ok(requirements),
                Some(token) if token == "!" || is_word(token) => {
                    requirements.push(self.requirement()?);
                }
                Some(token) => {
                    return Err(format!(
                        "found '{token}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            match self.next() {
                None => return Ok(requirements),
                Some(",") => {}
                Some(token) => {
                    return Err(format!("found '{token}', expected: ',' or 'end of string'"));
                }
            }
            match self.peek() {
                Some(token) if token == "!" || is_word(token) => {}
                other => {
                    let found = other.unwrap_or_default();
                    return Err(format!("found '{found}', expected: identifier after ','"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek() == Some("!");
        if negated {
            self.at += 1;
        }
        let key = match self.next() {
            Some(token) if is_word(token) => token,
            other => {
                return Err(format!("found '{}', expected: identifier", other.unwrap_or_default()));
            }
        };
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let operator = match self.peek() {
            None | Some(",") => return Requirement::new(key, Operator::Exists, Vec::new()),
            Some("=" | "==") => Operator::Equals,
            Some("!=") => Operator::NotEquals,
            Some("in") => Operator::In,
            Some("notin") => Operator::NotIn,
            Some(">") => Operator::GreaterThan,
            Some("<") => Operator::LessThan,
            Some(token) => {
                return Err(format!("found '{token}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        self.at += 1;
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.value()?],
        };
        Requirement::new(key, operator, values)
    }

    /// One value; nothing before `,` or the end is the empty value.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            None | Some(",") => Ok(String::new()),
            Some(token) if is_word(token) => {
                self.at += 1;
                Ok(token.to_owned())
            }
            Some(token) => Err(format!("found '{token}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Some("(") => {}
            other => return Err(format!("found '{}', expected: '('", other.unwrap_or_default())),
        }
        let mut values = Vec::new();
        let mut expects_value = true;
        loop {
            match self.next() {
                Some(")") => {
                    if expects_value {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                Some(",") => {
                    if expects_value {
                        values.push(String::new());
                    }
                    expects_value = true;
                }
                Some(token) if is_word(token) && expects_value => {
                    values.push(token.to_owned());
                    expects_value = false;
                }
                other => {
                    let found = other.unwrap_or_default();
                    return Err(format!("found '{found}', expected: ',', ')' or identifier"));
                }
            }
        }
    }
}

fn is_word(token: &str) -> bool {
    !SYMBOLS.contains(&token)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matches_as_kubernetes_does() {
        let object = Object::from_value(json!({
            "metadata": {"labels": {"app": "web", "tier": "", "n": "7", "x.io/in": "in"}},
        }))
        .unwrap();
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = db", false),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db)", true),
            ("other notin (db)", true),
            ("app", true),
            ("other", false),
            ("!app", false),
            ("! other", true),
            ("tier=", true),
            ("tier in ()", true),
            ("n>6", true),
            ("n<7", false),
            ("app>1", false),
            ("app=web,!other,n in (7,8)", true),
            ("x.io/in in (in)", true),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&object), expected, "{text}");
        }
    }

    #[test]
    fn a_label_that_must_have_one_value() {
        for (text, expected) in [
            ("a=b", Some("b")),
            ("c,a==b,d!=e", Some("b")),
            ("a in (b)", Some("b")),
            ("a in (b,c)", None),
            ("a!=b", None),
            ("a notin (b)", None),
            ("a", None),
            // Objects without the label may be meant.
            ("a=", None),
            ("b=a", None),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().exact("a"), expected, "{text}");
        }
    }

    #[test]
    fn prints_normally() {
        for (text, printed) in [
            ("b=1 , a", "a,b=1"),
            ("a in (z,y,z)", "a in (y,z)"),
            ("!a", "!a"),
            ("a notin (b)", "a notin (b)"),
            ("a>1", "a>1"),
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.to_string(), printed);
            assert_eq!(LabelSelector::parse(printed).unwrap(), selector);
        }
    }

    #[test]
    fn refuses_nonsense() {
        for text in
            ["a=b,", ",", "a b", "a in b", "a in (b", "=a", "a=b=c", "a>x", "-a", "a=b c", "a=$"]
        {
            let error = LabelSelector::parse(text).unwrap_err();
            assert_eq!(error.code(), 400, "{text}");
            assert!(error.message().starts_with("unable to parse requirement: "), "{error}");
        }
        assert_eq!(
            LabelSelector::parse("a=b,").unwrap_err().message(),
            "unable to parse requirement: found '', expected: identifier after ','"
        );
    }
}
