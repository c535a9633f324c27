//! Gets: an object is shown as it was at a moment that the request allows.

use super::history::{Get, GetOutcome, Version};
use super::{Check, Judge, Problem, Violation, is_failure, violation};

pub(super) fn check(judge: &Judge<'_>) -> Vec<Violation> {
    judge
        .history
        .gets
        .iter()
        .filter_map(|get| Some(violation(Check::Get, get, judge.get(get).err()?)))
        .collect()
}

impl Judge<'_> {
    fn get(&self, get: &Get) -> Result<(), Problem> {
        let least = match get.version {
            Version::Latest => self.bounds.floor(get.span.start),
            Version::Any => 0,
            Version::AtLeast(revision) | Version::Exact(revision) => revision,
        };
        let window = (least, self.bounds.ceiling(get.span.end));
        let (fits, got) = match &get.outcome {
            GetOutcome::Found(seen) => {
                let fits = seen.key == get.key
                    && self.truth.was(&get.key, window, |object| {
                        object.is_some_and(|object| {
                            object.revision == seen.revision && *object.content == seen.content
                        })
                    });
                (fits, format!("{seen:?}"))
            }
            GetOutcome::Absent => {
                (self.truth.was(&get.key, window, |object| object.is_none()), "absent".to_owned())
            }
            GetOutcome::Failed { code } => (is_failure(*code), format!("status {code}")),
        };
        if fits {
            return Ok(());
        }
        let stretches: Vec<String> = self
            .truth
            .stretches(&get.key)
            .iter()
            .filter(|stretch| stretch.since <= window.1 && stretch.until >= window.0)
            .map(|stretch| format!("{:?}", stretch.object))
            .collect();
        Err(Problem::new(
            format!("the state at some revision of {}..={}: {stretches:?}", window.0, window.1),
            got,
        ))
    }
}
