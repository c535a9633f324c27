//! Claims that wait for stock, first come first served, by what they wait for. In memory, and the
//! same in every replica: the order is that of the moments that are stored with the claims.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use apiserver::meta::ObjectKey;
use jiff::{Timestamp, Unit};
use tokio::sync::{SetOnce, watch};

/// What a claim waits for: the stock of one pool, or of all pools of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Line {
    kind: &'static str,
    key: ObjectKey,
}

impl Line {
    pub(super) fn pool(namespace: &str, name: &str) -> Self {
        Self { kind: "SandboxWarmPool", key: ObjectKey::namespaced(namespace, name) }
    }

    pub(super) fn template(namespace: &str, name: &str) -> Self {
        Self { kind: "SandboxTemplate", key: ObjectKey::namespaced(namespace, name) }
    }

    /// Whether it is the line of this pool.
    pub(super) fn is_of_pool(&self, key: &ObjectKey) -> bool {
        self.kind == "SandboxWarmPool" && self.key == *key
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.key.name)
    }
}

/// All lines. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Waiting(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Mutex<Lines>,
    joined: watch::Sender<u64>,
    /// Set once everybody who waited at the start is in a line.
    filled: SetOnce<()>,
}

#[derive(Debug, Default)]
struct Lines {
    /// The latest moment that was given or seen.
    latest: Timestamp,
    lines: BTreeMap<Line, BTreeSet<(Timestamp, ObjectKey)>>,
    /// Who is about to join.
    seats: HashMap<Line, usize>,
    places: HashMap<ObjectKey, Place>,
}

#[derive(Debug)]
struct Place {
    line: Line,
    since: Timestamp,
    /// Sandboxes that it waits for.
    count: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        let (joined, _) = watch::channel(0);
        Self(Arc::new(Inner { lines: Mutex::default(), joined, filled: SetOnce::new() }))
    }
}

/// A place in a line that is kept for a claim until it has joined or was given up.
#[derive(Debug)]
pub(super) struct Seat {
    waiting: Waiting,
    line: Line,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut lines = self.waiting.lock();
        if let Some(seats) = lines.seats.get_mut(&self.line) {
            *seats -= 1;
            if *seats == 0 {
                lines.seats.remove(&self.line);
            }
        }
    }
}

impl Waiting {
    /// A place for one more, if there are fewer than `max`.
    pub(super) fn seat(&self, line: &Line, max: usize) -> Option<Seat> {
        let mut lines = self.lock();
        let coming = lines.seats.get(line).copied().unwrap_or_default();
        let waiting = lines.lines.get(line).map_or(0, BTreeSet::len);
        if waiting + coming >= max {
            return None;
        }
        lines.seats.insert(line.clone(), coming + 1);
        drop(lines);
        Some(Seat { waiting: self.clone(), line: line.clone() })
    }

    /// A moment for whoever comes next, in whole microseconds: after all that are known, even if
    /// the clock was set back.
    pub(super) fn moment(&self, now: Timestamp) -> Timestamp {
        let now = now.round(Unit::Microsecond).unwrap_or(now);
        let mut lines = self.lock();
        let after = Timestamp::from_microsecond(lines.latest.as_microsecond() + 1);
        lines.latest = after.map_or(now, |after| after.max(now));
        lines.latest
    }

    /// Lets a claim wait for `count` Sandboxes since a moment, unless it is in a line.
    pub(super) fn join(&self, line: &Line, claim: ObjectKey, since: Timestamp, count: usize) {
        let mut lines = self.lock();
        if lines.places.contains_key(&claim) {
            return;
        }
        lines.latest = lines.latest.max(since);
        let place = Place { line: line.clone(), since, count };
        lines.places.insert(claim.clone(), place);
        lines.lines.entry(line.clone()).or_default().insert((since, claim));
        drop(lines);
        self.0.joined.send_modify(|count| *count += 1);
    }

    pub(super) fn leave(&self, claim: &ObjectKey) {
        let mut lines = self.lock();
        let Some(Place { line, since, .. }) = lines.places.remove(claim) else { return };
        if let Some(members) = lines.lines.get_mut(&line) {
            members.remove(&(since, claim.clone()));
            if members.is_empty() {
                lines.lines.remove(&line);
            }
        }
    }

    pub(super) fn len(&self, line: &Line) -> usize {
        self.lock().lines.get(line).map_or(0, BTreeSet::len)
    }

    /// Sandboxes that those in a line wait for.
    pub(super) fn promised(&self, line: &Line) -> usize {
        let lines = self.lock();
        let waiting = lines.lines.get(line).into_iter().flatten();
        waiting.filter_map(|(_, claim)| lines.places.get(claim)).map(|place| place.count).sum()
    }

    /// How many are before a claim in its line.
    pub(super) fn position(&self, claim: &ObjectKey) -> Option<usize> {
        let lines = self.lock();
        let Place { line, since, .. } = lines.places.get(claim)?;
        let line = lines.lines.get(line)?;
        Some(line.range(..(*since, claim.clone())).count())
    }

    /// The lines in which somebody waits, each with its first.
    pub(super) fn heads(&self) -> Vec<(Line, ObjectKey)> {
        let lines = self.lock();
        let heads = lines.lines.iter().filter_map(|(line, members)| {
            members.first().map(|(_, claim)| (line.clone(), claim.clone()))
        });
        heads.collect()
    }

    /// Who is next in a line.
    pub(super) fn first(&self, line: &Line) -> Option<ObjectKey> {
        self.lock().lines.get(line)?.first().map(|(_, claim)| claim.clone())
    }

    /// Those who wait for a pool.
    pub(super) fn of_pool(&self, pool: &ObjectKey) -> Vec<ObjectKey> {
        let lines = self.lock();
        let all = lines.lines.iter().filter(|(line, _)| line.is_of_pool(pool));
        all.flat_map(|(_, members)| members.iter().map(|(_, claim)| claim.clone())).collect()
    }

    /// All who wait.
    pub(super) fn total(&self) -> usize {
        self.lock().places.len()
    }

    /// Everybody who waited at the start is in a line.
    pub(super) fn fill(&self) {
        // It may be set already.
        _ = self.0.filled.set(());
    }

    pub(super) async fn filled(&self) {
        self.0.filled.wait().await;
    }

    pub(super) fn is_filled(&self) -> bool {
        self.0.filled.initialized()
    }

    /// Changes whenever somebody joins.
    pub(super) fn joined(&self) -> watch::Receiver<u64> {
        self.0.joined.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(microsecond: i64) -> Timestamp {
        Timestamp::from_microsecond(microsecond).unwrap()
    }

    #[test]
    fn first_come_first_served() {
        let waiting = Waiting::default();
        let claim = |name: &str| ObjectKey::namespaced("ns", name);
        let (one, other) = (Line::pool("ns", "p"), Line::template("ns", "p"));
        // In whatever order it hears of them.
        for (name, since) in [("a", 3), ("z", 1), ("b", 2)] {
            waiting.join(&one, claim(name), at(since), 2);
        }
        waiting.join(&one, claim("z"), at(9), 5);
        waiting.join(&other, claim("x"), at(5), 1);
        assert_eq!((waiting.len(&one), waiting.len(&other), waiting.total()), (3, 1, 4));
        assert_eq!((waiting.promised(&one), waiting.promised(&other)), (6, 1));
        let positions = ["z", "b", "a", "none"].map(|name| waiting.position(&claim(name)));
        assert_eq!(positions, [Some(0), Some(1), Some(2), None]);
        assert_eq!(waiting.of_pool(&claim("p")), ["z", "b", "a"].map(claim));
        waiting.leave(&claim("z"));
        waiting.leave(&claim("z"));
        let mut heads: Vec<_> = waiting.heads().into_iter().map(|(_, claim)| claim.name).collect();
        heads.sort();
        assert_eq!(heads, ["b", "x"]);
        assert_eq!((waiting.position(&claim("a")), waiting.promised(&one)), (Some(1), 4));
        assert_eq!(one.to_string(), "SandboxWarmPool \"p\"");
    }

    #[test]
    fn a_line_has_so_many_seats() {
        let (waiting, line) = (Waiting::default(), Line::pool("ns", "p"));
        let claim = |name: &str| ObjectKey::namespaced("ns", name);
        let first = waiting.seat(&line, 2).unwrap();
        let second = waiting.seat(&line, 2).unwrap();
        assert!(waiting.seat(&line, 2).is_none());
        assert!(waiting.seat(&Line::pool("ns", "q"), 2).is_some());
        drop(second);
        waiting.join(&line, claim("a"), at(1), 1);
        // It has both until it gives the seat up.
        assert!(waiting.seat(&line, 2).is_none());
        drop(first);
        drop(waiting.seat(&line, 2).unwrap());
        assert!(waiting.lock().seats.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_changes_no_order() {
        let waiting = Waiting::default();
        assert_eq!(waiting.moment(at(100)), at(100));
        assert_eq!(waiting.moment(at(50)), at(101));
        // Nor does another replica's that is ahead.
        waiting.join(&Line::pool("ns", "p"), ObjectKey::namespaced("ns", "c"), at(500), 1);
        assert_eq!(waiting.moment(at(200)), at(501));
        assert_eq!(waiting.moment(at(600)), at(600));
        let nanos = Timestamp::from_nanosecond(1_000_001_499).unwrap();
        assert_eq!(waiting.moment(nanos), at(1_000_001));
    }
}
