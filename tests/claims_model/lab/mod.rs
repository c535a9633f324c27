//! The stores, the replicas, and what goes wrong.

pub(crate) mod faulty;
pub(crate) mod replica;
pub(crate) mod store;

/// Begins every key.
pub(crate) const PREFIX: &str = "/registry";
pub(crate) const NAMESPACE: &str = "ns";
/// Sandboxes that replicas bind in one transaction: few, so that many claims take several.
pub(crate) const TRANSACTION_MAX: usize = 4;
