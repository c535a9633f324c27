//! A place for Events that remembers them.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::cluster::events::{Event, EventError, EventSink};

/// The Events.
#[derive(Debug, Default)]
pub struct FakeEvents {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    tries: usize,
    failure: Option<EventError>,
    hangs: bool,
}

impl FakeEvents {
    /// What has been written so far.
    pub fn all(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Writes that were asked for.
    pub fn tries(&self) -> usize {
        self.state().tries
    }

    /// Every write ends so from now on.
    pub fn fail(&self, failure: Option<EventError>) {
        self.state().failure = failure;
    }

    /// No write ends, until it is told otherwise.
    pub fn hang(&self, hangs: bool) {
        self.state().hangs = hangs;
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

#[async_trait]
impl EventSink for FakeEvents {
    async fn publish(&self, event: &Event) -> Result<(), EventError> {
        self.state().tries += 1;
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if !self.state().hangs {
                break;
            }
            changed.await;
        }
        let mut state = self.state();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.events.push(event.clone());
        Ok(())
    }
}
