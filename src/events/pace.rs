//! How many Events are written. Pure: it is told the time.
//!
//! Of one object 25, then one in five minutes: the filter of client-go's `tools/record`
//! (`EventSourceObjectSpamFilter`), so that something that is always wrong doesn't cost for ever.
//! Over all objects 25 a second: a burst of claims must not become as many writes to the cluster.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::bucket::{Bucket, Rate};
use crate::cluster::events::{Event, Severity, Subject};

/// Objects whose Events are counted, in each of two generations.
const OBJECTS_MAX: usize = 2_048;

type Counted = (Subject, Severity);

/// The bounds as they are used up.
#[derive(Debug)]
pub(super) struct Pace {
    all: Bucket,
    object_rate: Rate,
    young: HashMap<Counted, Bucket>,
    /// Forgotten when the young are too many: those not seen since.
    old: HashMap<Counted, Bucket>,
}

impl Pace {
    pub(super) fn new(rate: Rate, object_rate: Rate) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self { all: Bucket::new(rate), object_rate, young, old }
    }

    /// Whether its object may have another Event.
    pub(super) fn admits(&mut self, event: &Event, now: Timestamp) -> bool {
        let counted = (event.about.clone(), event.severity);
        if !self.young.contains_key(&counted) {
            if self.young.len() >= OBJECTS_MAX {
                self.old = std::mem::take(&mut self.young);
            }
            let known = self.old.remove(&counted);
            let bucket = known.unwrap_or_else(|| Bucket::new(self.object_rate));
            self.young.insert(counted.clone(), bucket);
        }
        self.young.get_mut(&counted).is_some_and(|bucket| bucket.take(1, now))
    }

    /// Zero if the next Event may be written now, and then it counts; else how long to wait.
    pub(super) fn turn(&mut self, now: Timestamp) -> Duration {
        if self.all.take(1, now) {
            return Duration::ZERO;
        }
        self.all.wait(1, now).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use apiserver::meta::ObjectKey;

    use super::*;

    fn event(name: &str) -> Event {
        let key = ObjectKey::namespaced("ns", name);
        let about = Subject { kind: "SandboxClaim", key, uid: "u".into() };
        Event::normal(about, ("R", "A"), "")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn pace() -> Pace {
        let config = super::super::Config::default();
        Pace::new(config.rate, config.object_rate)
    }

    #[test]
    fn an_object_has_a_burst_and_then_one_in_five_minutes() {
        let mut pace = pace();
        let admitted = |pace: &mut Pace, name: &str, now| {
            (0..100).filter(|_| pace.admits(&event(name), at(now))).count()
        };
        assert_eq!(admitted(&mut pace, "a", 0), 25);
        assert_eq!(admitted(&mut pace, "a", 299), 0);
        assert_eq!(admitted(&mut pace, "a", 300), 1);
        assert_eq!(admitted(&mut pace, "b", 300), 25, "another object");
        let warning = Event { severity: Severity::Warning, ..event("a") };
        assert!(pace.admits(&warning, at(300)), "warnings are counted by themselves");
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let mut pace = pace();
        for index in 0..3 * OBJECTS_MAX {
            while pace.admits(&event("noisy"), at(0)) {}
            assert!(pace.admits(&event(&index.to_string()), at(0)));
            assert!(pace.young.len() + pace.old.len() <= 2 * OBJECTS_MAX);
        }
        assert!(!pace.admits(&event("noisy"), at(0)), "who is seen is not forgotten");
    }

    #[test]
    fn all_objects_share_a_rate() {
        let mut pace = pace();
        let turns = |pace: &mut Pace, now| (0..1_000).filter(|_| pace.turn(now).is_zero()).count();
        assert_eq!(turns(&mut pace, at(0)), 200);
        assert_eq!(pace.turn(at(0)), Duration::from_millis(40));
        assert_eq!(turns(&mut pace, at(2)), 50);
    }
}
