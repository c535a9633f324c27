//! The queue of keys: each at most once, never two workers on one, failures with a growing pause.
//! Pure: it is told the time. It holds no more keys than there are Sandboxes.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use apiserver::meta::ObjectKey;
use jiff::{SignedDuration, Timestamp};

/// The pauses after failures.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(5), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// Doubles with every failure; `jitter` in `0.0..1.0` takes off up to a half.
    fn pause(self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.min.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.max).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A clock that goes back by less than this is only told in another order.
const JITTER: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub struct Queue {
    backoff: Backoff,
    /// The time that was told last.
    seen: Timestamp,
    ready: VecDeque<ObjectKey>,
    later: BTreeSet<(Timestamp, ObjectKey)>,
    slots: HashMap<ObjectKey, Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    state: State,
    due: Option<Timestamp>,
    failures: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Ready,
    /// A worker has it.
    Active,
    /// A worker has it, and it has been asked for again meanwhile.
    ActiveAgain,
}

impl Queue {
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, ..Self::default() }
    }

    /// As soon as a worker is free.
    pub fn add(&mut self, key: ObjectKey) {
        let slot = self.slots.entry(key.clone()).or_default();
        match slot.state {
            State::Idle => {
                slot.state = State::Ready;
                self.ready.push_back(key);
            }
            State::Active => slot.state = State::ActiveAgain,
            State::Ready | State::ActiveAgain => {}
        }
    }

    /// Not before `at`; of several times the earliest counts.
    pub fn add_at(&mut self, key: ObjectKey, at: Timestamp) {
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(old) = slot.due.replace(at) {
            self.later.remove(&(old, key.clone()));
        }
        self.later.insert((at, key));
    }

    /// The next key, for one worker until [`Self::done`] or [`Self::failed`].
    pub fn take(&mut self, now: Timestamp) -> Option<ObjectKey> {
        self.follow(now);
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.later.pop_first()?;
            self.slots.entry(key.clone()).or_default().due = None;
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        let slot = self.slots.entry(key.clone()).or_default();
        slot.state = State::Active;
        // The pass will say when to look again.
        if let Some(at) = slot.due.take() {
            self.later.remove(&(at, key.clone()));
        }
        Some(key)
    }

    /// The pass succeeded; it may want another.
    pub fn done(&mut self, key: &ObjectKey, again_at: Option<Timestamp>) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.failures = 0;
        }
        if let Some(at) = again_at {
            self.add_at(key.clone(), at);
        }
        self.release(key);
    }

    /// The pass failed: again after a pause, how long is returned.
    pub fn failed(&mut self, key: &ObjectKey, now: Timestamp, jitter: f64) -> Duration {
        let slot = self.slots.entry(key.clone()).or_default();
        slot.failures = slot.failures.saturating_add(1);
        let pause = self.backoff.pause(slot.failures, jitter);
        self.add_at(key.clone(), now.saturating_add(pause).unwrap_or(now));
        self.release(key);
        pause
    }

    /// When the next waiting key becomes ready.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, _)| *at)
    }

    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// If the clock was set back, so is what is due: nothing waits longer for it.
    fn follow(&mut self, now: Timestamp) {
        let back = self.seen.duration_since(now);
        if back.is_positive() && back < JITTER {
            return;
        }
        self.seen = now;
        if back.is_positive() {
            for (at, key) in std::mem::take(&mut self.later) {
                let at = at.checked_sub(back).unwrap_or(now);
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.due = Some(at);
                }
                self.later.insert((at, key));
            }
        }
    }

    fn release(&mut self, key: &ObjectKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let again = slot.state == State::ActiveAgain;
        slot.state = State::Idle;
        if again {
            self.add(key.clone());
        } else if slot.due.is_none() && slot.failures == 0 {
            self.slots.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::namespaced("ns", name)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    #[test]
    fn a_key_is_queued_once_and_worked_on_by_one() {
        let mut queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.take(at(0)), Some(key("a")));
        queue.add(key("a"));
        assert_eq!(queue.take(at(0)), None, "a worker still has it");
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(0)), Some(key("a")));
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(0)), None);
        assert!(queue.slots.is_empty(), "idle keys cost nothing");
    }

    #[test]
    fn the_earliest_time_counts() {
        let mut queue = Queue::default();
        queue.add_at(key("a"), at(100));
        queue.add_at(key("a"), at(50));
        queue.add_at(key("a"), at(70));
        assert_eq!(queue.next_due(), Some(at(50)));
        assert_eq!(queue.take(at(49)), None);
        assert_eq!(queue.take(at(50)), Some(key("a")));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nothing() {
        let mut queue = Queue::default();
        queue.add_at(key("a"), at(10_050));
        assert_eq!(queue.take(at(10_000)), None);
        // Workers look at the clock in one order and take in another.
        assert_eq!(queue.take(at(9_500)), None);
        assert_eq!(queue.next_due(), Some(at(10_050)));
        assert_eq!(queue.take(at(1_000)), None);
        assert_eq!(queue.next_due(), Some(at(1_050)));
        queue.add_at(key("a"), at(2_000));
        assert_eq!(queue.take(at(1_050)), Some(key("a")));
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(100_000)), None);
    }

    #[test]
    fn failures_pause_longer_and_success_forgets_them() {
        let mut queue = Queue::default();
        queue.add(key("a"));
        let mut pauses = Vec::new();
        let mut now = at(0);
        for _ in 0..20 {
            now = queue.next_due().unwrap_or(now);
            let key = queue.take(now).unwrap();
            pauses.push(queue.failed(&key, now, 0.0).as_millis());
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(*pauses.last().unwrap(), 60_000);
        now = queue.next_due().unwrap();
        let key = queue.take(now).unwrap();
        queue.done(&key, None);
        queue.add(key);
        let key = queue.take(now).unwrap();
        assert_eq!(queue.failed(&key, now, 1.0).as_micros(), 2_500);
    }
}
