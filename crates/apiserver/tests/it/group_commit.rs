//! Transactions that share a transaction of the store: on the embedded store, where every
//! transaction has a revision of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use apiserver::storage::{
    EmbeddedKv, EmbeddedOptions, Expect, GroupCommit, GroupOptions, Kv, Outcome, Write,
};
use apiserver::tasks::Tasks;
use bytes::Bytes;
use futures::future::join_all;

use crate::directory::Directory;

struct Grouped {
    kv: Arc<GroupCommit>,
    tasks: Tasks,
    _directory: Directory,
}

fn grouped(options: &GroupOptions) -> Grouped {
    let directory = Directory::new();
    let store = EmbeddedKv::open(EmbeddedOptions::new(&directory.path)).unwrap();
    let tasks = Tasks::new();
    let kv = Arc::new(GroupCommit::start(Arc::new(store), options, &tasks));
    Grouped { kv, tasks, _directory: directory }
}

fn put(key: &str, value: &str) -> Vec<Write> {
    vec![Write::Put { key: key.into(), value: Bytes::from(value.to_owned()) }]
}

async fn value(kv: &dyn Kv, key: &str) -> Option<String> {
    let got = kv.get(key, None).await.unwrap().kv?;
    Some(String::from_utf8(got.value.to_vec()).unwrap())
}

#[tokio::test]
async fn many_share_few() {
    let it = grouped(&GroupOptions::default());
    let done = join_all((0..200).map(|index| {
        let kv = it.kv.clone();
        async move {
            let key = format!("/many/{index}");
            let guards = vec![(key.clone(), Expect::Absent)];
            kv.txn(guards, put(&key, &index.to_string())).await.unwrap()
        }
    }))
    .await;
    let revisions: BTreeSet<_> = done
        .iter()
        .map(|outcome| match outcome {
            Outcome::Done(revision) => *revision,
            Outcome::Conflict(_) => panic!("nobody was there before"),
        })
        .collect();
    assert!(revisions.len() <= 20, "{} transactions for 200", revisions.len());
    for index in 0..200 {
        let found = value(it.kv.as_ref(), &format!("/many/{index}")).await;
        assert_eq!(found, Some(index.to_string()));
    }
    it.tasks.shutdown().await;
}

#[tokio::test]
async fn who_fails_fails_alone() {
    let it = grouped(&GroupOptions::default());
    it.kv.txn(Vec::new(), put("/taken", "old")).await.unwrap();
    let outcomes = join_all((0..60).map(|index| {
        let kv = it.kv.clone();
        async move {
            let key = format!("/alone/{index}");
            let mut guards = vec![(key.clone(), Expect::Absent)];
            if index % 3 == 0 {
                // Distinct keys, so that they share a group with the others.
                guards.push((format!("/absent/{index}"), Expect::Revision(1)));
            }
            (index, kv.txn(guards, put(&key, "new")).await.unwrap())
        }
    }))
    .await;
    for (index, outcome) in outcomes {
        let found = value(it.kv.as_ref(), &format!("/alone/{index}")).await;
        match outcome {
            Outcome::Done(_) => assert!(index % 3 != 0 && found.as_deref() == Some("new")),
            Outcome::Conflict(values) => {
                assert_eq!((index % 3, values, found), (0, vec![None, None], None));
            }
        }
    }
    it.tasks.shutdown().await;
}

#[tokio::test]
async fn of_those_who_want_the_same_one_gets_it() {
    let it = grouped(&GroupOptions::default());
    let outcomes = join_all((0..50).map(|index| {
        let kv = it.kv.clone();
        async move {
            let guards = vec![("/one".to_owned(), Expect::Absent)];
            let outcome = kv.txn(guards, put("/one", &index.to_string())).await.unwrap();
            (index, outcome)
        }
    }))
    .await;
    let winners: Vec<_> =
        outcomes.iter().filter(|(_, it)| matches!(it, Outcome::Done(_))).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(value(it.kv.as_ref(), "/one").await, Some(winners[0].0.to_string()));
    for (_, outcome) in &outcomes {
        if let Outcome::Conflict(values) = outcome {
            assert!(values[0].is_some(), "told what is in the way");
        }
    }
    it.tasks.shutdown().await;
}

#[tokio::test]
async fn bounds_hold_and_the_end_loses_nothing() {
    let options = GroupOptions { operations_max: 4, in_flight: 1, ..GroupOptions::default() };
    let it = grouped(&options);
    let done = join_all((0..40).map(|index| {
        let kv = it.kv.clone();
        async move { kv.txn(Vec::new(), put(&format!("/bound/{index}"), "x")).await.unwrap() }
    }))
    .await;
    let revisions: Vec<_> = done
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Done(revision) => Some(*revision),
            Outcome::Conflict(_) => None,
        })
        .collect();
    assert_eq!(revisions.len(), 40);
    for revision in &revisions {
        assert!(revisions.iter().filter(|other| *other == revision).count() <= 4);
    }
    it.tasks.shutdown().await;
    // Whoever comes after the end goes alone.
    let late = it.kv.txn(Vec::new(), put("/late", "x")).await.unwrap();
    assert!(matches!(late, Outcome::Done(_)));
    assert_eq!(value(it.kv.as_ref(), "/late").await.as_deref(), Some("x"));
}
