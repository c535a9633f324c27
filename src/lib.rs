//! sandbox-apiserver: an aggregated Kubernetes API server that makes sandboxes for AI agents a
//! native Kubernetes API. The product; the machinery is the `apiserver` crate.

pub mod app;
pub mod bucket;
pub mod claims;
pub mod cluster;
pub mod conditions;
pub mod config;
pub mod connect;
pub mod entrance;
pub mod events;
pub mod follow;
pub mod foreground;
pub mod generate;
pub mod hash;
pub mod pools;
pub mod provision;
pub mod resources;
pub mod runner;
pub mod telemetry;
pub mod templates;
pub mod wait;
