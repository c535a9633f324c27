//! One binary: the house's invariants, and the product in one process over a real etcd.

mod claims;
mod counting;
mod house;
mod kinds;
mod pools;
mod product;
mod templates;
