//! Where events go: a file, a line each, at once or in batches.
//!
//! Modes: `[apiserver] pkg/server/options/audit.go`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::rotate::{Rotating, Rotation};

/// Events that may wait in batch mode; kube-apiserver's buffer.
const QUEUE_MAX: usize = 10_000;
/// Of them in one write.
const BATCH_MAX: usize = 400;

/// When an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMode {
    /// By a thread of its own, soon after; what finds [`QUEUE_MAX`] before it is lost and counted.
    Batch,
    /// Before the request goes on; what can't be written is lost and counted.
    Blocking,
    /// As that, and a request whose RequestReceived can't be written is refused.
    BlockingStrict,
}

/// Where and when.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// `-` is the standard output.
    pub path: PathBuf,
    pub mode: LogMode,
    pub rotation: Rotation,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    mode: LogMode,
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    Direct(Mutex<Sink>),
    Queue(Mutex<Option<(SyncSender<Line>, JoinHandle<()>)>>),
}

type Line = (Vec<u8>, Timestamp);

#[derive(Debug)]
enum Sink {
    Stdout,
    File(Rotating),
}

impl Sink {
    fn write(&mut self, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Self::File(file) => file.write(bytes, now),
        }
    }
}

impl Log {
    /// # Errors
    /// When the file can't be made or opened for appending.
    pub fn open(options: LogOptions) -> io::Result<Self> {
        let LogOptions { path, mode, rotation } = options;
        let sink = if path.as_os_str() == "-" {
            Sink::Stdout
        } else {
            Sink::File(Rotating::open(path, rotation)?)
        };
        let writer = match mode {
            LogMode::Batch => {
                let (send, receive) = sync_channel(QUEUE_MAX);
                let thread = std::thread::Builder::new().name("audit-log".into());
                let thread = thread.spawn(move || drain(&receive, sink))?;
                Writer::Queue(Mutex::new(Some((send, thread))))
            }
            LogMode::Blocking | LogMode::BlockingStrict => Writer::Direct(Mutex::new(sink)),
        };
        Ok(Self { mode, writer })
    }

    pub(super) fn is_strict(&self) -> bool {
        self.mode == LogMode::BlockingStrict
    }

    /// A whole line.
    pub(super) fn write(&self, line: Vec<u8>, now: Timestamp) -> io::Result<()> {
        match &self.writer {
            Writer::Direct(sink) => {
                sink.lock().unwrap_or_else(PoisonError::into_inner).write(&line, now)
            }
            Writer::Queue(queue) => {
                let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((queue, _)) = &*queue else { return Err(io::Error::other("closed")) };
                queue.try_send((line, now)).map_err(|error| match error {
                    TrySendError::Full(_) => io::Error::other("the queue is full"),
                    TrySendError::Disconnected(_) => io::Error::other("the writer has ended"),
                })
            }
        }
    }

    /// Waits for what is in the queue.
    pub(super) fn close(&self) {
        let Writer::Queue(queue) = &self.writer else { return };
        let taken = queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((queue, thread)) = taken {
            drop(queue);
            if thread.join().is_err() {
                tracing::error!("the writer of the audit log panicked");
            }
        }
    }
}

/// Until the queue is closed and empty.
fn drain(queue: &Receiver<Line>, mut sink: Sink) {
    while let Ok((mut lines, now)) = queue.recv() {
        for (line, _) in queue.try_iter().take(BATCH_MAX - 1) {
            lines.extend(line);
        }
        if let Err(error) = sink.write(&lines, now) {
            tracing::error!(error = %error, "audit events were not written");
        }
    }
}
