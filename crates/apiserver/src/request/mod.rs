//! From path and query to a closed [`Operation`]. Pure functions; HTTP ends here.

pub mod duration;
pub mod info;
pub mod operation;
pub mod options;
pub mod query;

#[cfg(test)]
mod properties;

pub use self::info::RequestInfo;
pub use self::operation::Operation;
pub use self::options::{
    DeleteOptions, FieldValidation, GetOptions, ListOptions, Preconditions, Propagation,
    ResourceVersionMatch, WatchOptions, WriteOptions,
};
