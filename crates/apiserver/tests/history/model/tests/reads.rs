use super::super::Check;
use super::super::history::{Content, Get, GetOutcome, Seen, Version};
use super::expect;
use super::story::{object, span, story};

pub(super) fn an_object_is_shown_as_it_was() {
    let found = |revision| GetOutcome::Found(object(revision));
    let never = || {
        let seen = object(4);
        let content = Content { digest: 0, ..seen.content };
        GetOutcome::Found(Seen { content, ..seen })
    };
    let state = "the state at some revision";
    let rows = [
        ("current", "n/a", Version::Latest, (65, 68), found(4), ""),
        ("stale", "n/a", Version::Latest, (65, 68), found(2), state),
        ("during the write, before", "n/a", Version::Latest, (45, 55), found(2), ""),
        ("during the write, after", "n/a", Version::Latest, (45, 55), found(4), ""),
        ("before the write began", "n/a", Version::Any, (25, 28), found(4), state),
        ("any", "n/a", Version::Any, (65, 68), found(2), ""),
        ("not older", "n/a", Version::AtLeast(4), (65, 68), found(4), ""),
        ("older", "n/a", Version::AtLeast(4), (65, 68), found(2), state),
        ("absent", "n/a", Version::Latest, (105, 108), GetOutcome::Absent, ""),
        ("not absent", "n/a", Version::Latest, (65, 68), GetOutcome::Absent, state),
        ("absent at first", "n/a", Version::Any, (65, 68), GetOutcome::Absent, ""),
        ("still there", "n/a", Version::Latest, (105, 108), found(4), state),
        ("another object", "n/b", Version::Any, (65, 68), found(4), state),
        ("never there", "n/a", Version::Any, (65, 68), never(), state),
        ("away", "n/a", Version::Latest, (65, 68), GetOutcome::Failed { code: 503 }, ""),
        ("refused", "n/a", Version::Latest, (65, 68), GetOutcome::Failed { code: 400 }, state),
    ];
    for (row, key, version, (start, end), outcome, expected) in rows {
        let mut history = story();
        history.gets.push(Get { span: span(start, end), key: key.into(), version, outcome });
        expect(row, &history, Check::Get, expected);
    }
}
