//! Audit: what is recorded of a request (`audit.k8s.io/v1`).
//!
//! Nothing records yet: this is the first part. [`Policy`] says, per request, at which [`Level`] and
//! in which [`Stage`]s.

mod policy;

pub use self::policy::{Level, Policy, PolicyError, Recording, Stage};
