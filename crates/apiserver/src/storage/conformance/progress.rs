//! Cases of asked progress, on a store that tells none by itself for an hour.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join, join_all};
use tokio::time::timeout;

use super::super::{KvError, KvEvent, KvWatch, Revision};
use super::{Fixture, events, progress};

/// Asks, and waits until each of the watches has come as far as the store had; no events.
async fn ask(f: &Fixture, watches: &mut [KvWatch]) -> Revision {
    let revision = f.revision().await;
    f.kv.request_progress().await.unwrap();
    let told = join_all(watches.iter_mut().map(|watch| progress(watch, revision))).await;
    assert!(told.iter().all(Vec::is_empty), "{told:?}");
    revision
}

/// For a watch that may still be catching up and then need not answer: asks until it does.
async fn ask_again(f: &Fixture, watch: &mut KvWatch, revision: Revision) -> Vec<KvEvent> {
    let mut heard = Vec::new();
    let mut reached = 0;
    while reached < revision {
        f.kv.request_progress().await.unwrap();
        let Ok(item) = timeout(ASK_AGAIN, watch.next()).await else { continue };
        let batch = item.expect("the watch goes on").unwrap();
        reached = batch.revision;
        heard.extend(batch.events);
    }
    heard
}

pub async fn progress_comes_when_asked(f: &Fixture) {
    let mut watches = [f.kv.watch(&f.key("p/"), f.revision().await + 1).await.unwrap()];
    for n in 0..3 {
        f.put("elsewhere", &n.to_string()).await;
        ask(f, &mut watches).await;
    }
}

/// Nothing at all has been written since the watch began, which is where the store is.
pub async fn progress_comes_to_a_watch_that_waits_for_its_start(f: &Fixture) {
    let mut watches = [f.watch(f.revision().await + 1).await];
    ask(f, &mut watches).await;
    ask(f, &mut watches).await;
}

pub async fn progress_comes_to_every_watch(f: &Fixture) {
    let from = f.revision().await + 1;
    let mut watches = join_all((0..8).map(|n| {
        let prefix = f.key(&format!("{n}/"));
        async move { f.kv.watch(&prefix, from).await.unwrap() }
    }))
    .await;
    f.put("elsewhere", "1").await;
    ask(f, &mut watches).await;
    f.put("3/a", "1").await;
    assert_eq!(f.short(&events(&mut watches[3], 1).await), ["3/a=1"]);
    ask(f, &mut watches).await;
}

pub async fn progress_comes_after_history(f: &Fixture) {
    let from = f.put("a", "0").await;
    for n in 1..20 {
        f.put("a", &n.to_string()).await;
    }
    let mut watch = f.kv.watch(&f.key("a"), from).await.unwrap();
    let outside = f.put("elsewhere", "1").await;
    let heard = ask_again(f, &mut watch, outside).await;
    assert_eq!(heard.len(), 20);
    ask(f, &mut [watch]).await;
}

/// A watch from a distant future says nothing itself.
pub async fn progress_is_not_held_up_by_a_watch_from_the_future(f: &Fixture) {
    let _future = f.watch(f.revision().await + 1_000_000).await;
    let mut watches = [f.kv.watch(&f.key("p/"), f.revision().await + 1).await.unwrap()];
    f.put("elsewhere", "1").await;
    ask(f, &mut watches).await;
}

/// Neither by one that has history to read and nobody who reads it.
pub async fn progress_is_not_held_up_by_an_unread_watch(f: &Fixture) {
    let from = f.put("a", "0").await;
    for n in 1..50 {
        f.put("a", &n.to_string()).await;
    }
    let mut unread = f.watch(from).await;
    let mut watches = [f.kv.watch(&f.key("p/"), f.revision().await + 1).await.unwrap()];
    ask(f, &mut watches).await;
    events(&mut unread, 50).await;
}

pub async fn asked_progress_is_never_ahead_of_events(f: &Fixture) {
    let mut watch = f.watch(f.revision().await + 1).await;
    let write = async {
        for n in 0..100 {
            f.put("a", &n.to_string()).await;
            f.kv.request_progress().await.unwrap();
        }
    };
    let read = async {
        let (mut told, mut count, mut empty) = (0, 0, 0);
        while count < 100 {
            let batch = watch.next().await.unwrap().unwrap();
            assert!(batch.revision >= told, "{} after {told}", batch.revision);
            for event in &batch.events {
                assert!(event.revision > told, "{} was promised to be delivered", event.revision);
                count += 1;
            }
            empty += usize::from(batch.events.is_empty());
            told = batch.revision;
        }
        empty
    };
    let ((), empty) = join(write, read).await;
    assert!(empty > 0, "no progress at all");
}

/// One that nobody reads ends, or keeps everything; the others hear all of it in time.
pub async fn a_stalled_watch_holds_up_nobody(f: &Fixture) {
    let from = f.revision().await + 1;
    let mut stalled = f.watch(from).await;
    let mut lively = f.watch(from).await;
    let writer = |writer: usize| async move {
        for n in 0..100 {
            f.put(&format!("{writer}"), &n.to_string()).await;
        }
    };
    let (heard, _) = join(events(&mut lively, 2000), join_all((0..20).map(writer))).await;
    ask(f, &mut [lively]).await;
    let mut next = heard.iter();
    let mut left = heard.len();
    while left > 0 {
        match stalled.next().await.unwrap() {
            Ok(batch) => {
                for event in &batch.events {
                    assert_eq!(Some(event), next.next(), "a gap");
                    left -= 1;
                }
            }
            Err(KvError::Unavailable { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let reached = heard.len() - left;
    assert!(reached > 0, "not even a beginning");
    if left > 0 {
        // It can be begun again where it stood.
        let mut again = f.watch(heard[reached].revision).await;
        assert_eq!(events(&mut again, left).await, heard[reached..]);
    }
}

const ASK_AGAIN: Duration = Duration::from_millis(100);
