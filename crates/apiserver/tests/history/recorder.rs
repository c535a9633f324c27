//! Where everything is written down: one clock and one history for all tasks.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::model::history::{Fact, History, Micros};

#[derive(Clone)]
pub(crate) struct Recorder {
    began: Instant,
    history: Arc<Mutex<History>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), history: Arc::default() }
    }

    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.began.elapsed().as_micros()).expect("rounds are short")
    }

    pub(crate) fn add(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history.lock().expect("no holder of this lock panics"));
    }

    /// Something is being killed, stopped or started.
    pub(crate) fn trouble(&self) {
        let now = self.now();
        self.add(|history| history.troubles.push(now));
    }

    pub(crate) fn facts(&self) -> Vec<Fact> {
        self.history.lock().expect("no holder of this lock panics").facts.clone()
    }

    /// What has been recorded so far.
    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut self.history.lock().expect("no holder of this lock panics"))
    }
}
