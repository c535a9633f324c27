//! Cases of watches.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{join, join_all};

use super::super::{Expect, KvError, Write};
use super::{Fixture, done, events, progress};

pub async fn watch_replays_history_from_its_revision(f: &Fixture) {
    f.put("a", "1").await;
    let from = f.put("a", "2").await;
    f.put("b", "1").await;
    f.delete("a").await;
    let mut watch = f.watch(from).await;
    let heard = events(&mut watch, 3).await;
    assert_eq!(heard[0].revision, from);
    assert_eq!(f.short(&heard), ["a=2<1", "b=1", "-a<2"]);
}

pub async fn watch_hears_what_comes(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    let revision = f.put("a", "1").await;
    let heard = events(&mut watch, 1).await;
    assert_eq!((f.short(&heard), heard[0].revision), (vec!["a=1".to_owned()], revision));
}

pub async fn watch_goes_from_history_to_news_without_a_gap(f: &Fixture) {
    let from = f.put("n", "0").await;
    for n in 1..50 {
        f.put("n", &n.to_string()).await;
    }
    let mut watch = f.watch(from).await;
    let write = async {
        for n in 50..100 {
            f.put("n", &n.to_string()).await;
        }
    };
    let (heard, ()) = join(events(&mut watch, 100), write).await;
    let expected: Vec<_> =
        (0..100).map(|n| if n == 0 { "n=0".into() } else { format!("n={n}<{}", n - 1) }).collect();
    assert_eq!(f.short(&heard), expected);
}

pub async fn watch_keeps_to_its_prefix(f: &Fixture) {
    let from = f.revision().await + 1;
    f.put("p", "1").await;
    f.put("p/a", "1").await;
    let mut watch = f.kv.watch(&f.key("p/"), from).await.unwrap();
    for name in ["p0", "q/a", "p/b", "p"] {
        f.put(name, "2").await;
    }
    let last = f.put("p/c", "2").await;
    let heard = progress(&mut watch, last).await;
    assert_eq!(f.short(&heard), ["p/a=1", "p/b=2", "p/c=2"]);
}

pub async fn watch_has_previous_values(f: &Fixture) {
    f.put("a", "1").await;
    let mut watch = f.watch(f.revision().await + 1).await;
    f.put("a", "2").await;
    f.delete("a").await;
    assert_eq!(f.short(&events(&mut watch, 2).await), ["a=2<1", "-a<2"]);
}

pub async fn watch_tells_creation_after_deletion(f: &Fixture) {
    let from = f.put("a", "1").await;
    f.delete("a").await;
    f.put("a", "2").await;
    let mut watch = f.watch(from).await;
    assert_eq!(f.short(&events(&mut watch, 3).await), ["a=1", "-a<1", "a=2"]);
}

/// One batch has all events of a revision, in the order of the writes. Told live and replayed.
pub async fn watch_keeps_a_transaction_together_and_in_order(f: &Fixture) {
    let from = f.put("gone", "1").await + 1;
    let mut live = f.watch(from).await;
    let writes = vec![f.write("c", "1"), Write::Delete { key: f.key("gone") }, f.write("a", "1")];
    let revision = done(f.kv.txn(Vec::new(), writes).await.unwrap());
    let mut replayed = f.watch(from).await;
    for watch in [&mut live, &mut replayed] {
        loop {
            let batch = watch.next().await.unwrap().unwrap();
            if !batch.events.is_empty() {
                assert_eq!(f.short(&batch.events), ["c=1", "-gone<1", "a=1"]);
                assert!(batch.events.iter().all(|event| event.revision == revision));
                break;
            }
        }
    }
}

/// Also when nothing under its prefix changes.
pub async fn watch_reports_progress(f: &Fixture) {
    let mut watch = f.kv.watch(&f.key("p/"), f.revision().await + 1).await.unwrap();
    let outside = f.put("elsewhere", "1").await;
    assert_eq!(progress(&mut watch, outside).await, []);
    let again = f.put("elsewhere", "2").await;
    assert_eq!(progress(&mut watch, again).await, []);
}

pub async fn watch_progress_is_never_ahead_of_events(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    let write = async {
        for n in 0..20 {
            f.put("a", &n.to_string()).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let read = async {
        let (mut told, mut count) = (0, 0);
        while count < 20 {
            let batch = watch.next().await.unwrap().unwrap();
            assert!(batch.revision >= told, "{} after {told}", batch.revision);
            for event in &batch.events {
                assert!(event.revision > told, "{} was promised to be delivered", event.revision);
                count += 1;
            }
            told = batch.revision;
        }
    };
    join(write, read).await;
}

/// A watch from a revision that does not exist yet tells nothing of those before it.
pub async fn watch_from_the_future_waits(f: &Fixture) {
    let now = f.revision().await;
    // Others may write to the store meanwhile, so their number is not known.
    let from = now + 1000;
    let mut watch = f.watch(from).await;
    f.put("early", "1").await;
    // Many at once elsewhere: a thousand commits one after the other may take a disk too long.
    let elsewhere = |n: usize| {
        let key = format!("{}-elsewhere/{n}", f.prefix);
        f.kv.txn(Vec::new(), vec![Write::Put { key, value: Bytes::new() }])
    };
    let write = async {
        while f.put("a", "1").await < from {
            join_all((0..50).map(elsewhere)).await;
        }
    };
    let (heard, ()) = join(events(&mut watch, 1), write).await;
    assert!(heard[0].revision >= from);
    assert_eq!(heard[0].key, f.key("a"));
}

pub async fn watch_hears_nothing_of_failed_transactions(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    f.put("a", "1").await;
    let guards = vec![f.guard("a", Expect::Absent)];
    f.kv.txn(guards, vec![f.write("a", "2"), f.write("b", "2")]).await.unwrap();
    let last = f.put("a", "3").await;
    assert_eq!(f.short(&progress(&mut watch, last).await), ["a=1", "a=3<1"]);
}

pub async fn watch_hears_nothing_of_deletes_of_missing_keys(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    f.delete("none").await;
    let last = f.put("a", "1").await;
    assert_eq!(f.short(&progress(&mut watch, last).await), ["a=1"]);
}

pub async fn watches_hear_the_same(f: &Fixture) {
    let from = f.revision().await + 1;
    let mut watches = join_all((0..5).map(|_| f.watch(from))).await;
    for n in 0..20 {
        f.put(&format!("{}", n % 3), &n.to_string()).await;
    }
    let heard = join_all(watches.iter_mut().map(|watch| events(watch, 20))).await;
    assert!(heard.iter().all(|events| *events == heard[0]));
}

pub async fn watch_of_one_key_may_be_a_prefix(f: &Fixture) {
    let from = f.put("a", "1").await;
    let mut watch = f.kv.watch(&f.key("a"), from).await.unwrap();
    f.put("b", "1").await;
    f.put("ab", "1").await;
    assert_eq!(f.short(&events(&mut watch, 2).await), ["a=1", "ab=1"]);
}

pub async fn watch_resumes_where_another_ended(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    for n in 0..3 {
        f.put("a", &n.to_string()).await;
    }
    // A batch may have several revisions.
    let (mut heard, mut reached) = (Vec::new(), 0);
    while heard.is_empty() {
        let batch = watch.next().await.unwrap().unwrap();
        (heard, reached) = (batch.events, batch.revision);
    }
    drop(watch);
    f.put("a", "3").await;
    let mut watch = f.watch(reached + 1).await;
    let rest = events(&mut watch, 4 - heard.len()).await;
    heard.extend(rest);
    assert_eq!(f.short(&heard), ["a=0", "a=1<0", "a=2<1", "a=3<2"]);
}

pub async fn watch_under_concurrent_writers_misses_nothing(f: &Fixture) {
    let from = f.revision().await + 1;
    let mut watch = f.watch(from).await;
    let writer = |writer: usize| async move {
        let mut revisions = Vec::new();
        for n in 0..20 {
            revisions.push(f.put(&format!("{writer}"), &n.to_string()).await);
        }
        revisions
    };
    let (heard, written) = join(events(&mut watch, 200), join_all((0..10).map(writer))).await;
    let mut written = written.concat();
    written.sort_unstable();
    assert_eq!(heard.iter().map(|event| event.revision).collect::<Vec<_>>(), written);
    let mut again = f.watch(from).await;
    assert_eq!(events(&mut again, 200).await, heard, "history tells the same");
}

/// A store that can't keep up with a reader may end the watch, but not skip anything.
pub async fn a_slow_watch_never_has_a_gap(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    let writer = |writer: usize| async move {
        for n in 0..150 {
            f.put(&format!("{writer}"), &n.to_string()).await;
        }
    };
    join_all((0..10).map(writer)).await;
    let last = f.revision().await;
    let (mut next, mut reached) = ([0; 10], 0);
    while reached < last {
        let batch = match watch.next().await.unwrap() {
            Ok(batch) => batch,
            Err(KvError::Unavailable { .. }) => break,
            Err(other) => panic!("{other}"),
        };
        for event in &batch.events {
            let writer: usize = event.key.rsplit('/').next().unwrap().parse().unwrap();
            let value = String::from_utf8(event.value.clone().unwrap().to_vec()).unwrap();
            assert_eq!(value, next[writer].to_string(), "of {}", event.key);
            next[writer] += 1;
        }
        reached = batch.revision;
    }
    if reached >= last {
        assert_eq!(next, [150; 10]);
    }
}
