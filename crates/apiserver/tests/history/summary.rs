//! What a round was made of: a check of nothing must not pass for a check.

use std::fmt;

use crate::model::history::{Event, Failure, GetOutcome, History, WriteOutcome};

#[derive(Debug, Default)]
pub(crate) struct Summary {
    facts: usize,
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    gets: usize,
    lists: usize,
    paged: usize,
    lists_expired: usize,
    watches: usize,
    resumed: usize,
    watches_expired: usize,
    events: usize,
    bookmarks: usize,
    failed_reads: usize,
    troubles: usize,
    compactions: usize,
    lost: usize,
}

impl Summary {
    pub(crate) fn of(history: &History) -> Self {
        let mut summary = Self {
            facts: history.facts.len(),
            watches: history.watches.len(),
            troubles: history.troubles.len() / 2,
            compactions: history.compactions.len(),
            lost: history.cuts.iter().map(|cut| cut.lost).sum(),
            ..Self::default()
        };
        for write in &history.writes {
            match write.outcome {
                WriteOutcome::Stored(_) | WriteOutcome::Deleted { .. } => summary.acknowledged += 1,
                WriteOutcome::Refused { .. } => summary.refused += 1,
                WriteOutcome::Unknown { .. } => summary.unknown += 1,
            }
        }
        for get in &history.gets {
            match get.outcome {
                GetOutcome::Found(_) | GetOutcome::Absent => summary.gets += 1,
                GetOutcome::Failed { .. } => summary.failed_reads += 1,
            }
        }
        for list in &history.lists {
            match &list.failure {
                None => summary.lists += 1,
                Some(Failure { code: 410, .. }) => summary.lists_expired += 1,
                Some(_) => summary.failed_reads += 1,
            }
            summary.paged += usize::from(list.pages.len() > 1);
        }
        for watch in &history.watches {
            match &watch.failure {
                None => {}
                Some(Failure { code: 410, .. }) => summary.watches_expired += 1,
                Some(_) => summary.failed_reads += 1,
            }
            let resumed = matches!(watch.begin, crate::model::history::Begin::After(_));
            summary.resumed += usize::from(resumed);
            for item in &watch.items {
                match item.event {
                    Event::Object(..) => summary.events += 1,
                    Event::Bookmark { .. } => summary.bookmarks += 1,
                }
            }
        }
        summary
    }

    /// Whether each part of the model had something to say.
    pub(crate) fn is_telling(&self) -> bool {
        [self.acknowledged, self.refused, self.gets, self.lists, self.paged]
            .into_iter()
            .chain([self.resumed, self.events, self.bookmarks, self.compactions, self.lost])
            .all(|count| count > 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} changes; writes {} acknowledged, {} refused, {} unknown; {} gets; lists {} \
             complete, {} paged, {} expired; watches {}, {} resumed, {} expired, {} events, {} \
             bookmarks; {} reads failed; {} faults, {} answers of etcd lost, {} compactions",
            self.facts,
            self.acknowledged,
            self.refused,
            self.unknown,
            self.gets,
            self.lists,
            self.paged,
            self.lists_expired,
            self.watches,
            self.resumed,
            self.watches_expired,
            self.events,
            self.bookmarks,
            self.failed_reads,
            self.troubles,
            self.lost,
            self.compactions,
        )
    }
}
