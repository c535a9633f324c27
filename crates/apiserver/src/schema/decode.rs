//! From bytes to a value and the list of fields that occur twice.
//!
//! `serde_json::Value` would keep the last of two fields and say nothing, as Go does unless asked
//! to be strict. So a body is first read into a tree that keeps every field, then turned into a
//! value. Texts are those of Go's `encoding/json` where a parser that reports places allows.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

/// The value, and the paths of fields that occur more than once (`spec.x`). The last one wins.
pub fn decode_json(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let raw: Raw<String> = serde_json::from_slice(bytes).map_err(|err| json_text(bytes, &err))?;
    let mut duplicates = Vec::new();
    let value = raw.into_value(&mut String::new(), &mut |path, _| {
        let path = path.to_owned();
        if !duplicates.contains(&path) {
            duplicates.push(path);
        }
    });
    Ok((value, duplicates))
}

/// The value, and a text per repeated key: `line 4: key "name" already set in map`.
pub fn decode_yaml(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    };
    let raw: Raw<Spanned<String>> = serde_saphyr::from_slice_with_options(bytes, options)
        .map_err(|err| format!("yaml: {err}"))?;
    let mut duplicates = Vec::new();
    let value = raw.into_value(&mut String::new(), &mut |path, key| {
        let name = &key.value;
        duplicates.push(match key.referenced.line() {
            0 => format!("duplicate field \"{path}\""),
            line => format!("line {line}: key {name:?} already set in map"),
        });
    });
    Ok((value, duplicates))
}

/// As deep as `serde_json` goes; Go allows 10 000 levels, which no kind needs.
const MAX_DEPTH: usize = 128;

/// A document with all its fields, in order.
enum Raw<K> {
    Scalar(Value),
    List(Vec<Raw<K>>),
    Fields(Vec<(K, Raw<K>)>),
}

trait Key: for<'de> Deserialize<'de> {
    fn name(&self) -> &str;
}

impl Key for String {
    fn name(&self) -> &str {
        self
    }
}

impl Key for Spanned<String> {
    fn name(&self) -> &str {
        &self.value
    }
}

impl<K: Key> Raw<K> {
    fn into_value(self, path: &mut String, repeated: &mut impl FnMut(&str, &K)) -> Value {
        let length = path.len();
        match self {
            Self::Scalar(value) => value,
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    list.push(item.into_value(path, repeated));
                    path.truncate(length);
                }
                Value::Array(list)
            }
            Self::Fields(fields) => {
                let mut map = Map::with_capacity(fields.len());
                for (key, value) in fields {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(key.name());
                    if map.contains_key(key.name()) {
                        repeated(path, &key);
                    }
                    let value = value.into_value(path, repeated);
                    map.insert(key.name().to_owned(), value);
                    path.truncate(length);
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de, K: Key> Deserialize<'de> for Raw<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor(std::marker::PhantomData))
    }
}

struct RawVisitor<K>(std::marker::PhantomData<K>);

impl<'de, K: Key> Visitor<'de> for RawVisitor<K> {
    type Value = Raw<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw<K>, E> {
        let number = Number::from_f64(value);
        number
            .map(|number| Raw::Scalar(number.into()))
            .ok_or_else(|| E::custom(format_args!("json: unsupported value: {value}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Raw<K>, E> {
        Ok(Raw::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw<K>, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Raw<K>, E> {
        Err(E::custom("binary values are not supported"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw<K>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Raw<K>, A::Error> {
        let mut list: Vec<(K, Raw<K>)> = Vec::new();
        while let Some(field) = fields.next_entry()? {
            if list.len() == MAX_FIELDS {
                return Err(A::Error::custom("an object has too many fields"));
            }
            list.push(field);
        }
        Ok(Raw::Fields(list))
    }
}

/// A body of 3 MiB, the server's limit, cannot hold many more.
const MAX_FIELDS: usize = 1_000_000;

/// Go's wording of the commonest mistakes, with the offending character.
fn json_text(bytes: &[u8], err: &serde_json::Error) -> String {
    if err.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let text = err.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    let context = match what {
        "expected value" => "looking for beginning of value",
        "key must be a string" | "trailing comma" => "looking for beginning of object key string",
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        "trailing characters" => "after top-level value",
        _ => return text,
    };
    let line = bytes.split(|byte| *byte == b'\n').nth(err.line().saturating_sub(1));
    let found = line.and_then(|line| {
        let text = String::from_utf8_lossy(line.get(err.column().saturating_sub(1)..)?);
        text.chars().next()
    });
    match found {
        Some('\'') => format!("invalid character '\\'' {context}"),
        Some(found) => format!("invalid character '{found}' {context}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
