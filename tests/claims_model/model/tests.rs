//! The model's own tests: short histories and what must be found in them.

use apiserver::storage::{KvEvent, Revision};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::end::{Answer, Journal};
use super::{Check, Model};

type Test = (&'static str, fn());

pub(crate) const ALL: [Test; 2] = [
    ("model::finds_what_is_wrong", finds_what_is_wrong),
    ("model::compares_answers_with_history", compares_answers_with_history),
];

fn put(revision: Revision, kind: &str, object: &Value) -> KvEvent {
    let name = object["metadata"]["name"].as_str().expect("a name");
    let key = format!("/r/sandbox.x-k8s.io/{kind}/ns/{name}");
    let value = Some(serde_json::to_vec(object).expect("JSON").into());
    KvEvent { key, value, previous: None, revision }
}

fn gone(revision: Revision, kind: &str, name: &str) -> KvEvent {
    let key = format!("/r/sandbox.x-k8s.io/{kind}/ns/{name}");
    KvEvent { key, value: None, previous: None, revision }
}

fn pool(revision: Revision, replicas: i32) -> KvEvent {
    let spec = json!({"replicas": replicas, "sandboxTemplateRef": {"name": "t"}});
    put(revision, "sandboxwarmpools", &json!({"metadata": {"name": "p", "uid": "P"}, "spec": spec}))
}

fn sandbox(revision: Revision, name: &str, kind: &str, owner: &str) -> KvEvent {
    let owner = json!({"kind": kind, "uid": owner, "controller": true});
    let object = json!({"metadata": {"name": name, "uid": name, "ownerReferences": [owner]}});
    put(revision, "sandboxes", &object)
}

fn claim(revision: Revision, uid: &str, replicas: usize, sandboxes: &[&str]) -> KvEvent {
    let all: Vec<Value> = sandboxes.iter().map(|uid| json!({ "uid": uid })).collect();
    let object = json!({
        "metadata": {"name": uid, "uid": uid},
        "spec": {"replicas": replicas, "idempotencyKey": format!("{}", &uid[..1])},
        "status": {"sandbox": all.first(), "sandboxes": all},
    });
    put(revision, "sandboxclaims", &object)
}

fn found(events: &[KvEvent]) -> Vec<Check> {
    let mut model = Model::default();
    model.apply(events, Timestamp::UNIX_EPOCH);
    let mut found: Vec<_> = model.violations.iter().map(|violation| violation.check).collect();
    found.sort();
    found.dedup();
    found
}

fn finds_what_is_wrong() {
    const POOL: &str = "SandboxWarmPool";
    const CLAIM: &str = "SandboxClaim";
    let member = |revision, name| sandbox(revision, name, POOL, "P");
    let bound = |revision, name, claim| sandbox(revision, name, CLAIM, claim);
    let two = || vec![pool(1, 2), member(2, "a"), member(2, "b")];
    let with = |more: Vec<KvEvent>| [two(), more].concat();
    for (name, events, expected) in [
        ("bound", with(vec![claim(3, "x", 1, &["a"]), bound(3, "a", "x")]), vec![]),
        (
            "bound again",
            with(vec![
                claim(3, "x", 1, &["a"]),
                bound(3, "a", "x"),
                claim(4, "y", 1, &["a"]),
                bound(4, "a", "y"),
            ]),
            vec![Check::Binding],
        ),
        (
            "gathered",
            vec![
                claim(3, "x", 5, &[]),
                bound(4, "a", "x"),
                bound(4, "b", "x"),
                bound(5, "c", "x"),
                bound(5, "d", "x"),
                bound(5, "e", "x"),
                claim(6, "x", 5, &["a", "b", "c", "d", "e"]),
            ],
            vec![],
        ),
        (
            "bound before all are gathered",
            vec![claim(3, "x", 5, &[]), bound(4, "a", "x"), claim(5, "x", 5, &["a"])],
            vec![Check::Gang],
        ),
        (
            "gathered too many",
            vec![
                claim(3, "x", 5, &[]),
                bound(4, "a", "x"),
                bound(4, "b", "x"),
                bound(4, "c", "x"),
                bound(5, "d", "x"),
                bound(5, "e", "x"),
                bound(5, "f", "x"),
            ],
            vec![Check::Gang],
        ),
        (
            "half a gang",
            with(vec![claim(3, "x", 2, &["a"]), bound(3, "a", "x")]),
            vec![Check::Gang],
        ),
        (
            "a gang in two steps",
            with(vec![claim(3, "x", 2, &["a", "b"]), bound(3, "a", "x"), bound(4, "b", "x")]),
            vec![Check::Gang],
        ),
        ("of an unknown claim", with(vec![bound(3, "a", "x")]), vec![Check::Gang]),
        (
            "back in stock",
            with(vec![claim(3, "x", 1, &["a"]), bound(3, "a", "x"), member(4, "a")]),
            vec![Check::Binding],
        ),
        ("one key twice", vec![claim(1, "x1", 1, &[]), claim(2, "x2", 1, &[])], vec![Check::Key]),
        (
            "a key again",
            vec![claim(1, "x1", 1, &[]), gone(2, "sandboxclaims", "x1"), claim(3, "x2", 1, &[])],
            vec![],
        ),
        ("one too many", with(vec![member(3, "c")]), vec![Check::Members]),
        ("too many left", with(vec![pool(3, 1)]), vec![]),
        ("one for one", with(vec![gone(3, "sandboxes", "a"), member(4, "c")]), vec![]),
        ("of no pool", vec![member(1, "a")], vec![Check::Members]),
    ] {
        assert_eq!(found(&events), expected, "{name}");
    }
}

fn compares_answers_with_history() {
    let mut model = Model::default();
    let events = [
        claim(1, "x", 1, &["a"]),
        sandbox(1, "a", "SandboxClaim", "x"),
        claim(2, "y", 1, &["b"]),
        sandbox(2, "b", "SandboxClaim", "y"),
        gone(3, "sandboxclaims", "y"),
        gone(3, "sandboxes", "b"),
    ];
    model.apply(&events, Timestamp::UNIX_EPOCH);
    let answer = |uid: &str, sandbox: &str| Answer {
        code: 201,
        uid: uid.into(),
        sandboxes: vec![sandbox.into()],
    };
    let good = Journal {
        answers: vec![answer("x", "a"), answer("y", "b")],
        released: ["y".to_owned()].into(),
        ..Journal::default()
    };
    model.judge_end(&good);
    assert!(model.violations.is_empty(), "{:?}", model.violations);
    let bad = Journal { answers: vec![answer("x", "b"), answer("z", "c")], ..Journal::default() };
    model.judge_end(&bad);
    let found: Vec<_> = model.violations.iter().map(|violation| violation.check).collect();
    assert_eq!(found, [Check::Answer, Check::Answer, Check::Absence]);
}
