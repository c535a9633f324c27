//! The way of a replica to etcd, which can be cut: a write whose answer is lost is the one thing
//! that killing and stopping processes does not show.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use apiserver::tasks::{OnExit, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::POLL;
use super::replica::PREFIX;

/// Passes bytes on until it is told otherwise.
pub(crate) struct Proxy {
    port: u16,
    way: Arc<Way>,
}

struct Way {
    etcd: SocketAddr,
    /// Told when all open connections are to end.
    cuts: watch::Sender<()>,
    /// A connection that has carried a write to etcd carries nothing back any more and ends after
    /// this time.
    losing: watch::Sender<Option<Duration>>,
    lost: AtomicUsize,
}

impl Proxy {
    /// Ends with `tasks`.
    pub(super) fn start(port: u16, etcd: SocketAddr, tasks: &Tasks) -> Self {
        let (cuts, losing) = (watch::Sender::new(()), watch::Sender::new(None));
        let way = Arc::new(Way { etcd, cuts, losing, lost: AtomicUsize::new(0) });
        let (serving, own, stop) = (way.clone(), tasks.clone(), tasks.stopping().clone());
        tasks.spawn("proxy", OnExit::Ignore, async move {
            stop.run_until_cancelled(serving.serve(port, &own)).await;
        });
        Self { port, way }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whatever is under way.
    pub(crate) fn cut(&self) {
        self.way.cuts.send_replace(());
    }

    /// Each write is carried to etcd and its answer is not; the connection ends `after` that time.
    /// `None` = no more.
    pub(crate) fn lose_answers(&self, after: Option<Duration>) {
        self.way.losing.send_replace(after);
    }

    /// Answers to writes that were lost since the last call.
    pub(crate) fn take_lost(&self) -> usize {
        self.way.lost.swap(0, Ordering::SeqCst)
    }
}

impl Way {
    /// Listens while etcd does: a replica must see the difference between a connection that was
    /// refused and one that broke.
    async fn serve(self: Arc<Self>, port: u16, tasks: &Tasks) {
        loop {
            sleep(POLL).await;
            if TcpStream::connect(self.etcd).await.is_err() {
                continue;
            }
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                self.accept(&listener, tasks).await;
            }
        }
    }

    /// Until etcd refuses a connection.
    async fn accept(self: &Arc<Self>, listener: &TcpListener, tasks: &Tasks) {
        while let Ok((replica, _)) = listener.accept().await {
            let Ok(etcd) = TcpStream::connect(self.etcd).await else { return };
            let (way, stop) = (self.clone(), tasks.stopping().clone());
            tasks.spawn("proxied connection", OnExit::Ignore, async move {
                // However it ends, both ends are closed.
                drop(stop.run_until_cancelled(way.carry(replica, etcd)).await);
            });
        }
    }

    async fn carry(&self, replica: TcpStream, etcd: TcpStream) -> Result<()> {
        replica.set_nodelay(true)?;
        etcd.set_nodelay(true)?;
        let mut cuts = self.cuts.subscribe();
        let (mut from_replica, mut to_replica) = replica.into_split();
        let (mut from_etcd, mut to_etcd) = etcd.into_split();
        let is_lost = AtomicBool::new(false);
        let there = async {
            let mut bytes = vec![0; BUFFER_BYTES];
            loop {
                let count = from_replica.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(());
                }
                let losing = self.losing.borrow().filter(|_| is_write(&bytes[..count]));
                is_lost.store(losing.is_some(), Ordering::SeqCst);
                to_etcd.write_all(&bytes[..count]).await?;
                if let Some(after) = losing {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                    sleep(after).await;
                    return Ok(());
                }
            }
        };
        let back = async {
            let mut bytes = vec![0; BUFFER_BYTES];
            loop {
                let count = from_etcd.read(&mut bytes).await?;
                if count == 0 {
                    return Ok(());
                }
                if !is_lost.load(Ordering::SeqCst) {
                    to_replica.write_all(&bytes[..count]).await?;
                }
            }
        };
        tokio::select! {
            ended = there => ended,
            ended = back => ended,
            _ = cuts.changed() => Ok(()),
        }
    }
}

/// A guarded write names its key in the guard, in the write and in what is read if the guard does
/// not hold. Nothing that reads does.
fn is_write(bytes: &[u8]) -> bool {
    bytes.windows(PREFIX.len()).filter(|window| *window == PREFIX.as_bytes()).count() >= 3
}

const BUFFER_BYTES: usize = 64 * 1024;
