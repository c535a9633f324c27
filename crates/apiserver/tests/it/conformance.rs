//! The conformance suite of `Kv`, on every store.

use std::sync::Arc;
use std::time::Duration;

use apiserver::storage::conformance::Fixture;
use apiserver::storage::{EmbeddedKv, EmbeddedOptions};

use crate::directory::Directory;
use crate::etcd::PrivateEtcd;
use crate::support::{connect, env};

mod on_etcd {
    use super::*;

    async fn shared() -> (Fixture, ()) {
        (Fixture::new(connect(&env("TEST_ETCD_ENDPOINT")).await), ())
    }

    async fn own() -> (Fixture, PrivateEtcd) {
        let etcd = PrivateEtcd::start().await;
        (Fixture::new(etcd.kv().await), etcd)
    }

    apiserver::kv_conformance!(shared = shared, own = own);
}

mod on_embedded {
    use super::*;

    async fn own() -> (Fixture, Directory) {
        let directory = Directory::new();
        let mut options = EmbeddedOptions::new(&directory.path);
        options.progress_interval = Duration::from_millis(200);
        (Fixture::new(Arc::new(EmbeddedKv::open(options).unwrap())), directory)
    }

    apiserver::kv_conformance!(shared = own, own = own);
}
