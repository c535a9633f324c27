//! Small histories, good and bad.

/// Every table; the runner has no other way to find them.
pub(crate) const ALL: [(&str, fn()); 0] = [];
