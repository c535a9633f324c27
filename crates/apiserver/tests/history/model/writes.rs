//! Writes: what was acknowledged is there once and as told, what was refused is not, and the order
//! is that of real time.

use std::collections::{HashMap, HashSet};

use super::history::{Action, Content, Seen, Write, WriteOutcome};
use super::truth::Live;
use super::{Check, Judge, Problem, Violation, violation};

pub(super) fn check(judge: &Judge<'_>) -> Vec<Violation> {
    let writes = &judge.history.writes;
    let mut found: Vec<Violation> = writes
        .iter()
        .filter_map(|write| Some(violation(Check::Write, write, judge.write(write).err()?)))
        .collect();
    found.extend(judge.unexplained());
    found.extend(judge.deleted_twice());
    found
}

impl Judge<'_> {
    fn write(&self, write: &Write) -> Result<(), Problem> {
        match &write.outcome {
            WriteOutcome::Stored(seen) => self.stored(write, seen),
            WriteOutcome::Deleted { uid } => self.deleted(write, uid),
            WriteOutcome::Refused { code, reason } => {
                if let Some(value) = write.action.value()
                    && !self.truth.written(value).is_empty()
                {
                    return Err(Problem::new("a refused write leaves nothing", value));
                }
                self.refused(write, *code, reason)
            }
            WriteOutcome::Unknown { .. } => {
                let Some(value) = write.action.value() else { return Ok(()) };
                match self.truth.written(value) {
                    [] => Ok(()),
                    [fact] => self.in_time(write, *fact).and_then(|()| self.fits(write, *fact)),
                    _ => Err(Problem::new("a write happens at most once", "it happened again")),
                }
            }
        }
    }

    fn stored(&self, write: &Write, seen: &Seen) -> Result<(), Problem> {
        let value = write.action.value().unwrap_or_default();
        if seen.key != write.key || seen.content.value != value {
            return Err(Problem::new(format!("{value} in {}", write.key), format!("{seen:?}")));
        }
        let [fact] = self.truth.written(value) else {
            let times = self.truth.written(value).len();
            return Err(Problem::new(
                format!("an acknowledged write of {value} exactly once in etcd"),
                format!("{times} times"),
            ));
        };
        let true_fact = &self.truth.facts()[*fact];
        if true_fact.revision != seen.revision
            || true_fact.key != seen.key
            || true_fact.content.as_ref() != Some(&seen.content)
        {
            return Err(Problem::new(format!("as in etcd: {true_fact:?}"), format!("{seen:?}")));
        }
        self.in_time(write, *fact)?;
        self.fits(write, *fact)
    }

    fn deleted(&self, write: &Write, uid: &str) -> Result<(), Problem> {
        let [fact] = self.truth.deleted(uid) else {
            let times = self.truth.deleted(uid).len();
            return Err(Problem::new(
                format!("{uid} deleted exactly once in etcd"),
                format!("{times} times"),
            ));
        };
        if self.truth.facts()[*fact].key != write.key {
            return Err(Problem::new(&write.key, &self.truth.facts()[*fact].key));
        }
        self.in_time(write, *fact)?;
        self.fits(write, *fact)
    }

    /// A write that begins after something was seen comes after it.
    fn in_time(&self, write: &Write, fact: usize) -> Result<(), Problem> {
        let floor = self.bounds.floor(write.span.start);
        let revision = self.truth.facts()[fact].revision;
        if revision <= floor {
            return Err(Problem::new(
                format!("a revision above {floor}, which was seen before the write began"),
                revision.to_string(),
            ));
        }
        Ok(())
    }

    /// The fact is what the action makes of the state before.
    fn fits(&self, write: &Write, fact: usize) -> Result<(), Problem> {
        let before = self.truth.before(fact);
        let after = self.truth.facts()[fact].content.as_ref();
        let wrong =
            |expected: &str| Err(Problem::new(expected, format!("{before:?} -> {after:?}")));
        if let Some(expected) = write.action.expected()
            && before.is_none_or(|before| before.revision != expected)
        {
            return wrong(&format!("written over revision {expected} alone"));
        }
        match (&write.action, before, after) {
            (Action::Create(draft), None, Some(after)) => {
                if (&after.value, &after.color, &after.shade)
                    != (&draft.value, &draft.color, &draft.shade)
                    || after.generation != 1
                {
                    return wrong("the object as it was sent, generation 1");
                }
            }
            (Action::Update(draft, _), Some(before), Some(after)) => {
                if (&after.value, &after.color, &after.shade)
                    != (&draft.value, &draft.color, &draft.shade)
                    || !is_next(before.content, after)
                {
                    return wrong("the object as it was sent, one generation on");
                }
            }
            (Action::Patch { color, .. }, Some(before), Some(after)) => {
                let color = color.as_ref().unwrap_or(&before.content.color);
                if after.color != *color
                    || after.shade != before.content.shade
                    || !is_next(before.content, after)
                {
                    return wrong("the patch over the object before");
                }
            }
            (Action::Delete { .. }, Some(_), None) => {}
            _ => return wrong("a state in which the write is possible"),
        }
        Ok(())
    }

    /// The reason of a refusal must have been true at some moment of the request.
    fn refused(&self, write: &Write, code: u16, reason: &str) -> Result<(), Problem> {
        let span = &write.span;
        let window = (self.bounds.floor(span.start), self.bounds.ceiling(span.end));
        let expected = write.action.expected();
        let was =
            |wanted: &dyn Fn(Option<Live<'_>>) -> bool| self.truth.was(&write.key, window, wanted);
        let (true_once, text) = match (code, reason) {
            (429, _) => return Ok(()),
            (404, _) => (was(&|object| object.is_none()), "the object absent"),
            (409, "AlreadyExists") => (was(&|object| object.is_some()), "the object present"),
            (409, "Conflict") if expected.is_some() => (
                was(&|object| object.is_some_and(|object| Some(object.revision) != expected)),
                "the object at another revision",
            ),
            _ => (false, "no such refusal"),
        };
        if true_once {
            return Ok(());
        }
        Err(Problem::new(
            format!("{text} at some revision of {}..={}", window.0, window.1),
            format!("{code} {reason}"),
        ))
    }

    /// Facts that no client asked for.
    fn unexplained(&self) -> Vec<Violation> {
        let writes = &self.history.writes;
        let values: HashSet<&str> =
            writes.iter().filter_map(|write| write.action.value()).collect();
        let mut deleted: HashSet<usize> = HashSet::new();
        let mut unknown: HashSet<&str> = HashSet::new();
        for write in writes {
            match (&write.action, &write.outcome) {
                (_, WriteOutcome::Deleted { uid }) => deleted.extend(self.truth.deleted(uid)),
                (Action::Delete { .. }, WriteOutcome::Unknown { .. }) => {
                    unknown.insert(&write.key);
                }
                _ => {}
            }
        }
        let facts = self.truth.facts().iter().enumerate();
        facts
            .filter(|(index, fact)| match &fact.content {
                Some(content) => !values.contains(content.value.as_str()),
                None => !deleted.contains(index) && !unknown.contains(fact.key.as_str()),
            })
            .map(|(_, fact)| {
                let problem = Problem::new("a write that explains this change", "none");
                violation(Check::Write, fact, problem)
            })
            .collect()
    }

    /// One object is deleted once, so only one client may be told that it was the one.
    fn deleted_twice(&self) -> Vec<Violation> {
        let mut told: HashMap<&str, &Write> = HashMap::new();
        let mut found = Vec::new();
        for write in &self.history.writes {
            let WriteOutcome::Deleted { uid } = &write.outcome else { continue };
            if let Some(first) = told.insert(uid, write) {
                let problem = Problem::new(
                    format!("one deletion of {uid}"),
                    format!("acknowledged to {} too", first.span.client),
                );
                found.push(violation(Check::Write, write, problem));
            }
        }
        found
    }
}

fn is_next(before: &Content, after: &Content) -> bool {
    after.uid == before.uid && after.generation == before.generation + 1
}
