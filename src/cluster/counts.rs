//! Writes to the host cluster by reason: the currency that launches are paid in.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ChildKind;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteVerb {
    Create,
    Delete,
    Patch,
    /// Only of NetworkPolicies.
    Replace,
}

impl WriteVerb {
    /// As the metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Patch => "patch",
            Self::Replace => "replace",
        }
    }
}

/// Counts of writes asked of the cluster, answered or not.
#[derive(Debug, Default)]
pub struct WriteCounts {
    children: [[AtomicU64; 3]; 3],
    policies: [AtomicU64; 3],
}

const KINDS: [ChildKind; 3] = [ChildKind::Pod, ChildKind::Service, ChildKind::Claim];
const VERBS: [WriteVerb; 3] = [WriteVerb::Create, WriteVerb::Delete, WriteVerb::Patch];
const POLICY_VERBS: [WriteVerb; 3] = [WriteVerb::Create, WriteVerb::Delete, WriteVerb::Replace];

impl WriteCounts {
    pub(super) fn add(&self, kind: ChildKind, verb: WriteVerb) {
        if let Some(place) = VERBS.iter().position(|known| *known == verb) {
            self.children[kind as usize][place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn add_policy(&self, verb: WriteVerb) {
        if let Some(place) = POLICY_VERBS.iter().position(|known| *known == verb) {
            self.policies[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn of(&self, kind: ChildKind, verb: WriteVerb) -> u64 {
        let place = VERBS.iter().position(|known| *known == verb);
        place.map_or(0, |place| self.children[kind as usize][place].load(Ordering::Relaxed))
    }

    /// Every counter of children with its labels, for the metrics endpoint.
    pub fn snapshot(&self) -> Vec<(ChildKind, WriteVerb, u64)> {
        let pairs = KINDS.iter().flat_map(|&kind| VERBS.iter().map(move |&verb| (kind, verb)));
        pairs.map(|(kind, verb)| (kind, verb, self.of(kind, verb))).collect()
    }

    /// The same of NetworkPolicies.
    pub fn policies(&self) -> [(WriteVerb, u64); 3] {
        let count = |place: usize| self.policies[place].load(Ordering::Relaxed);
        std::array::from_fn(|place| (POLICY_VERBS[place], count(place)))
    }
}
