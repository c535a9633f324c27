//! What is recorded: every operation with its start, end and outcome, and what etcd itself says.

use serde::Serialize;
use serde_json::{Value, json};

use super::digest::digest;

pub(crate) type Revision = i64;
/// Since the round began.
pub(crate) type Micros = u64;

/// All of one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// Every change in etcd's order: the truth.
    pub(crate) facts: Vec<Fact>,
    pub(crate) writes: Vec<Write>,
    pub(crate) gets: Vec<Get>,
    pub(crate) lists: Vec<List>,
    pub(crate) watches: Vec<Watch>,
    pub(crate) compactions: Vec<Compaction>,
    /// Writes outside the kind's keys, which move the revision and nothing else.
    pub(crate) noises: Vec<Noise>,
    /// When something was killed, stopped or started.
    pub(crate) troubles: Vec<Micros>,
    /// When a replica was cut off from etcd.
    pub(crate) cuts: Vec<Cut>,
    /// Watchers that had not heard of the last write long after everything worked again.
    pub(crate) laggards: Vec<String>,
}

impl History {
    /// Each record as a line of JSON under the name of its kind.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Value> {
        fn of(kind: &'static str, records: &[impl Serialize]) -> impl Iterator<Item = Value> {
            records.iter().map(move |record| json!({ kind: record }))
        }
        of("fact", &self.facts)
            .chain(of("write", &self.writes))
            .chain(of("get", &self.gets))
            .chain(of("list", &self.lists))
            .chain(of("watch", &self.watches))
            .chain(of("compaction", &self.compactions))
            .chain(of("noise", &self.noises))
            .chain(of("trouble", &self.troubles))
            .chain(of("cut", &self.cuts))
            .chain(of("laggard", &self.laggards))
    }
}

/// What is remembered of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    /// Unique for each write.
    pub(crate) value: String,
    pub(crate) color: String,
    pub(crate) shade: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    /// Of the whole object but its resourceVersion and kind.
    pub(crate) digest: u64,
}

impl Content {
    /// `None` when a field that every write sets is missing.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let text = |pointer: &str| Some(object.pointer(pointer)?.as_str()?.to_owned());
        Some(Self {
            value: text("/spec/value")?,
            color: text("/metadata/labels/color")?,
            shade: text("/spec/shade")?,
            uid: text("/metadata/uid")?,
            generation: object.pointer("/metadata/generation")?.as_i64()?,
            digest: digest(object),
        })
    }
}

/// An object as a client saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Seen {
    /// `namespace/name`.
    pub(crate) key: String,
    pub(crate) revision: Revision,
    pub(crate) content: Content,
}

impl Seen {
    /// `None` when it is no object of ours.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        let meta = |field: &str| object.get("metadata")?.get(field)?.as_str();
        Some(Self {
            key: format!("{}/{}", meta("namespace")?, meta("name")?),
            revision: meta("resourceVersion")?.parse().ok()?,
            content: Content::of(object)?,
        })
    }
}

/// One change in etcd.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fact {
    pub(crate) revision: Revision,
    pub(crate) key: String,
    /// `None` = deleted.
    pub(crate) content: Option<Content>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Compaction {
    pub(crate) start: Micros,
    pub(crate) revision: Revision,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Noise {
    pub(crate) start: Micros,
    pub(crate) end: Micros,
    pub(crate) revision: Revision,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cut {
    pub(crate) at: Micros,
    pub(crate) replica: usize,
    /// Writes that reached etcd and whose answers did not come back.
    pub(crate) lost: usize,
}

/// Who asked whom, and when.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Span {
    pub(crate) client: String,
    pub(crate) replica: usize,
    pub(crate) start: Micros,
    pub(crate) end: Micros,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Write {
    pub(crate) span: Span,
    pub(crate) key: String,
    pub(crate) action: Action,
    pub(crate) outcome: WriteOutcome,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) enum Action {
    Create(Draft),
    /// With the resourceVersion that the object must have.
    Update(Draft, Revision),
    /// A merge patch; `None` leaves the color and the resourceVersion out of it.
    Patch {
        value: String,
        color: Option<String>,
        expected: Option<Revision>,
    },
    Delete {
        expected: Option<Revision>,
    },
}

/// What a client puts into an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Draft {
    pub(crate) value: String,
    pub(crate) color: String,
    pub(crate) shade: String,
}

impl Action {
    /// The unique value that is in the store if this has happened.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Create(draft) | Self::Update(draft, _) => Some(&draft.value),
            Self::Patch { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    pub(crate) fn expected(&self) -> Option<Revision> {
        match self {
            Self::Create(_) => None,
            Self::Update(_, expected) => Some(*expected),
            Self::Patch { expected, .. } | Self::Delete { expected } => *expected,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) enum WriteOutcome {
    Stored(Seen),
    /// The answer names the object, not the revision.
    Deleted {
        uid: String,
    },
    /// A 4xx: nothing was written.
    Refused {
        code: u16,
        reason: String,
    },
    /// 5xx, timeout, broken connection: it may or may not have happened, or may happen yet.
    Unknown {
        detail: String,
    },
}

/// Which state a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Version {
    /// No resourceVersion: whatever is true now.
    Latest,
    /// `0`: any.
    Any,
    AtLeast(Revision),
    Exact(Revision),
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Get {
    pub(crate) span: Span,
    pub(crate) key: String,
    pub(crate) version: Version,
    pub(crate) outcome: GetOutcome,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) enum GetOutcome {
    Found(Seen),
    Absent,
    /// 0 = no answer.
    Failed {
        code: u16,
    },
}

/// What a collection read is restricted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Filter {
    /// `None` = all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Selector {
    Everything,
    Color(String),
    NotColor(String),
    Shade(String),
    Name(String),
}

impl Filter {
    pub(crate) fn matches(&self, key: &str, content: &Content) -> bool {
        let (namespace, name) = key.split_once('/').unwrap_or_default();
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && match &self.selector {
                Selector::Everything => true,
                Selector::Color(color) => content.color == *color,
                Selector::NotColor(color) => content.color != *color,
                Selector::Shade(shade) => content.shade == *shade,
                Selector::Name(wanted) => name == wanted,
            }
    }
}

/// A list, or one inconsistent continuation of a list: all its pages.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct List {
    pub(crate) client: String,
    pub(crate) query: String,
    pub(crate) filter: Filter,
    pub(crate) version: Version,
    /// 0 = no limit.
    pub(crate) limit: usize,
    /// Only keys after this one.
    pub(crate) after: Option<String>,
    pub(crate) pages: Vec<Page>,
    /// What came instead of the next page.
    pub(crate) failure: Option<Failure>,
}

impl List {
    pub(crate) fn begin(
        client: &str,
        query: String,
        filter: Filter,
        version: Version,
        limit: usize,
    ) -> Self {
        let client = client.to_owned();
        let (pages, after, failure) = (Vec::new(), None, None);
        Self { client, query, filter, version, limit, after, pages, failure }
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Page {
    pub(crate) replica: usize,
    pub(crate) start: Micros,
    pub(crate) end: Micros,
    pub(crate) revision: Revision,
    pub(crate) items: Vec<Seen>,
    pub(crate) remaining: Option<u64>,
    /// There is a continue token.
    pub(crate) more: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    pub(crate) start: Micros,
    pub(crate) end: Micros,
    /// 0 = no answer.
    pub(crate) code: u16,
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Watch {
    pub(crate) span: Span,
    pub(crate) query: String,
    pub(crate) filter: Filter,
    pub(crate) begin: Begin,
    pub(crate) items: Vec<Item>,
    /// `None` = the stream just ended, as it may at any time.
    pub(crate) failure: Option<Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Begin {
    After(Revision),
    /// The state first, as ADDED events.
    State {
        version: Version,
        /// A bookmark must tell where it ends.
        marked: bool,
    },
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Item {
    pub(crate) at: Micros,
    pub(crate) event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Event {
    Object(Kind, Seen),
    Bookmark { revision: Revision, ends_initial: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    Added,
    Modified,
    Deleted,
}

impl Event {
    pub(crate) fn revision(&self) -> Revision {
        match self {
            Self::Object(_, seen) => seen.revision,
            Self::Bookmark { revision, .. } => *revision,
        }
    }
}
