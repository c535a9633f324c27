//! What the clock says about revisions: which must have existed at a time, and which can't have.

use super::history::{Event, GetOutcome, History, Micros, Revision, Span, WriteOutcome};
use super::truth::Truth;

/// Lower and upper bounds of the store's revision over time.
pub(crate) struct Bounds {
    /// When a revision had been seen by anybody; times and revisions both rise.
    seen: Vec<(Micros, Revision)>,
    /// When a write began, and the lowest revision of it and all that began later.
    begun: Vec<(Micros, Revision)>,
}

impl Bounds {
    pub(crate) fn new(history: &History, truth: &Truth) -> Self {
        let mut seen = Vec::new();
        let mut begun = Vec::new();
        let revision = |fact: &usize| truth.facts()[*fact].revision;
        for write in &history.writes {
            let Span { start, end, .. } = write.span;
            match &write.outcome {
                WriteOutcome::Stored(object) => {
                    seen.push((end, object.revision));
                    begun.push((start, object.revision));
                }
                // Of an object that came back and was deleted again nobody knows which deletion
                // this was: seen is at least the first, begun at most the last.
                WriteOutcome::Deleted { uid } => {
                    seen.extend(truth.deleted(uid).first().map(|fact| (end, revision(fact))));
                    begun.extend(truth.deleted(uid).last().map(|fact| (start, revision(fact))));
                }
                WriteOutcome::Unknown { .. } => {
                    let written =
                        write.action.value().map_or(&[][..], |value| truth.written(value));
                    begun.extend(written.first().map(|fact| (start, revision(fact))));
                }
                WriteOutcome::Refused { .. } => {}
            }
        }
        for noise in &history.noises {
            seen.push((noise.end, noise.revision));
            begun.push((noise.start, noise.revision));
        }
        for get in &history.gets {
            if let GetOutcome::Found(object) = &get.outcome {
                seen.push((get.span.end, object.revision));
            }
        }
        for page in history.lists.iter().flat_map(|list| &list.pages) {
            seen.push((page.end, page.revision));
        }
        for item in history.watches.iter().flat_map(|watch| &watch.items) {
            // A bookmark may repeat a revision that the client made up.
            if let Event::Object(_, object) = &item.event {
                seen.push((item.at, object.revision));
            }
        }
        Self { seen: rising(seen), begun: lowest_from(begun) }
    }

    /// The store had reached this revision before `time`.
    pub(crate) fn floor(&self, time: Micros) -> Revision {
        let before = self.seen.partition_point(|(at, _)| *at < time);
        before.checked_sub(1).map_or(0, |last| self.seen[last].1)
    }

    /// The store can't have gone beyond this revision by `time`.
    pub(crate) fn ceiling(&self, time: Micros) -> Revision {
        let later = self.begun.partition_point(|(at, _)| *at <= time);
        self.begun.get(later).map_or(Revision::MAX, |(_, revision)| revision - 1)
    }
}

fn rising(mut seen: Vec<(Micros, Revision)>) -> Vec<(Micros, Revision)> {
    seen.sort_unstable();
    let mut most = 0;
    for (_, revision) in &mut seen {
        most = most.max(*revision);
        *revision = most;
    }
    seen
}

fn lowest_from(mut begun: Vec<(Micros, Revision)>) -> Vec<(Micros, Revision)> {
    begun.sort_unstable();
    let mut least = Revision::MAX;
    for (_, revision) in begun.iter_mut().rev() {
        least = least.min(*revision);
        *revision = least;
    }
    begun
}
