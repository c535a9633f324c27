//! [`Item`]: one stored object in its wire form, decoded only as far as lists and watches need.
//!
//! A list of thousands of objects, or one event for hundreds of watchers, is told by copying bytes:
//! what was stored is what is served, with the resource version put in. The text is built as a
//! watch frame (`{"type":"ADDED","object":…}` and a newline), so that the frame most watchers want
//! needs no copy at all, and the object is the middle of it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Revision;
use crate::meta::{Gvk, Object, ObjectKey};
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::ApiError;

mod decoded;
mod outline;

use self::decoded::Decoded;
use self::outline::Outline;

/// The `type` of a watch event that tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    /// What a frame of this kind begins with; the object and [`FRAME_END`] follow.
    pub fn frame_start(self) -> &'static str {
        match self {
            Self::Added => r#"{"type":"ADDED","object":"#,
            Self::Modified => r#"{"type":"MODIFIED","object":"#,
            Self::Deleted => r#"{"type":"DELETED","object":"#,
        }
    }
}

/// What a frame of a watch ends with.
pub const FRAME_END: &str = "}\n";

/// What all items of a kind have in common.
#[derive(Debug)]
pub(super) struct ItemKind {
    pub(super) gvk: Gvk,
    api_version: String,
    /// The prefix of the kind's keys.
    root: String,
    /// Paths that field selectors may name, besides the name and the namespace.
    pub(super) fields: &'static [&'static str],
    /// Labels that lists are found by.
    pub(super) labels: &'static [&'static str],
    decoded: Decoded,
}

impl ItemKind {
    pub(super) fn new(gvk: Gvk, root: String, fields: &'static [&'static str]) -> Self {
        let decoded = Decoded::default();
        Self { api_version: gvk.api_version(), gvk, root, fields, labels: &[], decoded }
    }
}

/// A stored object as of one revision. Never changes.
pub struct Item {
    kind: Arc<ItemKind>,
    /// Relative to the kind's collection: `namespace/name`, or `name`.
    path: Arc<str>,
    revision: Revision,
    content: Result<Content, Broken>,
}

struct Content {
    /// A whole frame of `natural`.
    frame: Bytes,
    natural: EventKind,
    /// Where the digits of the resource version are in the frame.
    version: Range<usize>,
    name: Box<str>,
    namespace: Box<str>,
    labels: Box<[(Box<str>, Box<str>)]>,
    /// In the order of the kind's fields; empty = absent.
    fields: Box<[Box<str>]>,
}

/// Why a stored value is not an object. It is reported whenever somebody would be served it.
struct Broken(String);

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, revision, .. } = self;
        f.debug_struct("Item").field("path", path).field("revision", revision).finish()
    }
}

impl Item {
    /// The stored `value` of `revision`; `natural` is the event that most watchers of that
    /// revision are told. A value that can't be read makes an item that says so.
    pub(super) fn new(
        kind: &Arc<ItemKind>,
        path: Arc<str>,
        value: &[u8],
        revision: Revision,
        natural: EventKind,
    ) -> Self {
        let content = Content::read(kind, value, revision, natural);
        Self { kind: kind.clone(), path, revision, content }
    }

    /// The stored `value` of a namespaced kind that has no selectable fields, for tests of who
    /// takes items.
    #[cfg(feature = "test-util")]
    pub fn for_tests(
        value: &serde_json::Value,
        namespace: &str,
        name: &str,
        revision: Revision,
    ) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/').unwrap_or_default();
        let gvk = Gvk::new(group, version, text("kind"));
        let kind = Arc::new(ItemKind::new(gvk, "/tests/".into(), &[]));
        let path = format!("{namespace}/{name}").into();
        let natural = EventKind::Modified;
        Self::new(&kind, path, value.to_string().as_bytes(), revision, natural)
    }

    /// The same object as the last content of a deletion at `revision`.
    pub(super) fn deleted_at(&self, revision: Revision) -> Self {
        let content = match &self.content {
            Ok(content) => Ok(content.restamped(revision, EventKind::Deleted)),
            Err(Broken(error)) => Err(Broken(error.clone())),
        };
        Self { kind: self.kind.clone(), path: self.path.clone(), revision, content }
    }

    /// Relative to the kind's collection: `namespace/name`, or `name`.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The object's resource version.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object's JSON text, as on the wire.
    ///
    /// # Errors
    /// 500 naming the object when the stored value is not one.
    pub fn json(&self) -> Result<Bytes, ApiError> {
        let content = self.content()?;
        let start = content.natural.frame_start().len();
        Ok(content.frame.slice(start..content.frame.len() - FRAME_END.len()))
    }

    /// A watch frame with this object.
    ///
    /// # Errors
    /// As [`Item::json`].
    pub fn frame(&self, kind: EventKind) -> Result<Bytes, ApiError> {
        let content = self.content()?;
        if content.natural == kind {
            return Ok(content.frame.clone());
        }
        let json = self.json()?;
        Ok([kind.frame_start().as_bytes(), &json, FRAME_END.as_bytes()].concat().into())
    }

    /// The object, decoded now or a moment ago: for readers that others come with.
    ///
    /// # Errors
    /// As [`Item::json`].
    pub fn object(&self) -> Result<Arc<Object>, ApiError> {
        let decoded = self.kind.decoded.object(self.json()?);
        decoded.map_err(|error| self.unreadable(&error.to_string()))
    }

    /// The object, decoded now: for whoever changes it, or looks at all there are, which would push
    /// out what others share.
    ///
    /// # Errors
    /// As [`Item::json`].
    pub fn decode(&self) -> Result<Object, ApiError> {
        serde_json::from_slice(&self.json()?).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// `metadata.name`, or the last part of the path of what can't be read.
    pub fn name(&self) -> &str {
        match &self.content {
            Ok(content) => &content.name,
            Err(_) => self.path.rsplit('/').next().unwrap_or_default(),
        }
    }

    /// Where the object lives, by its place in the store.
    pub fn key(&self) -> ObjectKey {
        match self.path.split_once('/') {
            Some((namespace, name)) => ObjectKey::namespaced(namespace, name),
            None => ObjectKey { namespace: None, name: self.path.to_string() },
        }
    }

    /// Values of the kind's selectable fields, in their order.
    pub(super) fn fields(&self) -> &[Box<str>] {
        self.content.as_ref().map(|content| &*content.fields).unwrap_or_default()
    }

    /// What the cache finds it by: the values of the kind's selectable fields, then those of its
    /// indexed labels; empty = absent.
    pub(super) fn indexed(&self) -> impl Iterator<Item = &str> {
        self.content.as_ref().ok().into_iter().flat_map(|content| {
            let labels = self.kind.labels.iter();
            let labels = labels.map(|label| content.label(label).unwrap_or_default());
            content.fields.iter().map(|field| &**field).chain(labels)
        })
    }

    /// Why it can't be read, if that is so.
    pub(super) fn broken(&self) -> Option<&str> {
        self.content.as_ref().err().map(|Broken(error)| error.as_str())
    }

    pub(super) fn full_key(&self) -> String {
        format!("{}{}", self.kind.root, self.path)
    }

    /// Whether both selectors hold. What can't be read is taken for a match unless its place says
    /// otherwise: better an error than an object that is missing without a word.
    pub(super) fn matches(&self, labels: &LabelSelector, fields: &FieldSelector) -> bool {
        let Ok(content) = &self.content else {
            let place = self.key();
            let namespace = place.namespace.as_deref().unwrap_or_default();
            return fields.exact_name().is_none_or(|name| name == place.name)
                && fields.exact("metadata.namespace").is_none_or(|name| name == namespace);
        };
        labels.matches_by(|key| content.label(key))
            && fields.matches_by(|path| match path {
                "metadata.name" => &content.name,
                "metadata.namespace" => &content.namespace,
                path => {
                    let place = self.kind.fields.iter().position(|field| *field == path);
                    place.map_or("", |place| &content.fields[place])
                }
            })
    }

    /// Memory that this item holds, about.
    pub fn size_bytes(&self) -> usize {
        let text = |text: &str| text.len() + 16;
        let content = match &self.content {
            Ok(content) => {
                let labels: usize =
                    content.labels.iter().map(|(key, value)| text(key) + text(value)).sum();
                let fields: usize = content.fields.iter().map(|field| text(field)).sum();
                content.frame.len() + labels + fields + content.name.len() + content.namespace.len()
            }
            Err(Broken(error)) => error.len(),
        };
        size_of::<Self>() + self.path.len() + content
    }

    fn content(&self) -> Result<&Content, ApiError> {
        self.content.as_ref().map_err(|Broken(error)| self.unreadable(error))
    }

    fn unreadable(&self, error: &str) -> ApiError {
        super::error::unreadable(&self.full_key(), self.revision, error)
    }
}

impl Content {
    fn read(
        kind: &ItemKind,
        value: &[u8],
        revision: Revision,
        natural: EventKind,
    ) -> Result<Self, Broken> {
        let broken = |error: &dyn fmt::Display| Broken(error.to_string());
        let text = std::str::from_utf8(value).map_err(|error| broken(&error))?;
        if let Ok(Some(content)) = Self::splice(kind, text, revision, natural) {
            return Ok(content);
        }
        // Not as this server writes it: brought into that form first.
        let mut object: Object = serde_json::from_str(text).map_err(|error| broken(&error))?;
        object.set_gvk(&kind.gvk);
        object.metadata_mut().shift_remove("resourceVersion");
        let text = serde_json::to_string(&object).map_err(|error| broken(&error))?;
        match Self::splice(kind, &text, revision, natural) {
            Ok(Some(content)) => Ok(content),
            Ok(None) => Err(Broken("it has no usable metadata".into())),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Puts the resource version into the text. `None` when it is not that simple.
    fn splice(
        kind: &ItemKind,
        text: &str,
        revision: Revision,
        natural: EventKind,
    ) -> Result<Option<Self>, serde_json::Error> {
        let outline = Outline::read(text, kind.fields)?;
        if outline.api_version != Some(kind.api_version.as_str())
            || outline.kind != Some(kind.gvk.kind.as_str())
            || outline.has_resource_version
        {
            return Ok(None);
        }
        let Some(metadata) = outline.metadata else { return Ok(None) };
        // Just behind the brace.
        let place = metadata.start + 1;
        let empty = text[place..metadata.end].trim_start().starts_with('}');
        let (before, after) = text.split_at(place);
        let digits = revision.to_string();
        const NAME: &str = r#""resourceVersion":""#;
        let start = natural.frame_start();
        let mut frame =
            String::with_capacity(start.len() + text.len() + NAME.len() + digits.len() + 4);
        frame.push_str(start);
        frame.push_str(before);
        frame.push_str(NAME);
        let version = frame.len()..frame.len() + digits.len();
        frame.push_str(&digits);
        frame.push_str(if empty { "\"" } else { "\"," });
        frame.push_str(after);
        frame.push_str(FRAME_END);
        Ok(Some(Self {
            frame: frame.into(),
            natural,
            version,
            name: outline.name.into(),
            namespace: outline.namespace.into(),
            labels: outline.labels.into(),
            fields: outline.fields.into(),
        }))
    }

    fn restamped(&self, revision: Revision, natural: EventKind) -> Self {
        let object = self.natural.frame_start().len();
        let start = natural.frame_start();
        let digits = revision.to_string();
        let mut frame = Vec::with_capacity(self.frame.len() + 24);
        frame.extend_from_slice(start.as_bytes());
        frame.extend_from_slice(&self.frame[object..self.version.start]);
        let version = frame.len()..frame.len() + digits.len();
        frame.extend_from_slice(digits.as_bytes());
        frame.extend_from_slice(&self.frame[self.version.end..]);
        Self {
            frame: frame.into(),
            natural,
            version,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
        }
    }

    fn label(&self, key: &str) -> Option<&str> {
        let place = self.labels.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&self.labels[place].1)
    }
}

#[cfg(test)]
mod tests;
