//! Cases of transactions.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::join_all;

use super::super::{Expect, KvError, Outcome, Write};
use super::{Fixture, done};

pub async fn put_makes_a_larger_revision(f: &Fixture) {
    let first = f.put("a", "1").await;
    let second = f.put("a", "1").await;
    assert!(second > first && first > 0);
    let got = f.kv.get(&f.key("a"), None).await.unwrap();
    assert_eq!(got.kv.unwrap().mod_revision, second, "an equal value is a write too");
}

pub async fn put_keeps_any_bytes(f: &Fixture) {
    let value = Bytes::from((0..=255).collect::<Vec<u8>>());
    let write = Write::Put { key: f.key("a"), value: value.clone() };
    done(f.kv.txn(Vec::new(), vec![write]).await.unwrap());
    assert_eq!(f.kv.get(&f.key("a"), None).await.unwrap().kv.unwrap().value, value);
}

pub async fn put_of_an_empty_value_is_a_value(f: &Fixture) {
    f.put("a", "").await;
    assert_eq!(f.value("a").await.as_deref(), Some(""));
}

pub async fn delete_removes(f: &Fixture) {
    let created = f.put("a", "1").await;
    assert!(f.delete("a").await > created);
    assert_eq!(f.value("a").await, None);
}

/// No key changes, so the store's revision does not either.
pub async fn delete_of_a_missing_key_changes_nothing(f: &Fixture) {
    let before = f.put("a", "1").await;
    let revision = f.delete("b").await;
    assert!(revision >= before);
    assert_eq!(f.value("a").await.as_deref(), Some("1"));
}

pub async fn a_deleted_key_can_be_created_again(f: &Fixture) {
    f.put("a", "1").await;
    f.delete("a").await;
    let guards = vec![f.guard("a", Expect::Absent)];
    done(f.kv.txn(guards, vec![f.write("a", "2")]).await.unwrap());
    assert_eq!(f.value("a").await.as_deref(), Some("2"));
}

pub async fn guard_absent_holds_once(f: &Fixture) {
    let create = || f.kv.txn(vec![f.guard("a", Expect::Absent)], vec![f.write("a", "1")]);
    let revision = done(create().await.unwrap());
    match create().await.unwrap() {
        Outcome::Conflict(current) => {
            assert_eq!(current[0].as_ref().unwrap().mod_revision, revision);
        }
        Outcome::Done(_) => panic!("it exists"),
    }
}

pub async fn guard_revision_holds_for_the_last_write_only(f: &Fixture) {
    let first = f.put("a", "1").await;
    let second = f.put("a", "2").await;
    for (revision, holds) in [(first, false), (second + 1, false), (second, true)] {
        let guards = vec![f.guard("a", Expect::Revision(revision))];
        let outcome = f.kv.txn(guards, vec![f.write("a", "3")]).await.unwrap();
        assert_eq!(matches!(outcome, Outcome::Done(_)), holds, "{outcome:?}");
    }
    assert_eq!(f.value("a").await.as_deref(), Some("3"));
}

pub async fn guard_revision_of_a_missing_key_fails(f: &Fixture) {
    let created = f.put("a", "1").await;
    f.delete("a").await;
    let guards = vec![f.guard("a", Expect::Revision(created))];
    let outcome = f.kv.txn(guards, vec![f.write("a", "2")]).await.unwrap();
    assert_eq!(outcome, Outcome::Conflict(vec![None]));
    assert_eq!(f.value("a").await, None);
}

pub async fn conflict_shows_current_values_in_the_guards_order(f: &Fixture) {
    let b = f.put("b", "1").await;
    let a = f.put("a", "2").await;
    let guards = vec![
        f.guard("b", Expect::Revision(b)),
        f.guard("none", Expect::Absent),
        f.guard("a", Expect::Absent),
    ];
    match f.kv.txn(guards, vec![f.write("c", "1")]).await.unwrap() {
        Outcome::Conflict(current) => {
            let revisions: Vec<_> =
                current.iter().map(|kv| kv.as_ref().map(|kv| kv.mod_revision)).collect();
            assert_eq!(revisions, [Some(b), None, Some(a)]);
            assert_eq!(current[2].as_ref().unwrap().value, Bytes::from("2"));
        }
        Outcome::Done(_) => panic!("a exists"),
    }
}

pub async fn a_failed_guard_prevents_every_write(f: &Fixture) {
    f.put("a", "1").await;
    f.put("gone", "1").await;
    let writes = vec![f.write("a", "2"), f.write("b", "2"), Write::Delete { key: f.key("gone") }];
    let guards = vec![f.guard("none", Expect::Absent), f.guard("a", Expect::Absent)];
    let outcome = f.kv.txn(guards, writes).await.unwrap();
    assert!(matches!(outcome, Outcome::Conflict(_)), "{outcome:?}");
    assert_eq!(f.value("a").await.as_deref(), Some("1"));
    assert_eq!(f.value("b").await, None);
    assert_eq!(f.value("gone").await.as_deref(), Some("1"));
}

pub async fn all_writes_share_one_revision(f: &Fixture) {
    f.put("gone", "1").await;
    let writes = vec![f.write("a", "1"), Write::Delete { key: f.key("gone") }, f.write("b", "1")];
    let revision = done(f.kv.txn(Vec::new(), writes).await.unwrap());
    for name in ["a", "b"] {
        let kv = f.kv.get(&f.key(name), None).await.unwrap().kv.unwrap();
        assert_eq!(kv.mod_revision, revision);
    }
    assert_eq!(f.value("gone").await, None);
    assert_eq!(f.value_at("gone", Some(revision - 1)).await.as_deref(), Some("1"));
    assert_eq!(f.value_at("a", Some(revision - 1)).await, None);
}

pub async fn a_guard_may_be_on_another_key(f: &Fixture) {
    let revision = f.put("lock", "1").await;
    let guards = vec![f.guard("lock", Expect::Revision(revision))];
    done(f.kv.txn(guards, vec![f.write("a", "1")]).await.unwrap());
    let lock = f.kv.get(&f.key("lock"), None).await.unwrap().kv.unwrap();
    assert_eq!(lock.mod_revision, revision, "a guard writes nothing");
}

pub async fn a_guarded_delete_checks(f: &Fixture) {
    let first = f.put("a", "1").await;
    let second = f.put("a", "2").await;
    let delete = |revision| {
        let guards = vec![f.guard("a", Expect::Revision(revision))];
        f.kv.txn(guards, vec![Write::Delete { key: f.key("a") }])
    };
    assert!(matches!(delete(first).await.unwrap(), Outcome::Conflict(_)));
    assert!(done(delete(second).await.unwrap()) > second);
    assert_eq!(delete(second).await.unwrap(), Outcome::Conflict(vec![None]));
}

pub async fn a_key_twice_is_refused(f: &Fixture) {
    let writes = vec![f.write("a", "1"), f.write("a", "2")];
    let error = f.kv.txn(Vec::new(), writes).await.unwrap_err();
    assert!(matches!(error, KvError::Other { .. }), "{error}");
    assert_eq!(f.value("a").await, None);
}

/// More than etcd's default of 128.
pub async fn too_many_operations_are_refused(f: &Fixture) {
    let writes = (0..129).map(|n| f.write(&n.to_string(), "1")).collect();
    let error = f.kv.txn(Vec::new(), writes).await.unwrap_err();
    assert!(matches!(error, KvError::Other { .. }), "{error}");
    assert_eq!(f.kv.count(&f.all()).await.unwrap().0, 0);
}

/// More than etcd's default of 1.5 MiB.
pub async fn a_huge_value_is_refused(f: &Fixture) {
    for size in [1600 * 1024, 3 * 1024 * 1024] {
        let error = f.kv.txn(Vec::new(), vec![f.write("a", &"x".repeat(size))]).await.unwrap_err();
        assert!(matches!(error, KvError::TooLarge { .. }), "{error}");
    }
    assert_eq!(f.value("a").await, None);
}

pub async fn a_large_value_is_kept(f: &Fixture) {
    let value = "x".repeat(1500 * 1024);
    f.put("a", &value).await;
    assert!(f.value("a").await.as_deref() == Some(value.as_str()), "it came back changed");
}

pub async fn concurrent_writers_get_unique_revisions(f: &Fixture) {
    let writer = |writer: usize| async move {
        let mut revisions = Vec::new();
        for n in 0..20 {
            revisions.push(f.put(&format!("{writer}"), &n.to_string()).await);
        }
        assert!(revisions.is_sorted(), "{revisions:?}");
        revisions
    };
    let all = join_all((0..10).map(writer)).await.concat();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 200);
}

pub async fn concurrent_creates_have_one_winner(f: &Fixture) {
    for round in 0..10 {
        let name = format!("{round}");
        let create = |n: usize| {
            let guards = vec![f.guard(&name, Expect::Absent)];
            f.kv.txn(guards, vec![f.write(&name, &n.to_string())])
        };
        let outcomes = join_all((0..10).map(create)).await;
        let winners: Vec<_> = outcomes
            .iter()
            .enumerate()
            .filter(|(_, outcome)| matches!(outcome, Ok(Outcome::Done(_))))
            .map(|(n, _)| n.to_string())
            .collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(f.value(&name).await.as_ref(), winners.first());
    }
}

/// Counters that read, guard by revision and try again on conflict count right.
pub async fn concurrent_updates_lose_nothing(f: &Fixture) {
    let start = f.put("n", "0").await;
    let counter = |_: usize| async move {
        let (mut value, mut revision) = (0, start);
        for _ in 0..10 {
            loop {
                let guards = vec![f.guard("n", Expect::Revision(revision))];
                let next: u64 = value + 1;
                match f.kv.txn(guards, vec![f.write("n", &next.to_string())]).await.unwrap() {
                    Outcome::Done(done) => {
                        (value, revision) = (next, done);
                        break;
                    }
                    Outcome::Conflict(current) => {
                        let kv = current[0].clone().unwrap();
                        value = String::from_utf8(kv.value.to_vec()).unwrap().parse().unwrap();
                        revision = kv.mod_revision;
                    }
                }
            }
        }
    };
    join_all((0..5).map(counter)).await;
    assert_eq!(f.value("n").await.as_deref(), Some("50"));
}
