//! The conformance suites: of `Kv` on every store, of objects on every store with and without a
//! watch cache.

use std::sync::Arc;
use std::time::Duration;

use apiserver::storage::conformance::Fixture;
use apiserver::storage::conformance::objects::ObjectFixture;
use apiserver::storage::{EmbeddedKv, EmbeddedOptions, EtcdKv, EtcdOptions};

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

    async fn quiet() -> (Fixture, ()) {
        let mut options = EtcdOptions::new(vec![env("TEST_ETCD_ENDPOINT")]);
        options.progress_interval = HOUR;
        (Fixture::new(Arc::new(EtcdKv::connect(&options).await.unwrap())), ())
    }

    apiserver::kv_conformance!(shared = shared, own = own, quiet = quiet);
}

mod on_embedded {
    use super::*;

    async fn own() -> (Fixture, Directory) {
        with(Duration::from_millis(200))
    }

    async fn quiet() -> (Fixture, Directory) {
        with(HOUR)
    }

    fn with(progress_interval: Duration) -> (Fixture, Directory) {
        let directory = Directory::new();
        let mut options = EmbeddedOptions::new(&directory.path);
        options.progress_interval = progress_interval;
        (Fixture::new(Arc::new(EmbeddedKv::open(options).unwrap())), directory)
    }

    apiserver::kv_conformance!(shared = own, own = own, quiet = quiet);
}

const HOUR: Duration = Duration::from_secs(3600);

/// A store of its own in a directory that goes with the second value.
fn embedded() -> (Arc<EmbeddedKv>, Directory) {
    let directory = Directory::new();
    let mut options = EmbeddedOptions::new(&directory.path);
    options.progress_interval = Duration::from_millis(200);
    (Arc::new(EmbeddedKv::open(options).unwrap()), directory)
}

mod objects_on_etcd {
    use super::*;

    async fn shared() -> (ObjectFixture, ()) {
        (ObjectFixture::direct(connect(&env("TEST_ETCD_ENDPOINT")).await), ())
    }

    async fn own() -> (ObjectFixture, PrivateEtcd) {
        let etcd = PrivateEtcd::start().await;
        (ObjectFixture::direct(etcd.kv().await), etcd)
    }

    apiserver::object_conformance!(shared = shared, own = own);
}

mod objects_on_a_cache_over_etcd {
    use super::*;

    async fn shared() -> (ObjectFixture, ()) {
        (ObjectFixture::cached(connect(&env("TEST_ETCD_ENDPOINT")).await).await, ())
    }

    async fn own() -> (ObjectFixture, PrivateEtcd) {
        let etcd = PrivateEtcd::start().await;
        (ObjectFixture::cached(etcd.kv().await).await, etcd)
    }

    apiserver::object_conformance!(shared = shared, own = own);
}

mod objects_on_embedded {
    use super::*;

    async fn own() -> (ObjectFixture, Directory) {
        let (kv, directory) = embedded();
        (ObjectFixture::direct(kv), directory)
    }

    apiserver::object_conformance!(shared = own, own = own);
}

mod objects_on_a_cache_over_embedded {
    use super::*;

    async fn own() -> (ObjectFixture, Directory) {
        let (kv, directory) = embedded();
        (ObjectFixture::cached(kv).await, directory)
    }

    apiserver::object_conformance!(shared = own, own = own);
}
