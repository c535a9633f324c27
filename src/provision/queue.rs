//! The queue of keys: each at most once, never two workers on one, failures with a growing pause.
//! Some can wait for a calm moment, up to a deadline: few of those are worked on at a time, before it
//! since the calm may end, and after it since many would slow all else. Pure: it is told the time, and
//! whether it is calm. It holds no more keys than there are Sandboxes.

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

/// Keys that can wait and are worked on at a time, however many workers there are: while it is calm,
/// and past their deadline.
const CALM_MAX: usize = 2;
const OVERDUE_MAX: usize = 8;

/// A clock that goes back by less than this is only told in another order.
const JITTER: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub struct Queue {
    backoff: Backoff,
    /// The time that was told last.
    seen: Timestamp,
    ready: VecDeque<ObjectKey>,
    later: BTreeSet<(Timestamp, ObjectKey)>,
    /// Those of `later` that calm makes ready, in order; and some that are not patient any more.
    patient: VecDeque<ObjectKey>,
    /// Those whose deadline has come; and some that were asked for otherwise since.
    overdue: VecDeque<ObjectKey>,
    slots: HashMap<ObjectKey, Slot>,
    /// Of those that could wait, worked on.
    patient_active: usize,
}

#[derive(Debug, Default)]
struct Slot {
    state: State,
    due: Option<Timestamp>,
    /// It can wait: before it is due for calm, and then for a place.
    is_patient: bool,
    /// The pass under way is one that could wait.
    was_patient: bool,
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

    /// When it is calm, and at `deadline` at the latest. One that is worked on is looked at again
    /// right after.
    pub fn add_patient(&mut self, key: ObjectKey, deadline: Timestamp) {
        let slot = self.slots.entry(key.clone()).or_default();
        if slot.state != State::Idle {
            return self.add(key);
        }
        // Its deadline has come already.
        if slot.is_patient && slot.due.is_none() {
            return;
        }
        let is_new = !std::mem::replace(&mut slot.is_patient, true);
        self.add_at(key.clone(), deadline);
        if is_new {
            self.patient.push_back(key);
        }
    }

    /// The next key, for one worker until [`Self::done`] or [`Self::failed`].
    pub fn take(&mut self, now: Timestamp, is_calm: bool) -> Option<ObjectKey> {
        self.follow(now);
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.later.pop_first()?;
            let slot = self.slots.entry(key.clone()).or_default();
            slot.due = None;
            match slot.is_patient && slot.state == State::Idle {
                true => self.overdue.push_back(key),
                false => self.add(key),
            }
        }
        self.forget_impatient();
        if self.patient_active < OVERDUE_MAX
            && let Some(key) = self.overdue.pop_front()
        {
            self.activate(&key, true);
            return Some(key);
        }
        if let Some(key) = self.ready.pop_front() {
            self.activate(&key, false);
            return Some(key);
        }
        if !is_calm || self.patient_active >= CALM_MAX {
            return None;
        }
        let key = self.patient.pop_front()?;
        self.activate(&key, true);
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

    /// Whether calm would make something ready.
    pub fn has_patient(&self) -> bool {
        !self.patient.is_empty()
    }

    fn activate(&mut self, key: &ObjectKey, was_patient: bool) {
        let slot = self.slots.entry(key.clone()).or_default();
        (slot.state, slot.is_patient, slot.was_patient) = (State::Active, false, was_patient);
        self.patient_active += usize::from(was_patient);
        // The pass will say when to look again.
        if let Some(at) = slot.due.take() {
            self.later.remove(&(at, key.clone()));
        }
    }

    /// What has become ready otherwise waits for nothing: its pass comes anyway.
    fn forget_impatient(&mut self) {
        for (queue, is_due) in [(&mut self.patient, false), (&mut self.overdue, true)] {
            let waits = |slot: &Slot| {
                slot.is_patient && slot.state == State::Idle && slot.due.is_none() == is_due
            };
            while queue.front().is_some_and(|key| !self.slots.get(key).is_some_and(waits)) {
                queue.pop_front();
            }
        }
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
        self.patient_active -= usize::from(std::mem::take(&mut slot.was_patient));
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
        assert_eq!(queue.take(at(0), false), Some(key("a")));
        queue.add(key("a"));
        assert_eq!(queue.take(at(0), false), None, "a worker still has it");
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(0), false), Some(key("a")));
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(0), false), None);
        assert!(queue.slots.is_empty(), "idle keys cost nothing");
    }

    #[test]
    fn the_earliest_time_counts() {
        let mut queue = Queue::default();
        queue.add_at(key("a"), at(100));
        queue.add_at(key("a"), at(50));
        queue.add_at(key("a"), at(70));
        assert_eq!(queue.next_due(), Some(at(50)));
        assert_eq!(queue.take(at(49), false), None);
        assert_eq!(queue.take(at(50), false), Some(key("a")));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nothing() {
        let mut queue = Queue::default();
        queue.add_at(key("a"), at(10_050));
        assert_eq!(queue.take(at(10_000), false), None);
        // Workers look at the clock in one order and take in another.
        assert_eq!(queue.take(at(9_500), false), None);
        assert_eq!(queue.next_due(), Some(at(10_050)));
        assert_eq!(queue.take(at(1_000), false), None);
        assert_eq!(queue.next_due(), Some(at(1_050)));
        queue.add_at(key("a"), at(2_000));
        assert_eq!(queue.take(at(1_050), false), Some(key("a")));
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(100_000), false), None);
    }

    #[test]
    fn who_is_patient_waits_for_calm_up_to_a_deadline() {
        let mut queue = Queue::default();
        for (name, deadline) in [("a", 100), ("b", 101), ("c", 102), ("d", 103), ("e", 104)] {
            queue.add_patient(key(name), at(deadline));
        }
        assert_eq!(queue.take(at(0), false), None);
        assert_eq!(queue.next_due(), Some(at(100)));
        // Asked for otherwise, it waits no longer, and is not taken twice.
        queue.add(key("a"));
        assert_eq!(queue.take(at(0), false), Some(key("a")));
        // Few at a time, in order.
        assert_eq!(queue.take(at(1), true), Some(key("b")));
        assert_eq!(queue.take(at(1), true), Some(key("c")));
        assert_eq!(queue.take(at(1), true), None);
        queue.done(&key("b"), None);
        assert_eq!(queue.take(at(1), false), None);
        assert_eq!(queue.take(at(1), true), Some(key("d")));
        // Calm or not, and some more of them: its time has come.
        assert!(queue.has_patient());
        assert_eq!(queue.take(at(104), false), Some(key("e")));
        assert!(!queue.has_patient());
        // One that is worked on is looked at once more, at once.
        queue.add_patient(key("e"), at(1_000));
        assert!(!queue.has_patient());
        queue.failed(&key("c"), at(104), 0.0);
        for name in ["a", "d", "e"] {
            queue.done(&key(name), None);
        }
        assert_eq!(queue.take(at(104), false), Some(key("e")));
        queue.done(&key("e"), None);
        assert_eq!(queue.take(at(109), false), Some(key("c")));
        queue.done(&key("c"), None);
        assert!(queue.slots.is_empty() && queue.later.is_empty() && queue.patient.is_empty());
        assert!(queue.overdue.is_empty());
        assert_eq!(queue.patient_active, 0);
    }

    #[test]
    fn past_their_deadline_they_come_first_and_still_few_at_a_time() {
        let mut queue = Queue::default();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
        names.into_iter().for_each(|name| queue.add_patient(key(name), at(100)));
        queue.add(key("other"));
        // Asked for otherwise, it is one of the others.
        assert_eq!(queue.take(at(100), false), Some(key("a")));
        queue.add(key("b"));
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(at(100), true)).collect();
        assert_eq!(taken, ["c", "d", "e", "f", "g", "h", "i", "other", "b"].map(key));
        // Told once more while it waits for a place, it waits no longer for that.
        queue.add_patient(key("j"), at(150));
        queue.done(&key("a"), None);
        assert_eq!(queue.take(at(101), false), Some(key("j")));
        assert_eq!(queue.take(at(101), false), None);
        queue.done(&key("c"), None);
        assert_eq!(queue.take(at(101), false), Some(key("k")));
        let rest = ["b", "d", "e", "f", "g", "h", "i", "j", "k", "other"];
        rest.iter().for_each(|name| queue.done(&key(name), None));
        assert_eq!(queue.take(at(1_000), true), None);
        assert!(queue.slots.is_empty() && queue.overdue.is_empty());
    }

    #[test]
    fn of_a_deadline_and_a_time_the_earlier_counts() {
        let mut queue = Queue::default();
        queue.add_at(key("a"), at(10));
        queue.add_patient(key("a"), at(100));
        queue.add_patient(key("b"), at(100));
        queue.add_patient(key("b"), at(50));
        assert_eq!(queue.take(at(10), false), Some(key("a")));
        assert_eq!(queue.take(at(50), false), Some(key("b")));
        queue.done(&key("a"), None);
        queue.done(&key("b"), None);
        // The clock is set back: nobody is more patient for it.
        queue.add_patient(key("a"), at(10_050));
        assert_eq!(queue.take(at(10_000), false), None);
        assert_eq!(queue.take(at(1_000), false), None);
        assert_eq!(queue.next_due(), Some(at(1_050)));
        assert_eq!(queue.take(at(1_001), true), Some(key("a")));
    }

    #[test]
    fn failures_pause_longer_and_success_forgets_them() {
        let mut queue = Queue::default();
        queue.add(key("a"));
        let mut pauses = Vec::new();
        let mut now = at(0);
        for _ in 0..20 {
            now = queue.next_due().unwrap_or(now);
            let key = queue.take(now, false).unwrap();
            pauses.push(queue.failed(&key, now, 0.0).as_millis());
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40]);
        assert_eq!(*pauses.last().unwrap(), 60_000);
        now = queue.next_due().unwrap();
        let key = queue.take(now, false).unwrap();
        queue.done(&key, None);
        queue.add(key);
        let key = queue.take(now, false).unwrap();
        assert_eq!(queue.failed(&key, now, 1.0).as_micros(), 2_500);
    }
}
