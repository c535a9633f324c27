//! Watches that begin with the state: ADDED events that are the state at one revision, then what
//! comes after it.

use super::history::{Event, Item, Kind, Revision, Seen, Version, Watch};
use super::lists::same;
use super::{Judge, Problem};

impl Judge<'_> {
    pub(super) fn initial(
        &self,
        watch: &Watch,
        version: Version,
        marked: bool,
    ) -> Result<(), Problem> {
        let least = match version {
            Version::Latest => self.bounds.floor(watch.span.start),
            Version::Any => 0,
            Version::AtLeast(revision) | Version::Exact(revision) => revision,
        };
        if !marked {
            return self.unmarked(watch, least);
        }
        let end = watch
            .items
            .iter()
            .position(|item| matches!(item.event, Event::Bookmark { ends_initial: true, .. }));
        let Some(end) = end else { return self.partial(watch, least) };
        let mark = &watch.items[end];
        let (revision, most) = (mark.event.revision(), self.bounds.ceiling(mark.at));
        if revision < least || revision > most {
            return Err(Problem::new(
                format!("initial events of a revision of {least}..={most}"),
                revision.to_string(),
            ));
        }
        let first = added(&watch.items[..end])?;
        self.is_state(watch, &first, revision)?;
        self.follows(watch, &watch.items[end + 1..], revision)
    }

    /// The order of initial events is free.
    fn is_state(&self, watch: &Watch, first: &[&Seen], revision: Revision) -> Result<(), Problem> {
        let state = self.truth.state(revision, &watch.filter);
        let mut first = first.to_vec();
        first.sort_by(|a, b| a.key.cmp(&b.key));
        let equal = state.len() == first.len()
            && state.iter().zip(&first).all(|(live, seen)| same(live, seen));
        if equal {
            return Ok(());
        }
        Err(Problem::new(
            format!("initial events as the state at {revision}: {state:?}"),
            format!("{first:?}"),
        ))
    }

    /// Nothing tells where the state ends and of which revision it is: there must be one of which
    /// the rest follows.
    fn unmarked(&self, watch: &Watch, least: Revision) -> Result<(), Problem> {
        let mut window = (least, self.bounds.ceiling(watch.span.end));
        let mut reason = None;
        // How many of the items are the state's.
        for count in 0..=watch.items.len() {
            let (first, rest) = watch.items.split_at(count);
            for revision in self.revisions_of_size(watch, window, count) {
                let outcome = added(first)
                    .and_then(|first| self.is_state(watch, &first, revision))
                    .and_then(|()| self.follows(watch, rest, revision));
                match outcome {
                    Ok(()) => return Ok(()),
                    Err(problem) => reason = Some(problem),
                }
            }
            let Some(Event::Object(Kind::Added, seen)) = rest.first().map(|item| &item.event)
            else {
                break;
            };
            window = self.narrowed(window, seen);
            if window.0 > window.1 {
                break;
            }
        }
        match self.partial(watch, least) {
            Ok(()) => Ok(()),
            Err(problem) => Err(reason.unwrap_or(problem)),
        }
    }

    /// The revisions of the window with a state of that size. All of them must be tried: what came
    /// and went between two of them follows from the first alone.
    fn revisions_of_size(
        &self,
        watch: &Watch,
        (least, most): (Revision, Revision),
        count: usize,
    ) -> impl Iterator<Item = Revision> {
        let size = self.truth.state(least, &watch.filter).len();
        let changes = self.truth.changes(least, &watch.filter);
        let sizes = changes.scan(size, |size, change| {
            match change.kind {
                Kind::Added => *size += 1,
                Kind::Modified => {}
                Kind::Deleted => *size -= 1,
            }
            Some((change.object.revision, *size))
        });
        [(least, size)]
            .into_iter()
            .chain(sizes)
            .take_while(move |(revision, _)| *revision <= most)
            .filter(move |(_, size)| *size == count)
            .map(|(revision, _)| revision)
    }

    /// The stream ended within the initial events: they must at least have been true together.
    fn partial(&self, watch: &Watch, least: Revision) -> Result<(), Problem> {
        let mut window = (least, self.bounds.ceiling(watch.span.end));
        let first = added(&watch.items)?;
        let mut keys: Vec<&str> = first.iter().map(|seen| seen.key.as_str()).collect();
        keys.sort_unstable();
        let unique = keys.windows(2).all(|pair| pair[0] != pair[1]);
        for seen in first {
            if !watch.filter.matches(&seen.key, &seen.content) {
                return Err(Problem::new("only what is selected", format!("{seen:?}")));
            }
            window = self.narrowed(window, seen);
            if window.0 > window.1 || !unique {
                return Err(Problem::new(
                    format!("initial events of one revision from {least} on, each once"),
                    format!("{seen:?} too"),
                ));
            }
        }
        Ok(())
    }

    /// The part of the window in which the object was as it was seen.
    fn narrowed(&self, (least, most): (Revision, Revision), seen: &Seen) -> (Revision, Revision) {
        let stretches = self.truth.stretches(&seen.key);
        let lived = stretches
            .iter()
            .find(|stretch| stretch.object.is_some_and(|object| same(&object, seen)));
        lived.map_or((1, 0), |lived| (least.max(lived.since), most.min(lived.until)))
    }
}

fn added(items: &[Item]) -> Result<Vec<&Seen>, Problem> {
    items
        .iter()
        .map(|item| match &item.event {
            Event::Object(Kind::Added, seen) => Ok(seen),
            other => Err(Problem::new("ADDED events first", format!("{other:?}"))),
        })
        .collect()
}
