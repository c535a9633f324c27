//! Validation with the texts of Kubernetes' CRD validation.
//!
//! Sources: `k8s.io/kube-openapi/pkg/validation/{validate,errors}` for what is found and how it
//! reads, `kubeOpenAPIResultToFieldErrors` in
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/validation` for how that becomes field errors.
//!
//! Deliberate differences: a quantity may be any number, as for built-in kinds; a list where a
//! time belongs is an error; range and union errors carry their field. `pattern` is published but
//! not enforced: no kind has one, and it would be the only need for a regex engine.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::lists;
use super::tree::{Branch, Format, ListType, Node, NodeId, Tree, Types};
use crate::field::{ErrorType, FieldError};
use crate::meta::Object;

impl Tree {
    pub(super) fn validate(&self, object: &Object) -> Vec<FieldError> {
        let mut walk = Validate { tree: self, path: String::new(), errors: Vec::new() };
        walk.object(&self.nodes[self.root], &object.0);
        walk.errors
    }
}

struct Validate<'a> {
    tree: &'a Tree,
    path: String,
    errors: Vec<FieldError>,
}

impl Validate<'_> {
    fn value(&mut self, node: NodeId, value: &Value) {
        let node = &self.tree.nodes[node];
        if let Some((expected, found)) = node.mistyped(value) {
            self.mistype(&expected, found);
            self.allowed(node, value);
            return;
        }
        match value {
            Value::Object(map) => self.object(node, map),
            Value::Array(items) => self.array(node, items),
            Value::String(text) => self.string(node, text, value),
            Value::Number(number) => self.number(node, number, value),
            Value::Null | Value::Bool(_) => {}
        }
        self.allowed(node, value);
    }

    fn object(&mut self, node: &Node, map: &Map<String, Value>) {
        let length = self.path.len();
        for (name, value) in map {
            let Some(link) = node.properties.get(name).or(node.additional.as_ref()) else {
                continue;
            };
            // As in Go, null means absent.
            if value.is_null() {
                continue;
            }
            self.push(name);
            self.value(link.node, value);
            self.path.truncate(length);
        }
        let present = |name: &String| map.get(name).is_some_and(|value| !value.is_null());
        for name in node.required.iter().filter(|name| !present(name)) {
            self.push(name);
            self.errors.push(FieldError::required(self.path.clone(), ""));
            self.path.truncate(length);
        }
        let size = map.values().filter(|value| !value.is_null()).count() as u64;
        if let Some(min) = node.limits.min_properties.filter(|min| size < *min) {
            self.invalid(&size.into(), &format!("should have at least {min} properties"));
        }
        if let Some(max) = node.limits.max_properties.filter(|max| size > *max) {
            self.too_many(size, max);
        }
        self.unions(node, map);
    }

    fn unions(&mut self, node: &Node, map: &Map<String, Value>) {
        let fits = |branch: &&Branch| {
            branch.required.iter().all(|name| map.get(name).is_some_and(|value| !value.is_null()))
                && branch.tags.iter().all(|(name, tag)| map.get(name).is_none_or(|it| it == tag))
        };
        let fitting = node.one_of.iter().filter(fits).count();
        if !node.one_of.is_empty() && fitting != 1 {
            let found = match fitting {
                0 => "Found none valid".to_owned(),
                more => format!("Found {more} valid alternatives"),
            };
            self.union_failed(&format!("must validate one and only one schema (oneOf). {found}"));
        }
        if !node.any_of.is_empty() && !node.any_of.iter().any(|branch| fits(&branch)) {
            self.union_failed("must validate at least one schema (anyOf)");
        }
    }

    fn array(&mut self, node: &Node, items: &[Value]) {
        let length = self.path.len();
        if let Some(link) = &node.items {
            for (index, item) in items.iter().enumerate() {
                if item.is_null() && link.nullable {
                    continue;
                }
                _ = write!(self.path, "[{index}]");
                self.value(link.node, item);
                self.path.truncate(length);
            }
        }
        let size = items.len() as u64;
        if let Some(min) = node.limits.min_items.filter(|min| size < *min) {
            self.invalid(&size.into(), &format!("should have at least {min} items"));
        }
        if let Some(max) = node.limits.max_items.filter(|max| size > *max) {
            self.too_many(size, max);
        }
        if node.limits.unique_items && !lists::repeated(items).is_empty() {
            self.invalid(&"".into(), "shouldn't contain duplicates");
        }
        match &node.list {
            ListType::Atomic => {}
            ListType::Set => lists::set(&self.path, items, &mut self.errors),
            ListType::Map(keys) => lists::map(&self.path, keys, items, &mut self.errors),
        }
    }

    fn string(&mut self, node: &Node, text: &str, value: &Value) {
        if node.format == Format::DateTime && !is_date_time(text) {
            let detail = format!("{} in body must be of type date-time: {value}", self.path);
            self.errors.push(FieldError::type_invalid(self.path.clone(), value, &detail));
        }
        let length = text.chars().count() as u64;
        if let Some(max) = node.limits.max_length.filter(|max| length > *max) {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            self.errors.push(FieldError::too_long(self.path.clone(), max));
        }
        if let Some(min) = node.limits.min_length.filter(|min| length < *min) {
            self.invalid(value, &format!("should be at least {min} chars long"));
        }
    }

    fn number(&mut self, node: &Node, number: &Number, value: &Value) {
        if node.types == Types::Integer && !in_range(node.format, number) {
            let format = match node.format {
                Format::Int32 => "with format int32",
                Format::Int64 => "with format int64",
                _ => "(default format)",
            };
            let path = &self.path;
            let detail = format!("Checked value must be of type integer {format} in {path}");
            self.errors.push(FieldError::invalid(path.clone(), value, &detail));
        }
        let limits = &node.limits;
        if let Some(min) = &limits.minimum {
            let exclusive = limits.exclusive_minimum;
            let order = compare(number, min);
            if order.is_lt() || (exclusive && order.is_eq()) {
                let or_equal = if exclusive { "" } else { " or equal to" };
                self.invalid(value, &format!("should be greater than{or_equal} {min}"));
            }
        }
        if let Some(max) = &limits.maximum {
            let exclusive = limits.exclusive_maximum;
            let order = compare(number, max);
            if order.is_gt() || (exclusive && order.is_eq()) {
                let or_equal = if exclusive { "" } else { " or equal to" };
                self.invalid(value, &format!("should be less than{or_equal} {max}"));
            }
        }
    }

    fn allowed(&mut self, node: &Node, value: &Value) {
        if node.allowed.is_empty() || node.allowed.contains(value) {
            return;
        }
        let texts: Vec<String> = node.allowed.iter().map(plain).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.errors.push(FieldError::not_supported(self.path.clone(), value, &texts));
    }

    fn push(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
    }

    fn mistype(&mut self, expected: &str, found: &str) {
        let path = &self.path;
        let detail = format!("{path} in body must be of type {expected}: {found:?}");
        self.errors.push(FieldError::type_invalid(path.clone(), &found.into(), &detail));
    }

    fn invalid(&mut self, value: &Value, what: &str) {
        let detail = format!("{} in body {what}", self.path);
        self.errors.push(FieldError::invalid(self.path.clone(), value, &detail));
    }

    fn too_many(&mut self, size: u64, max: u64) {
        let items = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {items}");
        let path = self.path.clone();
        self.errors.push(FieldError::raw(ErrorType::TooMany, path, &size.to_string(), &detail));
    }

    fn union_failed(&mut self, what: &str) {
        let detail = format!("{:?} {what}", self.path);
        self.errors.push(FieldError::invalid(self.path.clone(), &"".into(), &detail));
    }
}

impl Types {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString | Self::Quantity => "integer,string",
        }
    }
}

impl Node {
    /// What was expected and what was found, as Go's validator words it: for a number or a
    /// boolean in a field with a format, it compares formats.
    fn mistyped(&self, value: &Value) -> Option<(String, &'static str)> {
        let fits = match (self.types, value) {
            (Types::Any, _)
            | (Types::Object, Value::Object(_))
            | (Types::Array, Value::Array(_))
            | (Types::String, Value::String(_))
            | (Types::Number, Value::Number(_))
            | (Types::Boolean, Value::Bool(_))
            | (Types::IntOrString | Types::Quantity, Value::String(_))
            | (Types::Quantity, Value::Number(_)) => true,
            (Types::Integer | Types::IntOrString, Value::Number(number)) => is_integer(number),
            _ => false,
        };
        if fits {
            return None;
        }
        let format = match self.format {
            Format::None => return Some((self.types.name().to_owned(), type_name(value))),
            Format::Int32 => "int32",
            Format::Int64 => "int64",
            Format::DateTime => "date-time",
        };
        match value {
            Value::Number(number) if is_integer(number) => Some((format.to_owned(), "int64")),
            Value::Number(_) => Some((format.to_owned(), "float64")),
            Value::Bool(_) | Value::Object(_) => Some((format.to_owned(), "")),
            _ => Some((self.types.name().to_owned(), type_name(value))),
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `1.0` counts as an integer, as in Go.
fn is_integer(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn in_range(format: Format, number: &Number) -> bool {
    let Some(number) = number.as_i64() else { return number.as_f64().is_some_and(small) };
    format != Format::Int32 || i32::try_from(number).is_ok()
}

/// A float with an integral value that an int64 holds exactly.
fn small(number: f64) -> bool {
    number.abs() <= 9_007_199_254_740_992.0
}

fn compare(a: &Number, b: &Number) -> std::cmp::Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    let float = |number: &Number| number.as_f64().unwrap_or_default();
    float(a).total_cmp(&float(b))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// RFC 3339 with a time zone; `jiff` alone would also take shorter forms.
fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20
        && bytes.get(10).is_some_and(|byte| matches!(byte, b'T' | b't'))
        && !text.contains('[')
        && bytes.get(16) == Some(&b':')
        && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests;
