//! What has gone wrong with a pool lately, and how that slows it down. Pure.
//!
//! After a failure creations start slowly: one, two, four, and so on. Members that end or take too
//! long are replaced at once the first time; if it happens again and no member has become ready in
//! between, with a growing pause, so that a template that can't work costs little.

use std::time::Duration;

use jiff::Timestamp;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The setbacks of one pool; lost with the process.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Setbacks {
    /// The largest next batch; `None` = no failure to recover from.
    batch: Option<usize>,
    /// How often members were lost, and none became ready in between.
    rounds: u32,
    /// Since when, and for how long, nothing is made.
    paused: Option<(Timestamp, Duration)>,
    /// The last ones that were lost, by uid, and why.
    last: Vec<String>,
    cause: String,
    /// How many were ready at the last look, and the template's revision.
    ready: usize,
    template: Option<String>,
    /// When a member that can't start on its node was last given up.
    given_up: Option<Timestamp>,
}

impl Setbacks {
    /// How many may be made in one batch, at most `max`.
    pub(super) fn batch(&self, max: usize) -> usize {
        self.batch.map_or(max, |batch| batch.min(max))
    }

    /// How long nothing is to be made.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        let (since, pause) = self.paused?;
        // `None` if the clock was set back: nobody knows how long it has been.
        let passed = Duration::try_from(now.duration_since(since)).ok()?;
        pause.checked_sub(passed).filter(|left| !left.is_zero())
    }

    /// Why nothing comes of what is made.
    pub(super) fn cause(&self) -> Option<&str> {
        (self.rounds > 1).then_some(&*self.cause)
    }

    /// Whether another member that can't start on its node may be given up: one in `grace`.
    pub(super) fn may_give_up(&self, now: Timestamp, grace: Duration) -> bool {
        self.given_up.is_none_or(|at| {
            Duration::try_from(now.duration_since(at)).map_or(true, |since| since >= grace)
        })
    }

    /// A batch was made.
    pub(super) fn created(&mut self, max: usize) {
        self.batch = self.batch.map(|batch| batch * 2).filter(|batch| *batch < max);
    }

    /// A batch could not be made.
    pub(super) fn failed(&mut self) {
        self.batch = Some(1);
    }

    /// Members were lost, whoever deletes them; the same ones may be told again. The pause is at
    /// most `max`.
    pub(super) fn lost(&mut self, uids: Vec<String>, cause: String, now: Timestamp, max: Duration) {
        if uids.iter().all(|uid| self.last.contains(uid)) {
            return;
        }
        self.last = uids;
        self.failed();
        self.rounds = self.rounds.saturating_add(1);
        self.cause = cause;
        if let Some(doublings) = self.rounds.checked_sub(2) {
            let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(max);
            self.paused = Some((now, pause));
        }
    }

    pub(super) fn gave_up(&mut self, now: Timestamp) {
        self.given_up = Some(now);
    }

    /// So many are ready now, and this is the template: more of them is progress, and another
    /// template is a new beginning.
    pub(super) fn seen(&mut self, ready: usize, template: Option<&str>) {
        if self.template.as_deref() != template {
            *self = Self { template: template.map(str::to_owned), ..Self::default() };
        }
        if ready > self.ready {
            (self.rounds, self.paused) = (0, None);
        }
        self.ready = ready;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    #[test]
    fn after_a_failure_batches_double() {
        let mut setbacks = Setbacks::default();
        setbacks.created(50);
        assert_eq!(setbacks.batch(50), 50, "nothing to recover from");
        setbacks.failed();
        let batches: Vec<_> = (0..8)
            .map(|_| {
                let batch = setbacks.batch(50);
                setbacks.created(50);
                batch
            })
            .collect();
        assert_eq!(batches, [1, 2, 4, 8, 16, 32, 50, 50]);
        setbacks.failed();
        setbacks.created(50);
        setbacks.failed();
        assert_eq!(setbacks.batch(50), 1);
    }

    #[test]
    fn what_is_lost_again_and_again_is_replaced_ever_later() {
        let mut setbacks = Setbacks::default();
        let grace = Duration::from_secs(5);
        let mut pauses = Vec::new();
        for round in 0..6 {
            setbacks.lost(vec![format!("u{round}")], format!("{round}"), at(0), grace);
            setbacks.lost(vec![format!("u{round}")], "told again".into(), at(0), grace);
            pauses.push(setbacks.pause(at(0)).map_or(0, |pause| pause.as_secs()));
        }
        assert_eq!(pauses, [0, 1, 2, 4, 5, 5]);
        assert_eq!(setbacks.cause(), Some("5"));
        assert_eq!(setbacks.pause(at(5)), None, "it is over");
        assert_eq!(setbacks.pause(at(-3600)), None, "the clock was set back");
        setbacks.seen(0, None);
        assert_eq!(setbacks.cause(), Some("5"));
        setbacks.seen(1, None);
        assert_eq!((setbacks.cause(), setbacks.pause(at(0))), (None, None), "one is ready");
        setbacks.lost(vec!["u".into()], "again".into(), at(9), grace);
        setbacks.seen(1, None);
        assert_eq!((setbacks.cause(), setbacks.pause(at(9))), (None, None), "the first time");
        setbacks.lost(vec!["v".into()], "again".into(), at(9), grace);
        setbacks.seen(1, Some("another"));
        assert_eq!(setbacks.pause(at(9)), None, "another template");
        assert_eq!(setbacks.batch(50), 50);
    }

    #[test]
    fn one_is_given_up_at_a_time() {
        let mut setbacks = Setbacks::default();
        let grace = Duration::from_secs(300);
        assert!(setbacks.may_give_up(at(0), grace));
        setbacks.gave_up(at(0));
        assert!(!setbacks.may_give_up(at(299), grace));
        assert!(setbacks.may_give_up(at(300), grace));
        assert!(setbacks.may_give_up(at(-3600), grace), "the clock was set back");
    }
}
