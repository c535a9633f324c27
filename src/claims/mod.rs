//! Claims: a Sandbox for whoever asks, from a warm pool's stock or new, in one transaction.
//!
//! ```text
//! POST sandboxclaims ─┐
//! POST …/claim ───────┴─ handler ─ service ── policy (the template's)
//!                                     │   └── stock  (in memory, fed by a watch)
//!                                     ├────── bound: claim + Sandboxes + idempotency record
//!                                     └────── steps: the same for more than one transaction takes
//! queue ─ serve: who waits for stock, first come first served
//! keeper: status and expiry after the answer; release: what it leaves behind
//! ```
//!
//! Invariants:
//!
//! 1. A Sandbox from stock is bound only by a transaction that finds it as it was in stock: two
//!    claims can't have one, whatever the replicas' memory says.
//! 2. The answer comes after the transaction: an acknowledged claim is stored with what it is bound
//!    to. Nothing is written to the cluster before.
//! 3. Whoever waits has a stored claim. Memory holds only the order.

mod actions;
mod bind;
mod bound;
mod handler;
mod idempotency;
mod keeper;
mod lookup;
mod metrics;
mod policy;
mod queue;
mod release;
mod serve;
mod service;
mod source;
mod steps;
pub mod stock;
mod story;
mod wait;

use std::sync::Arc;

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::ObjectKey;
use apiserver::registry::{Item, Store};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use apiserver::tasks::Tasks;
use sandbox_api::keys;

pub use self::actions::on_claims;
pub use self::handler::Entrance;
use self::keeper::Keeper;
pub use self::lookup::Lookup;
pub use self::metrics::ClaimMetrics;
pub use self::release::Releaser;
use self::release::{ClaimChanges, SandboxChanges};
pub use self::service::{Answer, Claims, Config, Parts, Request};
use self::stock::Stock;
use crate::follow::{Follower, Source, follow};
use crate::runner::Runner;

/// Keys that are worked on at a time, of each kind.
const WORKERS: usize = 8;

/// Starts everything that claims need besides requests.
///
/// # Errors
/// None that a caller can cause: the selectors are constants.
pub fn start(
    claims: &Claims,
    (claim_store, sandbox_store): (Store, Store),
    permit: &Permit,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<(), ApiError> {
    let keeper = Runner::new(Arc::new(Keeper::new(claims.clone())), Arc::clone(&clock));
    keeper.start(tasks, WORKERS);
    let released = Runner::new(Arc::new(Releaser(claims.clone())), clock);
    released.start(tasks, WORKERS);
    claims.serve_lines(tasks);
    let source = |store: &Store, labels: &str| -> Result<Source, ApiError> {
        let labels = LabelSelector::parse(labels)?;
        Ok(Source { store: store.clone(), permit: permit.clone(), labels })
    };
    let stock = Arc::new(claims.stock().clone());
    follow(tasks, "stock", source(&sandbox_store, keys::WARM_POOL_SANDBOX)?, stock);
    let changes = SandboxChanges { claims: keeper.clone(), released: released.clone() };
    follow(tasks, "claimed-sandboxes", source(&sandbox_store, keys::CLAIM_UID)?, Arc::new(changes));
    let changes = ClaimChanges { runner: keeper, released, claims: claims.clone() };
    follow(tasks, "claims", source(&claim_store, "")?, Arc::new(changes));
    Ok(())
}

impl Follower for Stock {
    fn all(&self, items: &[Arc<Item>]) {
        if let Err(error) = self.replace(items) {
            tracing::warn!(%error, "a Sandbox in stock can't be read");
        }
    }

    fn changed(&self, item: &Arc<Item>) {
        if let Err(error) = self.apply(item) {
            tracing::warn!(%error, "a Sandbox in stock can't be read");
        }
    }

    fn gone(&self, _item: &Arc<Item>, key: &ObjectKey) {
        self.remove(key);
    }
}
