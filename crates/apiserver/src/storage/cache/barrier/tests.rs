use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::{join_all, poll_immediate};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::super::super::{
    Expect, Got, KvError, KvWatch, Listed, Outcome, Page, ResourceStore, Write,
};
use super::super::state::State;
use super::super::{CacheOptions, Counters, Inner};
use super::*;
use crate::meta::{GroupResource, Gvk};
use crate::status::Reason;
use crate::tasks::CancellationToken;

/// A store that counts what it is asked, and answers a read when it is let.
#[derive(Debug)]
struct Asked {
    reads: AtomicUsize,
    progress: AtomicUsize,
    answers: Semaphore,
    revision: AtomicI64,
    away: AtomicBool,
}

impl Asked {
    fn new(answers: usize) -> Arc<Self> {
        Arc::new(Self {
            reads: AtomicUsize::new(0),
            progress: AtomicUsize::new(0),
            answers: Semaphore::new(answers),
            revision: AtomicI64::new(7),
            away: AtomicBool::new(false),
        })
    }

    /// Reads and requests for progress so far.
    fn counts(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.progress.load(Ordering::SeqCst))
    }

    fn check(&self) -> Result<(), KvError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(away());
        }
        Ok(())
    }
}

fn away() -> KvError {
    KvError::Unavailable { detail: "away".into() }
}

#[async_trait]
impl Kv for Asked {
    async fn get(&self, _: &str, _: Option<Revision>) -> Result<Got, KvError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        self.check()?;
        Ok(Got { kv: None, revision: self.revision.load(Ordering::SeqCst) })
    }

    async fn request_progress(&self) -> Result<(), KvError> {
        self.progress.fetch_add(1, Ordering::SeqCst);
        self.check()
    }

    async fn list(&self, _: &str, _: Page) -> Result<Listed, KvError> {
        Err(away())
    }

    async fn count(&self, _: &str) -> Result<(u64, Revision), KvError> {
        Err(away())
    }

    async fn txn(&self, _: Vec<(String, Expect)>, _: Vec<Write>) -> Result<Outcome, KvError> {
        Err(away())
    }

    async fn watch(&self, _: &str, _: Revision) -> Result<KvWatch, KvError> {
        Err(away())
    }

    async fn compact(&self, _: Revision) -> Result<(), KvError> {
        Err(away())
    }

    async fn health(&self) -> Result<(), KvError> {
        Err(away())
    }
}

/// Time is paused: who waits for nothing is found out at once.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("an answer")
}

/// A cache without anything that fills or follows it: the test says how far it has come.
fn cache(kv: &Arc<Asked>, reached: Revision) -> Inner {
    let resource = GroupResource { group: "g".into(), resource: "things".into() };
    let gvk = Gvk::new("g", "v", "Thing");
    let store = ResourceStore::new(kv.clone(), "/registry", gvk, resource, true, &[]);
    let options = CacheOptions::default();
    Inner {
        state: Mutex::new(State::new(0, 0, &options)),
        reached: tokio::sync::watch::Sender::new(reached),
        barrier: Barrier::default(),
        counters: Counters::default(),
        stopping: CancellationToken::new(),
        store,
        options,
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_during_a_reading_shares_the_next() {
    let kv = Asked::new(0);
    let barrier = Barrier::default();
    let now = || Box::pin(barrier.now(kv.clone(), "/k", 100));
    let mut first = now();
    assert!(poll_immediate(&mut first).await.is_none());
    let mut others: Vec<_> = (0..50).map(|_| now()).collect();
    for other in &mut others {
        assert!(poll_immediate(other).await.is_none());
    }
    assert_eq!(kv.counts(), (1, 0), "one reading at a time");
    kv.answers.add_permits(1);
    assert_eq!(in_time(first).await.unwrap(), 7);
    // The first answer may be older than the others' questions.
    kv.revision.store(9, Ordering::SeqCst);
    assert!(poll_immediate(&mut others[0]).await.is_none());
    kv.answers.add_permits(1);
    for other in in_time(join_all(others)).await {
        assert_eq!(other.unwrap(), 9);
    }
    assert_eq!(kv.counts(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_nobody_along() {
    let kv = Asked::new(0);
    let barrier = Barrier::default();
    let now = || Box::pin(barrier.now(kv.clone(), "/k", 100));
    let (mut reading, mut second, mut third) = (now(), now(), now());
    for waiter in [&mut reading, &mut second, &mut third] {
        assert!(poll_immediate(waiter).await.is_none());
    }
    // In the middle of its reading, and one of the two who share the next.
    drop((reading, second));
    kv.answers.add_permits(1);
    assert_eq!(in_time(third).await.unwrap(), 7);
    // Or everybody.
    let (mut reading, mut second) = (now(), now());
    assert!(poll_immediate(&mut reading).await.is_none());
    assert!(poll_immediate(&mut second).await.is_none());
    drop((reading, second));
    kv.answers.add_permits(1);
    assert_eq!(in_time(now()).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn progress_is_asked_for_when_the_cache_is_behind() {
    for (reached, asked) in [(6, 1), (7, 0), (8, 0)] {
        let kv = Asked::new(1);
        assert_eq!(Barrier::default().now(kv.clone(), "/k", reached).await.unwrap(), 7);
        assert_eq!(kv.counts(), (1, asked), "{reached}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_in_time_needs_no_question() {
    let kv = Asked::new(0);
    let cache = cache(&kv, 5);
    let arrives = async {
        sleep(Duration::from_millis(60)).await;
        cache.reached.send_replace(6);
        sleep(Duration::from_millis(30)).await;
        cache.reached.send_replace(9);
    };
    let waiting = join_all([4, 5, 6, 8].map(|revision| cache.wait_for(revision)));
    let (waited, ()) = tokio::join!(waiting, arrives);
    assert!(waited.iter().all(Result::is_ok), "{waited:?}");
    assert_eq!(kv.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn many_who_wait_ask_like_one() {
    let kv = Asked::new(0);
    let cache = cache(&kv, 5);
    // They come one after the other, so their clocks strike at different times.
    let waiting = join_all((0..100).map(|number| {
        let cache = &cache;
        async move {
            sleep(Duration::from_millis(number)).await;
            cache.wait_for(6).await
        }
    }));
    let arrives = async {
        sleep(Duration::from_millis(1000)).await;
        cache.reached.send_replace(6);
    };
    let (waited, ()) = tokio::join!(waiting, arrives);
    assert!(waited.iter().all(Result::is_ok));
    let (reads, progress) = kv.counts();
    // At most every 80 ms, at least every 200 ms.
    assert_eq!(reads, 0);
    assert!((5..=12).contains(&progress), "{progress}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_how_far_the_cache_is() {
    let kv = Asked::new(0);
    // Even if nobody can be asked.
    kv.away.store(true, Ordering::SeqCst);
    let cache = cache(&kv, 5);
    let began = Instant::now();
    let arrives = async {
        sleep(Duration::from_millis(500)).await;
        cache.reached.send_replace(6);
    };
    let (waited, ()) = tokio::join!(cache.wait_for(7), arrives);
    assert_eq!(began.elapsed(), cache.options.freshness_wait);
    let error = waited.unwrap_err();
    assert_eq!((error.code(), error.reason()), (504, &Reason::Timeout));
    assert!(error.message().contains("Too large resource version: 7, current: 6"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn now_is_what_the_store_has_and_the_cache_reaches() {
    let kv = Asked::new(1);
    let cache = cache(&kv, 5);
    let arrives = async {
        sleep(Duration::from_millis(20)).await;
        cache.reached.send_replace(7);
    };
    let began = Instant::now();
    let asking = async { (cache.wait_for_now().await.unwrap(), began.elapsed()) };
    let (now, ()) = tokio::join!(asking, arrives);
    assert_eq!(now, (7, Duration::from_millis(20)));
    assert_eq!(kv.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_said_at_once_and_asked_again() {
    let kv = Asked::new(0);
    kv.away.store(true, Ordering::SeqCst);
    // Far enough, but who knows that?
    let cache = cache(&kv, 7);
    let began = Instant::now();
    let asking = join_all((0..5).map(|_| cache.wait_for_now()));
    let (answers, ()) = tokio::join!(asking, async { kv.answers.add_permits(10) });
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!((error.code(), error.reason()), (503, &Reason::ServiceUnavailable));
    }
    assert_eq!((began.elapsed(), kv.counts()), (Duration::ZERO, (2, 0)));
    kv.away.store(false, Ordering::SeqCst);
    assert_eq!(cache.wait_for_now().await.unwrap(), 7);
    assert_eq!(kv.counts(), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_a_stopped_server_would_not_learn() {
    let cache = cache(&Asked::new(0), 5);
    assert!(cache.wait_for(5).await.is_ok());
    let begun = Instant::now();
    let mut waiting = Box::pin(cache.wait_for(6));
    assert!(poll_immediate(&mut waiting).await.is_none());
    cache.stopping.cancel();
    let error = waiting.await.expect_err("nobody tells it of 6");
    assert_eq!((error.code(), begun.elapsed()), (503, Duration::ZERO));
    assert!(cache.wait_for(5).await.is_ok(), "what is there is answered");
}
