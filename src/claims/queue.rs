//! Claims that wait for stock, first come first served, by what they wait for. In memory: it is
//! made anew from the stored claims when the server starts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use apiserver::meta::ObjectKey;
use tokio::sync::watch;

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
}

#[derive(Debug, Default)]
struct Lines {
    next: u64,
    lines: BTreeMap<Line, BTreeSet<(u64, ObjectKey)>>,
    places: HashMap<ObjectKey, (Line, u64)>,
}

impl Default for Waiting {
    fn default() -> Self {
        let (joined, _) = watch::channel(0);
        Self(Arc::new(Inner { lines: Mutex::default(), joined }))
    }
}

impl Waiting {
    /// Puts a claim at the end of a line, unless it is in one.
    pub(super) fn join(&self, line: &Line, claim: ObjectKey) {
        let mut lines = self.lock();
        if lines.places.contains_key(&claim) {
            return;
        }
        let number = lines.next;
        lines.next += 1;
        lines.places.insert(claim.clone(), (line.clone(), number));
        lines.lines.entry(line.clone()).or_default().insert((number, claim));
        drop(lines);
        self.0.joined.send_modify(|count| *count += 1);
    }

    pub(super) fn leave(&self, claim: &ObjectKey) {
        let mut lines = self.lock();
        let Some((line, number)) = lines.places.remove(claim) else { return };
        if let Some(members) = lines.lines.get_mut(&line) {
            members.remove(&(number, claim.clone()));
            if members.is_empty() {
                lines.lines.remove(&line);
            }
        }
    }

    pub(super) fn len(&self, line: &Line) -> usize {
        self.lock().lines.get(line).map_or(0, BTreeSet::len)
    }

    /// How many are before a claim in its line.
    pub(super) fn position(&self, claim: &ObjectKey) -> Option<usize> {
        let lines = self.lock();
        let (line, number) = lines.places.get(claim)?;
        let line = lines.lines.get(line)?;
        Some(line.range(..(*number, claim.clone())).count())
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

    #[test]
    fn first_come_first_served() {
        let waiting = Waiting::default();
        let claim = |name: &str| ObjectKey::namespaced("ns", name);
        let (one, other) = (Line::pool("ns", "p"), Line::template("ns", "p"));
        for name in ["z", "b", "a"] {
            waiting.join(&one, claim(name));
        }
        waiting.join(&one, claim("z"));
        waiting.join(&other, claim("x"));
        assert_eq!((waiting.len(&one), waiting.len(&other), waiting.total()), (3, 1, 4));
        let positions = ["z", "b", "a", "none"].map(|name| waiting.position(&claim(name)));
        assert_eq!(positions, [Some(0), Some(1), Some(2), None]);
        assert_eq!(waiting.of_pool(&claim("p")), ["z", "b", "a"].map(claim));
        waiting.leave(&claim("z"));
        waiting.leave(&claim("z"));
        let mut heads: Vec<_> = waiting.heads().into_iter().map(|(_, claim)| claim.name).collect();
        heads.sort();
        assert_eq!(heads, ["b", "x"]);
        assert_eq!(waiting.position(&claim("a")), Some(1));
        assert_eq!(one.to_string(), "SandboxWarmPool \"p\"");
    }
}
