//! The model: what was recorded, what etcd says really happened, and whether the two fit. Pure: no
//! async, no IO, no clock.

pub(crate) mod bounds;
mod digest;
pub(crate) mod history;
mod initial;
mod lists;
mod reads;
pub(crate) mod tests;
pub(crate) mod truth;
mod watches;
mod writes;

use std::fmt;

use self::bounds::Bounds;
use self::history::{History, Micros, Revision};
use self::truth::Truth;

/// One operation that does not fit the model.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) check: Check,
    /// The operation as it was recorded.
    pub(crate) operation: String,
    pub(crate) problem: Problem,
}

/// What part of the model was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Write,
    Get,
    List,
    Watch,
}

/// What should have been and what was.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) expected: String,
    pub(crate) got: String,
}

impl Problem {
    pub(crate) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}: {}", self.check, abridged(&self.operation))?;
        writeln!(f, "  expected: {}", abridged(&self.problem.expected))?;
        write!(f, "  got:      {}", abridged(&self.problem.got))
    }
}

/// Enough of a long record for a terminal; the history on disk has all of it.
fn abridged(text: &str) -> &str {
    &text[..text.floor_char_boundary(600)]
}

/// When a server may say 410.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// Everything comes from the store: only a compaction ends history.
    FromStore,
    /// A watch cache may also forget what is older than the replica's last trouble, or than this
    /// many events.
    FromCache { events: usize },
}

/// What each check needs to know.
pub(crate) struct Judge<'h> {
    pub(crate) history: &'h History,
    pub(crate) truth: Truth,
    pub(crate) bounds: Bounds,
    served: Served,
}

impl<'h> Judge<'h> {
    pub(crate) fn new(history: &'h History, served: Served) -> Self {
        let truth = Truth::new(history.facts.clone());
        let bounds = Bounds::new(history, &truth);
        Self { history, truth, bounds, served }
    }

    /// Whether a request that ended at `end` could be told that `revision` is gone.
    fn may_be_expired(&self, revision: Revision, end: Micros) -> bool {
        let compacted = self
            .history
            .compactions
            .iter()
            .any(|compaction| compaction.start <= end && compaction.revision >= revision);
        let forgotten = match self.served {
            Served::FromStore => false,
            Served::FromCache { events } => {
                let trouble = self.history.troubles.iter().filter(|at| **at <= end).max();
                trouble.is_some_and(|at| revision <= self.bounds.ceiling(*at))
                    || self.truth.after(revision).take(events).count() == events
            }
        };
        compacted || forgotten
    }
}

/// Everything that does not fit, in no particular order.
pub(crate) fn check(history: &History, served: Served) -> Vec<Violation> {
    let judge = Judge::new(history, served);
    let mut found = writes::check(&judge);
    found.extend(reads::check(&judge));
    found.extend(lists::check(&judge));
    found.extend(watches::check(&judge));
    found
}

/// A failure that says nothing of the state: overload, no store, a broken connection (0).
fn is_failure(code: u16) -> bool {
    code == 0 || code == 429 || code >= 500
}

fn violation(check: Check, operation: &impl serde::Serialize, problem: Problem) -> Violation {
    let operation = serde_json::to_string(operation).expect("records serialize");
    Violation { check, operation, problem }
}
