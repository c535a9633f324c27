//! Lists: all pages together are the state at their revision, which is one that was asked for.

use super::history::{List, Revision, Seen, Selector, Version};
use super::truth::Live;
use super::{Check, Judge, Problem, Violation, is_failure, violation};

pub(super) fn check(judge: &Judge<'_>) -> Vec<Violation> {
    judge
        .history
        .lists
        .iter()
        .filter_map(|list| Some(violation(Check::List, list, judge.list(list).err()?)))
        .collect()
}

impl Judge<'_> {
    fn list(&self, list: &List) -> Result<(), Problem> {
        if let Some(first) = list.pages.first() {
            self.asked_for(list, first.revision)?;
            self.pages(list, first.revision)?;
        }
        self.failure(list)
    }

    fn asked_for(&self, list: &List, revision: Revision) -> Result<(), Problem> {
        let first = &list.pages[0];
        let (least, most) = match list.version {
            Version::Latest => (self.bounds.floor(first.start), Revision::MAX),
            Version::Any => (1, Revision::MAX),
            Version::AtLeast(asked) => (asked, Revision::MAX),
            Version::Exact(asked) => (asked, asked),
        };
        let most = most.min(self.bounds.ceiling(first.end));
        if revision < least || revision > most {
            return Err(Problem::new(
                format!("a revision of {least}..={most}"),
                revision.to_string(),
            ));
        }
        Ok(())
    }

    fn pages(&self, list: &List, revision: Revision) -> Result<(), Problem> {
        let mut state = self.truth.state(revision, &list.filter);
        if let Some(after) = &list.after {
            state.retain(|live| live.key > after.as_str());
        }
        let mut rest = state.as_slice();
        for (number, page) in list.pages.iter().enumerate() {
            let wrong = |expected: String, got: String| {
                Err(Problem::new(format!("page {number}: {expected}"), got))
            };
            if page.revision != revision {
                return wrong(format!("revision {revision}"), page.revision.to_string());
            }
            let expected = &rest[..page.items.len().min(rest.len())];
            if !equal(expected, &page.items) {
                return wrong(format!("at {revision} {rest:?}"), format!("{:?}", page.items));
            }
            rest = &rest[page.items.len()..];
            // A list of any version may ignore its limit.
            let limited = list.limit > 0 && list.version != Version::Any;
            if limited && page.items.len() > list.limit {
                return wrong(format!("at most {}", list.limit), page.items.len().to_string());
            }
            if page.more && page.items.len() != list.limit {
                return wrong(
                    format!("a full page of {}", list.limit),
                    format!("{:?}", page.items),
                );
            }
            if !page.more && !rest.is_empty() {
                return wrong(format!("more pages, for {rest:?}"), "the end".into());
            }
            let countable = page.more && list.filter.selector == Selector::Everything;
            let remaining = countable.then_some(rest.len() as u64);
            if page.remaining != remaining {
                return wrong(
                    format!("remainingItemCount {remaining:?}"),
                    format!("{:?}", page.remaining),
                );
            }
        }
        Ok(())
    }

    fn failure(&self, list: &List) -> Result<(), Problem> {
        let Some(failure) = &list.failure else { return Ok(()) };
        if failure.code == 410 {
            let asked = match (list.pages.first(), list.version) {
                (Some(first), _) => first.revision,
                (None, Version::Exact(asked)) => asked,
                // Read in several steps, of which a later one came too late.
                (None, _) => self.bounds.floor(failure.start),
            };
            if self.may_be_expired(asked, failure.end) {
                return Ok(());
            }
            return Err(Problem::new(format!("revision {asked}, which is still there"), "410"));
        }
        if is_failure(failure.code) {
            return Ok(());
        }
        Err(Problem::new("a list", format!("{} {}", failure.code, failure.detail)))
    }
}

fn equal(expected: &[Live<'_>], items: &[Seen]) -> bool {
    expected.len() == items.len() && expected.iter().zip(items).all(|(live, seen)| same(live, seen))
}

pub(super) fn same(live: &Live<'_>, seen: &Seen) -> bool {
    live.key == seen.key && live.revision == seen.revision && *live.content == seen.content
}
