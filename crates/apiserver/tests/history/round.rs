//! One round: start everything, let clients and faults loose, heal, let the watchers catch up, and
//! judge. A round has its own etcd and its own seed, so any round can be played again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiserver::storage::Kv;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::clients::{Actor, Board, Pace, Wire};
use crate::lab::reference::Reference;
use crate::lab::replica::Planted;
use crate::lab::{Lab, faults};
use crate::model::Served;
use crate::model::history::{History, Revision};
use crate::recorder::Recorder;

/// What the replicas' answers come from: decides when a 410 is in order.
///
/// The caches of `lab::replica` remember more events than this; fewer, and it would be a defect.
pub(crate) const SERVED: Served = Served::FromCache { events: 200 };

/// What is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) replicas: usize,
    pub(crate) planted: Planted,
}

impl Round {
    /// The history. Everything that was started has ended when this returns.
    ///
    /// # Errors
    /// When the round itself fails, which says nothing about the model.
    pub(crate) async fn play(self) -> Result<History> {
        let tasks = Tasks::new();
        let mut lab = Lab::start(self.replicas, self.planted, &tasks).await?;
        let recorder = Recorder::new();
        let reference = Reference::default();
        let kv = lab.kv().await?;
        let complete = CancellationToken::new();
        let playing = async {
            let stage = Stage::new(self, &lab, &recorder, &tasks)?;
            stage.play(&mut lab, kv.as_ref(), &reference).await?;
            reference.complete(kv.as_ref(), &recorder).await?;
            complete.cancel();
            Ok(())
        };
        let outcome =
            tokio::try_join!(reference.follow(kv.as_ref(), &recorder, &complete), playing);
        drop(lab);
        tasks.shutdown().await;
        outcome?;
        Ok(recorder.take())
    }
}

/// Clients and what they share.
struct Stage<'r> {
    round: Round,
    wire: Wire,
    board: Board,
    recorder: &'r Recorder,
    tasks: &'r Tasks,
}

/// A watcher and whether it reached the goal.
struct Watcher {
    name: String,
    through: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl<'r> Stage<'r> {
    fn new(round: Round, lab: &Lab, recorder: &'r Recorder, tasks: &'r Tasks) -> Result<Self> {
        let wire = Wire::new(lab.addresses(), lab.certificate.clone(), tasks.clone())?;
        Ok(Self { round, wire, board: Board::default(), recorder, tasks })
    }

    async fn play(&self, lab: &mut Lab, kv: &dyn Kv, reference: &Reference) -> Result<()> {
        let until = Instant::now() + self.round.duration;
        // They end with the group too: a round that fails half-way must not wait for its clients.
        let stop = self.tasks.stopping().child_token();
        let mut others = Vec::new();
        for number in 0..WRITERS {
            let writing = self.actor(&format!("w{number}")).write(stop.clone());
            others.push(self.tasks.spawn("writer", OnExit::Ignore, writing));
        }
        for number in 0..READERS {
            let reading = self.actor(&format!("r{number}")).read(stop.clone());
            others.push(self.tasks.spawn("reader", OnExit::Ignore, reading));
        }
        let (tell, goal) = watch::channel(None);
        let abandon = self.tasks.stopping().child_token();
        let watchers: Vec<Watcher> =
            (0..WATCHERS).map(|number| self.watcher(number, &goal, &abandon)).collect();

        tokio::select! {
            outcome = faults::run(lab, self.recorder, self.rng("faults"), until) => outcome?,
            () = faults::compact(kv, reference, self.recorder, self.rng("compaction")) => {}
        }
        stop.cancel();
        for task in others {
            task.await?;
        }
        lab.heal().await?;
        self.recorder.trouble();
        tell.send(Some(self.write_last().await?)).context("the watchers are there")?;
        let patience = Instant::now() + PATIENCE;
        for watcher in watchers {
            if timeout_at(patience, watcher.task).await.is_err() {
                abandon.cancel();
            }
            if !watcher.through.load(Ordering::SeqCst) {
                self.recorder.add(|history| history.laggards.push(watcher.name));
            }
        }
        abandon.cancel();
        Ok(())
    }

    /// Nothing that is acknowledged is lost, whoever is asked.
    async fn write_last(&self) -> Result<Revision> {
        let mut actor = self.actor("last");
        let mut last = 0;
        for namespace in ["north", "south"] {
            last = actor.write_last(namespace).await?;
        }
        for replica in 0..self.round.replicas {
            actor.list_all(replica).await;
        }
        Ok(last)
    }

    fn watcher(
        &self,
        number: usize,
        goal: &watch::Receiver<Option<Revision>>,
        abandon: &CancellationToken,
    ) -> Watcher {
        let pace = if number < SLOW_WATCHERS { Pace::Slow } else { Pace::Quick };
        let name = format!("v{number}");
        let watching = self.actor(&name).watch(pace, goal.clone(), abandon.clone());
        let through = Arc::new(AtomicBool::new(false));
        let told = through.clone();
        let task = self.tasks.spawn("watcher", OnExit::Ignore, async move {
            told.store(watching.await, Ordering::SeqCst);
        });
        Watcher { name, through, task }
    }

    fn actor(&self, name: &str) -> Actor {
        let shared = (&self.wire, &self.board, self.recorder);
        Actor::new(name.to_owned(), self.rng(name), shared)
    }

    /// Each client has a stream of choices of its own, so that none depends on another's speed.
    fn rng(&self, name: &str) -> StdRng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.round.seed.to_le_bytes());
        for (to, from) in seed[8..].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        StdRng::from_seed(seed)
    }
}

const WRITERS: usize = 5;
const READERS: usize = 4;
const WATCHERS: usize = 8;
const SLOW_WATCHERS: usize = 2;
/// For the watchers, from the last write to its event or a bookmark behind it.
const PATIENCE: Duration = Duration::from_secs(30);
