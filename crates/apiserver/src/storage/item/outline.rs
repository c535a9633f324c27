//! What lists and watches look at in a stored object, found without decoding the rest.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The outline of one object's text.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) api_version: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    /// Where the metadata object is in the text, braces included.
    pub(super) metadata: Option<Range<usize>>,
    pub(super) has_resource_version: bool,
    pub(super) name: String,
    pub(super) namespace: String,
    /// Sorted by key.
    pub(super) labels: Vec<(Box<str>, Box<str>)>,
    /// In the order of the asked paths; empty = absent.
    pub(super) fields: Vec<Box<str>>,
}

impl<'a> Outline<'a> {
    /// # Errors
    /// When the text is not one JSON object, has a member twice, or metadata of another type.
    pub(super) fn read(text: &'a str, fields: &[&str]) -> Result<Self, serde_json::Error> {
        let top = Top::read(text, fields)?;
        let mut outline = Self {
            api_version: top.api_version.and_then(plain),
            kind: top.kind.and_then(plain),
            fields: vec![Box::default(); fields.len()],
            ..Self::default()
        };
        for (place, raw) in top.fields {
            let (_, rest) = fields[place].split_once('.').unwrap_or((fields[place], ""));
            outline.fields[place] = leaf(raw, rest)?.into();
        }
        let Some(raw) = top.metadata.map(RawValue::get).filter(|raw| raw.starts_with('{')) else {
            return Ok(outline);
        };
        let start = raw.as_ptr() as usize - text.as_ptr() as usize;
        outline.metadata = Some(start..start + raw.len());
        let metadata: Metadata<'_> = serde_json::from_str(raw)?;
        outline.has_resource_version = metadata.resource_version.is_some();
        outline.name = metadata.name.unwrap_or_default().into_owned();
        outline.namespace = metadata.namespace.unwrap_or_default().into_owned();
        outline.labels = metadata.labels.0;
        Ok(outline)
    }
}

/// The members of an object that matter, unparsed.
#[derive(Default)]
struct Top<'a> {
    api_version: Option<&'a RawValue>,
    kind: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    /// Place among the asked paths, and the member that the path begins with.
    fields: Vec<(usize, &'a RawValue)>,
}

impl<'a> Top<'a> {
    fn read(text: &'a str, fields: &[&str]) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let top = json.deserialize_map(TopVisitor { fields })?;
        json.end()?;
        Ok(top)
    }
}

struct TopVisitor<'f> {
    fields: &'f [&'f str],
}

impl<'de> Visitor<'de> for TopVisitor<'_> {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut top = Top::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let slot = match &*key {
                "apiVersion" => &mut top.api_version,
                "kind" => &mut top.kind,
                "metadata" => &mut top.metadata,
                key => {
                    let starts = |path: &str| path.split('.').next() == Some(key);
                    if !self.fields.iter().any(|path| starts(path)) {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let raw = map.next_value::<&RawValue>()?;
                    for (place, path) in self.fields.iter().enumerate() {
                        if starts(path) {
                            top.fields.push((place, raw));
                        }
                    }
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(serde::de::Error::custom("a member stands twice"));
            }
        }
        Ok(top)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(default)]
    labels: Labels,
    resource_version: Option<IgnoredAny>,
}

#[derive(Default)]
struct Labels(Vec<(Box<str>, Box<str>)>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let labels =
            Option::<std::collections::BTreeMap<Box<str>, Box<str>>>::deserialize(deserializer)?;
        Ok(Self(labels.unwrap_or_default().into_iter().collect()))
    }
}

/// A string without escapes, as the texts of versions and kinds are.
fn plain(raw: &RawValue) -> Option<&str> {
    serde_json::from_str(raw.get()).ok()
}

/// The text of the scalar at a dotted path, as field selectors compare it.
fn leaf(raw: &RawValue, path: &str) -> Result<String, serde_json::Error> {
    let text = raw.get();
    if path.is_empty() {
        return Ok(match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text)?,
            Some(b'n') => String::new(),
            _ => text.to_owned(),
        });
    }
    if !text.starts_with('{') {
        return Ok(String::new());
    }
    let (member, rest) = path.split_once('.').unwrap_or((path, ""));
    let mut json = serde_json::Deserializer::from_str(text);
    match json.deserialize_map(Member(member))? {
        Some(raw) => leaf(raw, rest),
        None => Ok(String::new()),
    }
}

struct Member<'m>(&'m str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
