//! The product in one process: the kinds' registries over a real etcd, the loop, and a
//! `FakeCluster` whose kubelet is a task here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::admission::{NamespaceState, Namespaces};
use apiserver::audit::Record;
use apiserver::auth::Permit;
use apiserver::clock::{Clock, SystemClock, new_uid};
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::Store;
use apiserver::request::{GetOptions, WriteOptions};
use apiserver::resource::{ActionRequest, ActionResponse, Subresource};
use apiserver::status::ApiError;
use apiserver::storage::{CacheOptions, Cacher, EtcdKv, EtcdOptions};
use apiserver::tasks::{OnExit, Tasks};
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use prometheus_client::registry::Registry;
use sandbox_apiserver::claims::{self, Claims, Entrance};
use sandbox_apiserver::cluster::fake::{FakeCluster, FakeEvents};
use sandbox_apiserver::events::{self, Events};
use sandbox_apiserver::foreground::Foreground;
use sandbox_apiserver::pools;
use sandbox_apiserver::provision::{self, Driver, StoreSandboxes};
use sandbox_apiserver::resources::{self, Extensions};
use serde_json::Value;

use crate::counting::CountingKv;

#[expect(clippy::disallowed_methods, reason = "how the test runner says where etcd is")]
fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test it`"))
}

#[derive(Debug)]
struct FakeNamespaces;

#[async_trait]
impl Namespaces for FakeNamespaces {
    async fn state(&self, name: &str) -> Result<NamespaceState, ApiError> {
        Ok(match name {
            "missing" => NamespaceState::Missing,
            "ending" => NamespaceState::Terminating,
            _ => NamespaceState::Active,
        })
    }
}

pub(crate) struct Product {
    stores: Vec<Store>,
    pub(crate) kv: Arc<CountingKv>,
    pub(crate) cluster: Arc<FakeCluster>,
    pub(crate) permit: Permit,
    pub(crate) tasks: Tasks,
    /// What is told to the cluster.
    pub(crate) told: Arc<FakeEvents>,
    pub(crate) events: Events,
    registry: Mutex<Registry>,
    prefix: String,
    entrance: Entrance,
}

impl Product {
    /// The kinds alone, under an etcd prefix of their own.
    pub(crate) async fn new() -> Self {
        Self::at(format!("/{}", new_uid())).await
    }

    /// The kinds alone, under this prefix: another replica, if there is one.
    pub(crate) async fn at(prefix: String) -> Self {
        Self::timed(prefix, Arc::new(SystemClock)).await
    }

    /// Likewise, by a clock of the test's.
    pub(crate) async fn timed(prefix: String, clock: Arc<dyn Clock>) -> Self {
        let options = EtcdOptions::new(vec![env("TEST_ETCD_ENDPOINT")]);
        let etcd = EtcdKv::connect(&options).await.expect("usable options");
        let kv = Arc::new(CountingKv::new(Arc::new(etcd)));
        let tasks = Tasks::new();
        let store = |def| {
            let (clock, kv) = (clock.clone(), kv.clone());
            let cache = (CacheOptions::default(), &tasks);
            let namespaces = Some(Arc::new(FakeNamespaces) as Arc<dyn Namespaces>);
            Store::cached(Arc::new(def), kv, &prefix, clock, namespaces, cache)
        };
        let told = Arc::new(FakeEvents::default());
        let config = events::Config::default();
        let events = Events::start(told.clone(), Arc::new(SystemClock), config, &tasks);
        let entrance = Entrance::default();
        let defs = resources::defs(Extensions {
            sandbox: resources::sandbox::actions::subresources(),
            warm_pool: vec![entrance.action()],
            claim_creation: Some(entrance.creation()),
            ..Extensions::default()
        });
        let product = Self {
            stores: defs.into_iter().map(store).collect(),
            kv,
            cluster: Arc::default(),
            permit: Permit::internal("test"),
            tasks,
            told,
            events,
            registry: Mutex::default(),
            prefix,
            entrance,
        };
        for store in &product.stores {
            while !store.cache().is_some_and(Cacher::is_ready) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        product
    }

    /// Several over one store, all of which answer claims and keep pools.
    pub(crate) async fn replicas(count: usize) -> Vec<Self> {
        let prefix = format!("/{}", new_uid());
        let mut replicas = Vec::new();
        for _ in 0..count {
            let product = Self::at(prefix.clone()).await;
            product.supply();
            replicas.push(product);
        }
        replicas
    }

    /// Answers claims and keeps pools.
    pub(crate) fn supply(&self) -> Claims {
        self.supply_with(Arc::new(SystemClock))
    }

    pub(crate) fn supply_with(&self, clock: Arc<dyn Clock>) -> Claims {
        let store = |plural: &str| self.store(plural).clone();
        let claims = Claims::new(
            claims::Parts {
                claims: store("sandboxclaims"),
                sandboxes: store("sandboxes"),
                pools: store("sandboxwarmpools"),
                templates: store("sandboxtemplates"),
                kv: self.kv.clone(),
                store_prefix: self.prefix.clone(),
                clock: clock.clone(),
                permit: self.permit.clone(),
                events: self.events.clone(),
                foreground: Foreground::default(),
            },
            claims::Config {
                queue_max: 5,
                takeover: Duration::from_secs(1),
                ..claims::Config::default()
            },
        );
        let stores = (store("sandboxclaims"), store("sandboxes"));
        claims::start(&claims, stores, &self.permit, clock.clone(), &self.tasks)
            .expect("constant selectors");
        let parts = pools::Parts {
            pools: store("sandboxwarmpools"),
            sandboxes: store("sandboxes"),
            templates: store("sandboxtemplates"),
            claim_store: store("sandboxclaims"),
            claims: claims.clone(),
            kv: self.kv.clone(),
            clock,
            permit: self.permit.clone(),
            policy: pools::Policy::default(),
            events: self.events.clone(),
        };
        let metrics = pools::start(parts, &self.tasks).expect("constant selectors");
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        *self.registry.lock().expect("no holder of this lock panics") = registry;
        self.entrance.open(claims.clone());
        claims
    }

    /// The figures of pools, as they are scraped.
    pub(crate) fn figures(&self) -> String {
        let registry = self.registry.lock().expect("no holder of this lock panics");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String");
        text
    }

    /// With the loop and a kubelet that makes every Pod ready.
    pub(crate) async fn running() -> Self {
        let product = Self::new().await;
        let sandboxes = product.store("sandboxes").clone();
        let driver = Driver::new(
            Arc::new(StoreSandboxes::new(sandboxes, product.permit.clone())),
            product.cluster.clone(),
            Arc::new(SystemClock),
            provision::Config { events: product.events.clone(), ..provision::Config::default() },
        );
        driver.start(&product.tasks);
        let cluster = product.cluster.clone();
        product.tasks.spawn("fake-kubelet", OnExit::Ignore, async move {
            loop {
                cluster.deliver(usize::MAX);
                for pod in cluster.pods() {
                    let meta = pod.metadata;
                    let name = meta.name.unwrap_or_default();
                    let key = ObjectKey { namespace: meta.namespace, name };
                    cluster.run_pod(&key, Time(SystemClock.now()));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        product
    }

    pub(crate) fn store(&self, plural: &str) -> &Store {
        self.stores.iter().find(|store| store.def().plural == plural).expect("a served kind")
    }

    pub(crate) async fn create_in(
        &self,
        namespace: &str,
        plural: &str,
        object: Value,
    ) -> Result<Object, ApiError> {
        let object = Object::from_value(object).expect("an object");
        let scope = Scope::Namespace(namespace.into());
        self.store(plural)
            .create(&self.permit, &scope, object, &WriteOptions::default(), &Warnings::new())
            .await
    }

    pub(crate) async fn create(&self, plural: &str, object: Value) -> Result<Object, ApiError> {
        self.create_in("ns", plural, object).await
    }

    /// A read-modify-write of one Sandbox's spec.
    pub(crate) async fn put(&self, object: Object) -> Result<Object, ApiError> {
        let key = object.key();
        let part = apiserver::registry::Part::Main;
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        self.store("sandboxes").update(&self.permit, &key, part, object, &options, &warnings).await
    }

    pub(crate) async fn sandbox(&self, name: &str) -> Result<Arc<Object>, ApiError> {
        let key = ObjectKey::namespaced("ns", name);
        self.store("sandboxes").get(&self.permit, &key, &GetOptions::default()).await
    }

    /// POST of an action.
    pub(crate) async fn act(
        &self,
        name: &str,
        action: &str,
        query: &[(&str, &str)],
    ) -> Result<ActionResponse, ApiError> {
        let store = self.store("sandboxes");
        let Some(Subresource::Action(def)) = store.def().subresource(action) else {
            panic!("{action} is no action");
        };
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        def.handler
            .call(ActionRequest {
                permit: &self.permit,
                key: ObjectKey::namespaced("ns", name),
                body: None,
                options: WriteOptions::default(),
                query,
                store,
                warnings: &Warnings::new(),
                record: &Record::default(),
            })
            .await
    }

    /// Waits until the Sandbox is as `wanted` says; fails with its last state after 20 s.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Object) -> bool) -> Arc<Object> {
        let mut last = None;
        for _ in 0..1000 {
            let object = self.sandbox(name).await.expect("it exists");
            if wanted(&object) {
                return object;
            }
            last = Some(object);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} did not get there: {last:#?}");
    }
}

/// `status.phase`
pub(crate) fn phase(object: &Object) -> &str {
    object.at("status.phase").and_then(Value::as_str).unwrap_or_default()
}
