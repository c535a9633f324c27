//! What the clock says about revisions: which must have existed at a time, and which can't have.

use super::history::{Event, GetOutcome, History, Micros, Revision, WriteOutcome};
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
        for write in &history.writes {
            let fact = match &write.outcome {
                WriteOutcome::Stored(object) => {
                    seen.push((write.span.end, object.revision));
                    begun.push((write.span.start, object.revision));
                    continue;
                }
                WriteOutcome::Deleted { uid } => truth.deleted(uid),
                WriteOutcome::Unknown { .. } => {
                    write.action.value().and_then(|value| truth.written(value).first().copied())
                }
                WriteOutcome::Refused { .. } => None,
            };
            let Some(fact) = fact else { continue };
            let revision = truth.facts()[fact].revision;
            begun.push((write.span.start, revision));
            if matches!(write.outcome, WriteOutcome::Deleted { .. }) {
                seen.push((write.span.end, revision));
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
