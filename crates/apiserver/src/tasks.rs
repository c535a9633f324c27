//! Owned background tasks: each has a name, an owner and an exit policy. Nothing else in the
//! workspace may call `tokio::spawn`.

use std::future::Future;

use tokio::task::JoinHandle;
pub use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

/// What it means when a task ends although nobody asked it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// The process can't do its work without the task: shut down.
    Shutdown,
    /// The task has an end of its own (a connection, one request).
    Ignore,
}

/// The owner of a group of tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the group should end; long tasks select on it.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts `future`. A panic or, with [`OnExit::Shutdown`], an unasked end stops the group.
    pub fn spawn<F>(&self, name: &'static str, on_exit: OnExit, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let inner = spawn_raw(future);
        self.tracker.spawn(async move {
            match inner.await {
                Err(panic) => {
                    error!(task = name, error = %panic, "task panicked");
                    if on_exit == OnExit::Shutdown {
                        stop.cancel();
                    }
                }
                Ok(()) if on_exit == OnExit::Shutdown && !stop.is_cancelled() => {
                    error!(task = name, "critical task ended; shutting down");
                    stop.cancel();
                }
                Ok(()) => {}
            }
        })
    }

    /// Runs `future` to its end on the group even if the caller is dropped meanwhile, and returns
    /// its value. `None` if it panicked. This is how a mutation survives a client that hangs up.
    pub async fn run_to_end<F, T>(&self, future: F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.tracker.spawn(future).await.ok()
    }

    /// Asks every task to end and waits for them.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        info!("all tasks have ended");
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that may spawn")]
fn spawn_raw<F>(future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(future)
}
