//! Progress lines: what happens, since when, where its log is.

use std::io::Write;
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
        print(&format!("[{:6.1}s] {message}\n", self.started.elapsed().as_secs_f64()));
    }
}

/// A reader that has seen enough, such as `head`, must not stop the work half-way.
pub(crate) fn print(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}
