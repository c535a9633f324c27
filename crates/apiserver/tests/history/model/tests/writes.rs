use super::super::Check;
use super::super::history::{Action, Fact, History, Revision, Write, WriteOutcome};
use super::expect;
use super::story::{content, draft, span, story};

type Row = (&'static str, fn(&mut History), &'static str);

pub(super) fn an_outcome_must_fit_what_happened() {
    let rows: [Row; 20] = [
        ("the story", |_| {}, ""),
        ("another revision", |h| *stored(h, 2).0 = 5, "as in etcd"),
        ("another content", |h| stored(h, 2).1.color = "red".into(), "as in etcd"),
        ("lost", |h| _ = h.facts.remove(3), "exactly once in etcd"),
        ("happened twice", |h| again(h, 3), "exactly once in etcd"),
        ("refused and there", |h| h.writes[1].outcome = exists(), "leaves nothing"),
        ("unknown and there", |h| h.writes[3].outcome = unknown(), ""),
        ("unknown and not there", |h| h.writes.push(lost()), ""),
        (
            "unknown and there twice",
            |h| {
                h.writes[3].outcome = unknown();
                again(h, 3);
            },
            "at most once",
        ),
        ("before what it followed", |h| h.writes[3].span = span(105, 108), "above 6"),
        (
            "over another revision",
            |h| h.writes[2].action = Action::Update(draft("v3", "blue"), 3),
            "over revision 3 alone",
        ),
        (
            "not what was sent",
            |h| h.writes[2].action = Action::Update(draft("v3", "red"), 2),
            "as it was sent",
        ),
        (
            "a patch that changed more",
            |h| {
                stored(h, 3).1.shade = "light".into();
                h.facts[3].content.as_mut().unwrap().shade = "light".into();
            },
            "the patch over the object before",
        ),
        (
            "a generation that stood still",
            |h| {
                stored(h, 2).1.generation = 1;
                h.facts[2].content.as_mut().unwrap().generation = 1;
            },
            "one generation on",
        ),
        (
            "created over what was there",
            |h| h.writes[2].action = Action::Create(draft("v3", "blue")),
            "in which the write is possible",
        ),
        (
            "deleted, but still there",
            |h| h.writes[4].outcome = WriteOutcome::Deleted { uid: "Z".into() },
            "Z deleted exactly once in etcd",
        ),
        (
            "deleted, and refused by a second try",
            |h| {
                let (code, reason) = (404, "NotFound".into());
                h.writes[4].outcome = WriteOutcome::Refused { code, reason };
            },
            "explains this change",
        ),
        ("deleted twice", |h| h.writes.push(h.writes[4].clone()), "one deletion of A"),
        ("nobody's write", |h| fact(h, "n/d", true), "explains this change"),
        ("nobody's deletion", |h| fact(h, "n/b", false), "explains this change"),
    ];
    for (row, change, expected) in rows {
        let mut history = story();
        change(&mut history);
        expect(row, &history, Check::Write, expected);
    }
    let mut history = story();
    fact(&mut history, "n/b", false);
    let action = Action::Delete { expected: None };
    history.writes.push(Write { action, key: "n/b".into(), ..lost() });
    expect("an unknown deletion explains it", &history, Check::Write, "");
}

pub(super) fn a_refusal_must_have_been_true() {
    let update = |expected| Action::Update(draft("v9", "red"), expected);
    let create = || Action::Create(draft("v9", "red"));
    // All between revisions 5 and 6: `n/a` is at 4 and `n/b` at 5.
    let rows = [
        ("conflict", "n/b", update(3), 409, "Conflict", ""),
        ("no conflict", "n/b", update(5), 409, "Conflict", "at another revision"),
        ("exists", "n/b", create(), 409, "AlreadyExists", ""),
        ("does not exist", "n/d", create(), 409, "AlreadyExists", "present"),
        ("absent", "n/d", update(3), 404, "NotFound", ""),
        ("not absent", "n/b", update(5), 404, "NotFound", "absent"),
        ("busy", "n/b", update(5), 429, "", ""),
        ("invalid", "n/b", update(5), 422, "Invalid", "no such refusal"),
    ];
    for (row, key, action, code, reason, expected) in rows {
        let mut history = story();
        let outcome = WriteOutcome::Refused { code, reason: reason.into() };
        history.writes.push(Write { span: span(85, 88), key: key.into(), action, outcome });
        expect(row, &history, Check::Write, expected);
    }
}

fn stored(
    history: &mut History,
    write: usize,
) -> (&mut Revision, &mut super::super::history::Content) {
    match &mut history.writes[write].outcome {
        WriteOutcome::Stored(seen) => (&mut seen.revision, &mut seen.content),
        other => panic!("{other:?}"),
    }
}

/// The fact once more, at the end.
fn again(history: &mut History, fact: usize) {
    history.facts.push(Fact { revision: 9, ..history.facts[fact].clone() });
}

fn fact(history: &mut History, key: &str, there: bool) {
    let content = there.then(|| content("v7", "red", "D", 1));
    history.facts.push(Fact { revision: 9, key: key.into(), content });
}

fn lost() -> Write {
    let action = Action::Create(draft("v9", "red"));
    Write { span: span(130, 140), key: "n/d".into(), action, outcome: unknown() }
}

fn unknown() -> WriteOutcome {
    WriteOutcome::Unknown { detail: "a broken connection".into() }
}

fn exists() -> WriteOutcome {
    WriteOutcome::Refused { code: 409, reason: "AlreadyExists".into() }
}
