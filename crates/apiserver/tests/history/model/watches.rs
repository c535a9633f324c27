//! Watches: what is delivered is a gapless beginning of what must be, in order, each once; a
//! bookmark never runs ahead.

use super::history::{Begin, Event, Item, Kind, Revision, Watch};
use super::lists::same;
use super::{Check, Judge, Problem, Violation, is_failure, violation};

pub(super) fn check(judge: &Judge<'_>) -> Vec<Violation> {
    let watches = &judge.history.watches;
    let mut found: Vec<Violation> = watches
        .iter()
        .filter_map(|watch| Some(violation(Check::Watch, watch, judge.watch(watch).err()?)))
        .collect();
    found.extend(judge.history.laggards.iter().map(|client| {
        let problem = Problem::new("the last write, heard of at last", "not in time");
        violation(Check::Watch, client, problem)
    }));
    found
}

impl Judge<'_> {
    fn watch(&self, watch: &Watch) -> Result<(), Problem> {
        match watch.begin {
            Begin::After(revision) => self.follows(watch, &watch.items, revision)?,
            Begin::State { version, marked } => self.initial(watch, version, marked)?,
        }
        let Some(failure) = &watch.failure else { return Ok(()) };
        if failure.code == 410 {
            let last = watch.items.last().map(|item| item.event.revision());
            let asked = match watch.begin {
                Begin::After(revision) => Some(revision),
                Begin::State { .. } => None,
            };
            // Where the state of a watch without a word was read is not known; not before this.
            let reached = last.max(asked).unwrap_or_else(|| self.bounds.floor(watch.span.start));
            if self.may_be_expired(reached, failure.end) {
                return Ok(());
            }
            return Err(Problem::new(format!("events after {reached}, still there"), "410"));
        }
        if is_failure(failure.code) {
            return Ok(());
        }
        Err(Problem::new("a watch", format!("{} {}", failure.code, failure.detail)))
    }

    /// `items` are what comes after `revision`, from the first to any.
    pub(super) fn follows(
        &self,
        watch: &Watch,
        items: &[Item],
        revision: Revision,
    ) -> Result<(), Problem> {
        let mut changes = self.truth.changes(revision, &watch.filter).peekable();
        let mut reached = revision;
        for item in items {
            match &item.event {
                Event::Bookmark { ends_initial: true, .. } => {
                    return Err(Problem::new("no end of initial events here", "one"));
                }
                Event::Bookmark { revision: mark, .. } => {
                    if let Some(next) = changes.peek()
                        && next.object.revision <= *mark
                    {
                        return Err(Problem::new(
                            format!("{next:?} before the bookmark"),
                            format!("bookmark {mark}"),
                        ));
                    }
                    let most = self.bounds.ceiling(item.at).max(revision);
                    if *mark < reached || *mark > most {
                        return Err(Problem::new(
                            format!("a bookmark of {reached}..={most}"),
                            mark.to_string(),
                        ));
                    }
                    reached = *mark;
                }
                Event::Object(kind, seen) => {
                    let next = changes.next();
                    let fits =
                        next.is_some_and(|next| next.kind == *kind && same(&next.object, seen));
                    if !fits {
                        return Err(Problem::new(
                            format!("after {reached} next {next:?}"),
                            describe(reached, *kind, seen.revision, item),
                        ));
                    }
                    reached = seen.revision;
                }
            }
        }
        Ok(())
    }
}

fn describe(reached: Revision, kind: Kind, revision: Revision, item: &Item) -> String {
    let way = match revision.cmp(&reached) {
        std::cmp::Ordering::Less => "going back",
        std::cmp::Ordering::Equal => "a duplicate",
        std::cmp::Ordering::Greater => "another event",
    };
    format!("{way}: {kind:?} at {revision}: {item:?}")
}
