//! The loop that makes Sandboxes real.
//!
//! A change of a Sandbox or of one of its children puts the Sandbox's *key* into a queue
//! ([`queue`], fed by [`driver`]). A reconcile takes a key and nothing else ([`reconcile`]): it
//! reads the Sandbox from the registry, [`observe`]s its children, [plans](mod@plan) (pure: every decision
//! is there, and [`status`] with it) and [`execute`]s the steps (no decisions). Then it looks once
//! more and writes the status if it is worth a write.
//!
//! The contract:
//!
//! 1. Nothing is remembered that can't be derived again; a crash at any moment loses nothing.
//! 2. Children have fixed names and carry the Sandbox's uid as controller. A name that is taken is
//!    looked at, never evaded; so there are never two Pods of one Sandbox, even with two loops.
//! 3. Nothing is changed or deleted unless its controller is this very Sandbox (by uid), or nobody
//!    controls it and it is marked for adoption. Deletes and patches carry the uid as a condition.
//! 4. A Pod that ended by itself is not created again; one that was deleted is.
//! 5. A launch costs one Pod create and one status write: what is still on its way is written only
//!    if it stays so for [`Policy::not_ready_window`]. Bad news are written at once.
//!    No Event tells of it: see [`story`].
//! 6. What the loop writes to the registry goes the way of a user's write ([`sandboxes`]).

pub mod children;
pub mod driver;
pub mod execute;
mod feed;
mod isolation;
mod metrics;
pub mod observe;
pub mod plan;
pub mod queue;
pub mod reconcile;
pub mod registry;
pub mod sandboxes;
#[cfg(test)]
mod sim;
pub mod status;
pub mod story;

pub use self::driver::{Config, Driver};
pub use self::metrics::LoopMetrics;
pub use self::plan::{Plan, Policy, Step, plan};
pub use self::reconcile::{Outcome, ReconcileError, Reconciler};
pub use self::registry::StoreSandboxes;
pub use self::sandboxes::Sandboxes;
