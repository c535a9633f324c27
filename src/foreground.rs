//! Claims that are being answered, so that what can wait lets them pass.
//!
//! What follows a claim (the labels of its Pod, its Events) costs the host cluster more than the
//! claim itself, and whoever claims next would wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::clock::Clock;
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
}
