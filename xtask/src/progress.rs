//! Progress lines: what happens, since when, where its log is.

use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn say(&self, message: impl std::fmt::Display) {
        println!("[{:6.1}s] {message}", self.started.elapsed().as_secs_f64());
    }
}
