//! Kubernetes' object life cycle over [`crate::storage`]: create, update, patch, delete.

mod create;
mod delete;
pub(crate) mod metadata;
mod names;
mod store;
mod strategy;
mod transaction;
mod update;

pub use self::create::NewObject;
pub use self::delete::DeleteOutcome;
pub use self::store::{Part, Store};
pub use self::strategy::{Strategy, Validation};
pub use self::transaction::Transaction;
pub use crate::storage::{
    Commit, Conflicting, EventKind, Item, ObjectList, WatchEvent, WatchStream,
};
