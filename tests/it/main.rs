//! One binary: the house's invariants, and the product in one process over a real etcd.

mod bad_days;
mod claims;
mod counting;
mod events;
mod gangs;
mod house;
mod kinds;
mod pools;
mod product;
mod templates;
