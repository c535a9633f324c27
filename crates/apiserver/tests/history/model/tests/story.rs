//! The story that most rows change a little:
//!
//! | revision | time | what |
//! |---|---|---|
//! | 2 | 10-20 | `n/a` is created, red |
//! | 3 | 30-40 | `n/b` is created, blue |
//! | 4 | 50-60 | `n/a` becomes blue |
//! | 5 | 70-80 | `n/b` is patched red |
//! | 6 | 90-100 | `n/a` is deleted |
//! | 8 | 110-120 | `s/c` is created, red |

use super::super::history::{
    Action, Content, Draft, Event, Fact, Filter, History, Item, Kind, Micros, Revision, Seen,
    Selector, Span, Write, WriteOutcome,
};
use super::super::truth::Truth;

pub(super) fn story() -> History {
    let mut history = History::default();
    let create = |value: &str, color: &str| Action::Create(draft(value, color));
    let patch = Action::Patch { value: "v4".into(), color: Some("red".into()), expected: None };
    put(&mut history, 2, "n/a", (10, 20), create("v1", "red"), content("v1", "red", "A", 1));
    put(&mut history, 3, "n/b", (30, 40), create("v2", "blue"), content("v2", "blue", "B", 1));
    let update = Action::Update(draft("v3", "blue"), 2);
    put(&mut history, 4, "n/a", (50, 60), update, content("v3", "blue", "A", 2));
    put(&mut history, 5, "n/b", (70, 80), patch, content("v4", "red", "B", 2));
    history.facts.push(Fact { revision: 6, key: "n/a".into(), content: None });
    history.writes.push(Write {
        span: span(90, 100),
        key: "n/a".into(),
        action: Action::Delete { expected: None },
        outcome: WriteOutcome::Deleted { uid: "A".into() },
    });
    put(&mut history, 8, "s/c", (110, 120), create("v5", "red"), content("v5", "red", "C", 1));
    history
}

/// The story goes on: `n/x` comes in 9 and goes in 10, `n/b` changes in 11.
pub(super) fn longer() -> History {
    let mut history = story();
    let create = Action::Create(draft("v6", "red"));
    put(&mut history, 9, "n/x", (130, 140), create, content("v6", "red", "X", 1));
    history.facts.push(Fact { revision: 10, key: "n/x".into(), content: None });
    history.writes.push(Write {
        span: span(150, 160),
        key: "n/x".into(),
        action: Action::Delete { expected: Some(9) },
        outcome: WriteOutcome::Deleted { uid: "X".into() },
    });
    let update = Action::Update(draft("v7", "red"), 5);
    put(&mut history, 11, "n/b", (170, 180), update, content("v7", "red", "B", 3));
    history
}

fn put(
    history: &mut History,
    revision: Revision,
    key: &str,
    (start, end): (Micros, Micros),
    action: Action,
    content: Content,
) {
    let seen = Seen { key: key.into(), revision, content: content.clone() };
    history.facts.push(Fact { revision, key: key.into(), content: Some(content) });
    history.writes.push(Write {
        span: span(start, end),
        key: key.into(),
        action,
        outcome: WriteOutcome::Stored(seen),
    });
}

pub(super) fn span(start: Micros, end: Micros) -> Span {
    Span { client: "test".into(), replica: 0, start, end }
}

pub(super) fn draft(value: &str, color: &str) -> Draft {
    Draft { value: value.into(), color: color.into(), shade: "dark".into() }
}

pub(super) fn content(value: &str, color: &str, uid: &str, generation: i64) -> Content {
    let digest = value.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
    let (value, color, shade) = (value.into(), color.into(), "dark".into());
    Content { value, color, shade, uid: uid.into(), generation, digest }
}

pub(super) fn everything() -> Filter {
    Filter { namespace: None, selector: Selector::Everything }
}

pub(super) fn red() -> Filter {
    Filter { namespace: None, selector: Selector::Color("red".into()) }
}

/// The true state.
pub(super) fn state(revision: Revision, filter: &Filter) -> Vec<Seen> {
    let truth = Truth::new(story().facts);
    let live = truth.state(revision, filter);
    live.iter()
        .map(|live| Seen {
            key: live.key.into(),
            revision: live.revision,
            content: live.content.clone(),
        })
        .collect()
}

/// The object that was written at this revision; of the deletion, what was there before.
pub(super) fn object(revision: Revision) -> Seen {
    object_in(&story(), revision)
}

fn object_in(history: &History, revision: Revision) -> Seen {
    let truth = Truth::new(history.facts.clone());
    let index = truth.facts().iter().position(|fact| fact.revision == revision).unwrap();
    let fact = &truth.facts()[index];
    let content = fact.content.clone();
    let content = content.unwrap_or_else(|| truth.before(index).unwrap().content.clone());
    Seen { key: fact.key.clone(), revision, content }
}

/// Long after the story.
pub(super) const LATER: Micros = 200;

pub(super) fn added(revision: Revision) -> Item {
    item(Event::Object(Kind::Added, object(revision)))
}

pub(super) fn modified(revision: Revision) -> Item {
    item(Event::Object(Kind::Modified, object(revision)))
}

pub(super) fn modified_in(history: &History, revision: Revision) -> Item {
    item(Event::Object(Kind::Modified, object_in(history, revision)))
}

/// With the content of `old` and the revision of what took it away.
pub(super) fn deleted(old: Revision, revision: Revision) -> Item {
    item(Event::Object(Kind::Deleted, Seen { revision, ..object(old) }))
}

pub(super) fn bookmark(revision: Revision) -> Item {
    item(Event::Bookmark { revision, ends_initial: false })
}

pub(super) fn end(revision: Revision) -> Item {
    item(Event::Bookmark { revision, ends_initial: true })
}

fn item(event: Event) -> Item {
    Item { at: LATER, event }
}
