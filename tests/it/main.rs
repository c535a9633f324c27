//! One binary: the house's invariants, and the product in one process over a real etcd.

mod house;
mod kinds;
mod product;
