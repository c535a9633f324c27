//! A replica: the kinds' registries, claims and pools in a runtime of their own, so that it can be
//! killed in the middle of anything.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiserver::auth::Permit;
use apiserver::clock::{Clock, SystemClock};
use apiserver::registry::Store as Registry;
use apiserver::resource::ResourceDef;
use apiserver::storage::{CacheOptions, Cacher, GroupCommit, GroupOptions, Kv};
use apiserver::tasks::Tasks;
use sandbox_apiserver::claims::{self, Claims, Entrance};
use sandbox_apiserver::events::Events;
use sandbox_apiserver::foreground::Foreground;
use sandbox_apiserver::pools;
use sandbox_apiserver::resources::{self, Extensions};
use tokio::runtime::{Builder, Handle, Runtime};

use super::faulty::{Faults, FaultyKv};
use super::store::Address;
use super::{PREFIX, TRANSACTION_MAX};

/// What answers requests.
pub(crate) struct Server {
    handle: Handle,
    stores: Vec<Registry>,
    pub(crate) permit: Permit,
    /// The owner of everything that runs.
    _tasks: Tasks,
}

/// The kinds as the product serves them.
pub(crate) fn defs(entrance: &Entrance) -> Vec<ResourceDef> {
    resources::defs(Extensions {
        sandbox: resources::sandbox::actions::subresources(),
        warm_pool: vec![entrance.action()],
        claim_creation: Some(entrance.creation()),
        ..Extensions::default()
    })
}

impl Server {
    /// `grouped`: concurrent claims share transactions.
    async fn start(kv: Arc<dyn Kv>, handle: Handle, grouped: bool) -> Result<Self> {
        let entrance = Entrance::default();
        let tasks = Tasks::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let cached = |def| {
            let cache = (CacheOptions::default(), &tasks);
            Registry::cached(Arc::new(def), kv.clone(), PREFIX, clock.clone(), None, cache)
        };
        let stores: Vec<_> = defs(&entrance).into_iter().map(cached).collect();
        for store in &stores {
            while !store.cache().is_some_and(Cacher::is_ready) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let permit = Permit::internal("claims");
        let server = Self { handle, stores, permit: permit.clone(), _tasks: tasks.clone() };
        let store = |plural: &str| server.store(plural).clone();
        let mut of_claims = kv.clone();
        if grouped {
            of_claims = Arc::new(GroupCommit::start(kv.clone(), &GroupOptions::default(), &tasks));
        }
        let parts = claims::Parts {
            claims: store("sandboxclaims"),
            sandboxes: store("sandboxes"),
            pools: store("sandboxwarmpools"),
            templates: store("sandboxtemplates"),
            kv: of_claims,
            store_prefix: PREFIX.into(),
            clock: clock.clone(),
            permit: permit.clone(),
            events: Events::default(),
            foreground: Foreground::default(),
        };
        let config = claims::Config {
            transaction_max: TRANSACTION_MAX,
            takeover: Duration::from_secs(1),
            ..claims::Config::default()
        };
        let claims = Claims::new(parts, config);
        let stores = (store("sandboxclaims"), store("sandboxes"));
        claims::start(&claims, stores, &permit, clock.clone(), &tasks)?;
        let parts = pools::Parts {
            pools: store("sandboxwarmpools"),
            sandboxes: store("sandboxes"),
            templates: store("sandboxtemplates"),
            claim_store: store("sandboxclaims"),
            claims: claims.clone(),
            kv: kv.clone(),
            clock: clock.clone(),
            permit,
            policy: pools::Policy::default(),
            events: Events::default(),
        };
        pools::start(parts, &tasks)?;
        entrance.open(claims);
        Ok(server)
    }

    pub(crate) fn store(&self, plural: &str) -> &Registry {
        self.stores.iter().find(|store| store.def().plural == plural).expect("a served kind")
    }

    /// Runs a request in the replica: `None` if it was killed meanwhile.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.handle.spawn(request).await.ok()
    }
}

/// A place for a replica: at times nothing runs in it.
pub(crate) struct Place {
    address: Address,
    faults: Arc<Faults>,
    running: Mutex<Option<(Runtime, Arc<Server>)>>,
}

impl Place {
    pub(crate) fn new(address: Address, faults: Arc<Faults>) -> Self {
        Self { address, faults, running: Mutex::default() }
    }

    /// Every other seed makes a replica whose claims share transactions.
    pub(crate) async fn start(&self, seed: u64) -> Result<()> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (handle, address, faults) =
            (runtime.handle().clone(), self.address.clone(), self.faults.clone());
        let started = runtime.spawn(async move {
            let kv = FaultyKv::new(address.connect().await?, faults, seed);
            Server::start(Arc::new(kv), handle, seed.is_multiple_of(2)).await
        });
        let server = match started.await.context("a replica panicked").flatten() {
            Ok(server) => Arc::new(server),
            Err(error) => {
                // It can't be dropped where others run.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let mut running = self.running.lock().expect("no holder of this lock panics");
        *running = Some((runtime, server));
        Ok(())
    }

    /// Ends it wherever it is.
    pub(crate) fn kill(&self) {
        let running = self.running.lock().expect("no holder of this lock panics").take();
        if let Some((runtime, _server)) = running {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn server(&self) -> Option<Arc<Server>> {
        let running = self.running.lock().expect("no holder of this lock panics");
        running.as_ref().map(|(_, server)| server.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.kill();
    }
}
