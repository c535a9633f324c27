//! Events: what `kubectl describe` tells of an object's story. Told off every path: whoever has
//! something to tell puts it into a bounded queue and goes on, whatever becomes of it.
//!
//! Each is told by the replica that did the thing, and only once it is done, so that there are no
//! duplicates. Each is a write to the host cluster, so there are not many: see `pace`.

mod metrics;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use apiserver::clock::Clock;
use apiserver::tasks::{CancellationToken, OnExit, Tasks};
use tokio::sync::mpsc;
use tracing::debug;

pub use self::metrics::EventMetrics;
use self::metrics::Outcome;
use self::pace::Pace;
use crate::bucket::Rate;
use crate::cluster::events::EventError;
pub use crate::cluster::events::{Event, EventSink, Subject};
use crate::foreground::Foreground;

/// Bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// Events that wait to be written; what comes when so many wait is dropped.
    pub queue_max: usize,
    /// Over all objects.
    pub rate: Rate,
    /// Of one object and severity, as Kubernetes' own controllers have it.
    pub object_rate: Rate,
    /// Tries of one Event.
    pub tries_max: u32,
    /// Between two of them; doubles.
    pub pause: Duration,
    /// How long each waits at most until no claim is being answered.
    pub patience: Duration,
    pub foreground: Foreground,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_max: 1_000,
            rate: Rate { interval: Duration::from_millis(40), burst: 200 },
            object_rate: Rate { interval: Duration::from_secs(300), burst: 25 },
            tries_max: 4,
            pause: Duration::from_secs(1),
            patience: Duration::from_millis(200),
            foreground: Foreground::default(),
        }
    }
}

/// Takes Events. Clones share the queue. The default one has nobody to tell them to.
#[derive(Debug, Clone, Default)]
pub struct Events {
    queue: Option<mpsc::Sender<Event>>,
    metrics: EventMetrics,
}

impl Events {
    /// Writes what is told to `sink` until the tasks stop; what still waits then is lost.
    pub fn start(
        sink: Arc<dyn EventSink>,
        clock: Arc<dyn Clock>,
        config: Config,
        tasks: &Tasks,
    ) -> Self {
        let (sender, queue) = mpsc::channel(config.queue_max);
        let metrics = EventMetrics::default();
        let writer = Writer { sink, clock, config, metrics: metrics.clone() };
        let stop = tasks.stopping().clone();
        tasks.spawn("events", OnExit::Shutdown, async move { writer.run(queue, &stop).await });
        Self { queue: Some(sender), metrics }
    }

    /// Never waits and never fails: an Event that finds no room is counted and dropped.
    pub fn tell(&self, event: Event) {
        if let Some(queue) = &self.queue
            && queue.try_send(event).is_err()
        {
            self.metrics.count(Outcome::QueueFull);
        }
    }

    pub fn metrics(&self) -> &EventMetrics {
        &self.metrics
    }
}

struct Writer {
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    config: Config,
    metrics: EventMetrics,
}

impl Writer {
    async fn run(&self, mut queue: mpsc::Receiver<Event>, stop: &CancellationToken) {
        let mut pace = Pace::new(self.config.rate, self.config.object_rate);
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = queue.recv() => event,
            };
            let Some(event) = event else {
                // Nobody is left to tell anything; a task that ends would stop the server.
                return stop.cancelled().await;
            };
            if !pace.admits(&event, self.clock.now()) {
                self.metrics.count(Outcome::Paced);
                continue;
            }
            loop {
                let wait = pace.turn(self.clock.now());
                if wait.is_zero() {
                    break;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.write_in_calm(&event) => {}
            }
        }
    }

    async fn write_in_calm(&self, event: &Event) {
        self.config.foreground.calm(&*self.clock, self.config.patience).await;
        self.write(event).await;
    }

    async fn write(&self, event: &Event) {
        let mut pause = self.config.pause;
        for attempt in 1..=self.config.tries_max {
            match self.sink.publish(event).await {
                Ok(()) => return self.metrics.count(Outcome::Written),
                Err(EventError::Unavailable { detail }) if attempt < self.config.tries_max => {
                    debug!(about = %event.about.key, reason = event.reason, detail, "an Event waits");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    debug!(about = %event.about.key, reason = event.reason, %error, "no Event");
                    break;
                }
            }
        }
        self.metrics.count(Outcome::Failed);
    }
}

#[cfg(test)]
mod tests;
