//! Media types, the Table and PartialObjectMetadata forms, watch frames. Pure.

pub mod encode;
pub mod negotiate;
pub mod partial;
pub mod table;

pub use self::negotiate::{Accepted, Allow, MediaType, Transform, negotiate};
