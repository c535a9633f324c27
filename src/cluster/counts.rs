//! Writes to the host cluster by reason: the currency that launches are paid in.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ChildKind;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVerb {
    Create,
    Delete,
    Patch,
}

/// Counts of writes asked of the cluster, answered or not.
#[derive(Debug, Default)]
pub struct WriteCounts([[AtomicU64; 3]; 3]);

const KINDS: [ChildKind; 3] = [ChildKind::Pod, ChildKind::Service, ChildKind::Claim];
const VERBS: [WriteVerb; 3] = [WriteVerb::Create, WriteVerb::Delete, WriteVerb::Patch];

impl WriteCounts {
    pub(super) fn add(&self, kind: ChildKind, verb: WriteVerb) {
        self.0[kind as usize][verb as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn of(&self, kind: ChildKind, verb: WriteVerb) -> u64 {
        self.0[kind as usize][verb as usize].load(Ordering::Relaxed)
    }

    /// Every counter with its labels, for the metrics endpoint.
    pub fn snapshot(&self) -> Vec<(ChildKind, WriteVerb, u64)> {
        let pairs = KINDS.iter().flat_map(|&kind| VERBS.iter().map(move |&verb| (kind, verb)));
        pairs.map(|(kind, verb)| (kind, verb, self.of(kind, verb))).collect()
    }
}
