//! Machinery for aggregated Kubernetes API servers: a small Rust counterpart of `k8s.io/apiserver`.
//!
//! The journey of a request: [`server`] accepts it and runs the chain (authentication, limits,
//! authorization), [`request`] turns path and query into a closed [`request::Operation`],
//! [`endpoint`] decodes and encodes, [`registry`] gives it Kubernetes' life cycle and the kind's
//! [`registry::Strategy`], [`storage`] keeps it behind the small [`storage::Kv`] trait.
//! [`discovery`] and [`openapi`] are derived from the same [`resource::ResourceDef`] table.
//!
//! This crate knows no kind of its own; `examples/flunder.rs` is its second user.

pub mod admission;
pub mod aggregated;
pub mod audit;
pub mod auth;
pub mod clock;
pub mod codec;
pub mod delegated;
pub mod discovery;
pub mod endpoint;
pub mod field;
pub mod meta;
pub mod openapi;
pub mod patch;
pub mod registry;
pub mod request;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod server;
pub mod status;
pub mod storage;
pub mod tasks;
pub mod warnings;
