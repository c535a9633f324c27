//! Claims that are being answered, so that what can wait lets them pass.
//!
//! What follows a claim (the labels of its Pod, its Events, the member that takes its place) costs
//! the host cluster more than the claim itself, and whoever claims next would wait for it. How long
//! a new member can wait depends on what is left for the next claims.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::clock::Clock;
use apiserver::meta::ObjectKey;
use jiff::Timestamp;
use tokio::time::Instant;

/// How long nobody must have claimed for it to be calm. Whoever claims one after the other leaves
/// less between an answer and the next request, and a burst less between two of its claims, even if
/// for a moment none is being answered.
const CALM_AFTER: Duration = Duration::from_millis(5);

/// Between two looks whether it is calm, for whoever waits for that.
pub const CALM_PERIOD: Duration = Duration::from_millis(5);

/// The claims under way. Clones share them; the default has none.
#[derive(Debug, Clone, Default)]
pub struct Foreground(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    in_flight: AtomicUsize,
    /// When one was last answered, in microseconds of the Unix epoch.
    last: AtomicI64,
    /// By pool, what share of its members is ready.
    stock: Mutex<HashMap<ObjectKey, f64>>,
}

/// A claim that is being answered, until it is dropped.
#[derive(Debug)]
pub struct Answering<'a> {
    of: &'a Inner,
    clock: &'a dyn Clock,
}

impl Foreground {
    pub fn enter<'a>(&'a self, clock: &'a dyn Clock) -> Answering<'a> {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        Answering { of: &self.0, clock }
    }

    /// Whether nobody's claim would be slowed, as far as that can be known.
    pub fn is_calm(&self, now: Timestamp) -> bool {
        // A clock that was set back must not keep it from being calm.
        let since = now.as_microsecond().saturating_sub(self.0.last.load(Ordering::Relaxed));
        self.0.in_flight.load(Ordering::Relaxed) == 0
            && u128::from(since.unsigned_abs()) >= CALM_AFTER.as_micros()
    }

    /// What share of the pool's members is ready, `0.0..=1.0`; of a pool nothing is known of, none.
    pub fn stock(&self, pool: &ObjectKey) -> f64 {
        self.levels().get(pool).copied().unwrap_or_default()
    }

    /// `ready` of the `desired` members of the pool are.
    pub fn set_stock(&self, pool: &ObjectKey, ready: i32, desired: i32) {
        let share = f64::from(ready) / f64::from(desired.max(1));
        self.levels().insert(pool.clone(), share.clamp(0.0, 1.0));
    }

    /// The pool is gone.
    pub fn forget_stock(&self, pool: &ObjectKey) {
        self.levels().remove(pool);
    }

    fn levels(&self) -> MutexGuard<'_, HashMap<ObjectKey, f64>> {
        self.0.stock.lock().expect("no holder of this lock panics")
    }

    /// Waits for calm, no longer than `patience`.
    pub async fn calm(&self, clock: &dyn Clock, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.is_calm(clock.now()) && Instant::now() < deadline {
            tokio::time::sleep(CALM_PERIOD).await;
        }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.of.last.store(self.clock.now().as_microsecond(), Ordering::Relaxed);
        self.of.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use apiserver::clock::ManualClock;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_767_225_600_000 + millis).unwrap()
    }

    #[test]
    fn it_is_calm_some_time_after_the_last_claim() {
        let foreground = Foreground::default();
        assert!(foreground.is_calm(at(0)));
        let clock = ManualClock::new(at(0));
        let clones = foreground.clone();
        let (first, second) = (foreground.enter(&clock), clones.enter(&clock));
        assert!(!foreground.is_calm(at(1_000)));
        clock.set(at(10));
        drop(first);
        assert!(!foreground.is_calm(at(1_000)), "the second is being answered");
        clock.set(at(20));
        drop(second);
        for (millis, calm) in [(20, false), (24, false), (25, true), (-600_000, true)] {
            assert_eq!(foreground.is_calm(at(millis)), calm, "{millis}");
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the shares are exact")]
    fn a_share_of_the_stock_is_ready() {
        let foreground = Foreground::default();
        let pool = ObjectKey::namespaced("ns", "pool");
        assert_eq!(foreground.stock(&pool), 0.0, "nothing is known");
        for (ready, desired, share) in [(1, 4, 0.25), (4, 4, 1.0), (5, 4, 1.0), (0, 0, 0.0)] {
            foreground.clone().set_stock(&pool, ready, desired);
            assert_eq!(foreground.stock(&pool), share, "{ready} of {desired}");
        }
        foreground.set_stock(&pool, 1, 1);
        foreground.forget_stock(&pool);
        assert_eq!(foreground.stock(&pool), 0.0);
    }
}
