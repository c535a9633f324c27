//! One round: a new store, replicas, clients and faults; then calm, and the verdict.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

use crate::clients::{self, Client, POOLS, TEMPLATES, World};
use crate::cluster::Cluster;
use crate::lab::faulty::{Faults, Planted};
use crate::lab::replica::{Place, Server};
use crate::lab::store::{Store, StoreKind};
use crate::model::Violation;
use crate::model::end::Totals;

/// How many clients claim at a time.
const CLIENTS: u64 = 48;
/// How long everything may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(60);
/// What pools are to have in the end: every gang fits.
const FINAL_STOCK: usize = 12;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) seed: u64,
    pub(crate) store: StoreKind,
    pub(crate) claims: usize,
    pub(crate) replicas: usize,
    pub(crate) planted: Planted,
}

impl Round {
    pub(crate) async fn play(self) -> Result<(Totals, Vec<Violation>)> {
        let mut store = Store::start(self.store).await?;
        let faults = Faults::new(self.planted);
        let place = |_| Place::new(store.address.clone(), faults.clone());
        let places: Vec<_> = (0..self.replicas).map(place).collect();
        for (place, seed) in places.iter().zip(self.seed..) {
            place.start(seed).await?;
        }
        let world = World::new(places, self.claims);
        let cluster = Cluster::new(store.address.connect().await?);
        let mut totals = tokio::select! {
            error = cluster.run(self.seed) => return Err(error),
            totals = async {
                let totals = self.go_wrong(&world, &cluster, &mut store).await?;
                faults.stop();
                if self.planted == Planted::None {
                    rest(&world, &cluster).await;
                }
                anyhow::Ok(totals)
            } => totals?,
        };
        let violations = {
            let (mut model, journal) = (cluster.model(), world.journal());
            if self.planted == Planted::None {
                model.judge_end(&journal);
            }
            totals += model.totals(&journal);
            std::mem::take(&mut model.violations)
        };
        totals.races = faults.races.load(Ordering::Relaxed);
        totals.refused = faults.refused.load(Ordering::Relaxed);
        totals.lost = faults.lost.load(Ordering::Relaxed);
        // What holds the store must go before it, and may wait.
        tokio::task::spawn_blocking(move || drop((cluster, world, store))).await?;
        Ok((totals, violations))
    }

    /// Clients and faults, until the clients are done or a planted bug has shown.
    async fn go_wrong(
        self,
        world: &Arc<World>,
        cluster: &Cluster,
        store: &mut Store,
    ) -> Result<Totals> {
        let server = world.places.first().and_then(Place::server);
        let Some(server) = server else { bail!("no replica runs") };
        make_world(&server).await;
        drop(server);
        let clients = (0..CLIENTS).map(|index| {
            let seed = self.seed.wrapping_mul(1_000).wrapping_add(index);
            Client::new(world.clone(), seed).run()
        });
        let found = async {
            while world.left() > 0 {
                let found = !cluster.model().violations.is_empty();
                if found && self.planted != Planted::None {
                    world.stop();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let (_, (), totals) = tokio::join!(join_all(clients), found, self.kill_some(world, store));
        totals
    }

    /// Kills replicas and the store, and starts them again, while clients claim.
    async fn kill_some(self, world: &World, store: &mut Store) -> Result<Totals> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut totals = Totals::default();
        let mut number = self.seed;
        while world.left() > 0 {
            let wait = |random: &mut StdRng, range| {
                tokio::time::sleep(Duration::from_millis(random.random_range(range)))
            };
            if random.random_bool(0.15) {
                let down = Duration::from_millis(random.random_range(10..500));
                totals.store_kills += usize::from(store.kill(down).await?);
            } else {
                let place = &world.places[random.random_range(0..world.places.len())];
                place.kill();
                totals.kills += 1;
                wait(&mut random, 0..300).await;
                number = number.wrapping_add(1);
                place.start(number).await?;
            }
            wait(&mut random, 500..2500).await;
        }
        Ok(totals)
    }
}

/// The pools and templates that clients know.
async fn make_world(server: &Arc<Server>) {
    for index in 0..TEMPLATES {
        while !clients::create(server, "sandboxtemplates", clients::template(index)).await {
            clients::delete(server, "sandboxtemplates", &format!("t{index}"), None).await;
        }
    }
    for index in 0..POOLS {
        while !clients::create(server, "sandboxwarmpools", clients::pool(index, 10)).await {
            clients::delete(server, "sandboxwarmpools", &format!("p{index}"), None).await;
        }
    }
}

/// Waits until everything is where it should be or too much time has passed.
async fn rest(world: &World, cluster: &Cluster) {
    let Some(server) = world.places.first().and_then(Place::server) else { return };
    for index in 0..POOLS {
        let name = format!("p{index}");
        while !clients::scale(&server, &name, FINAL_STOCK).await {
            clients::create(&server, "sandboxwarmpools", clients::pool(index, FINAL_STOCK)).await;
        }
    }
    let started = Instant::now();
    while started.elapsed() < REST_MAX && !cluster.model().unsettled().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
