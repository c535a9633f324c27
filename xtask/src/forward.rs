//! Carries loopback ports of the machine into the cluster's network namespace.
//!
//! Listeners stay in the machine's namespace; the thread of each connection enters the cluster's,
//! connects there, and copies bytes both ways. Threads, because a namespace belongs to a thread.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::layout::FORWARDS;
use crate::netns;

pub(crate) fn run() -> Result<()> {
    let mut accepting = Vec::new();
    for (port, target) in FORWARDS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        println!("127.0.0.1:{port} -> {target}");
        accepting.push(thread::spawn(move || accept(&listener, target)));
    }
    for thread in accepting {
        thread.join().map_err(|_panic| anyhow!("an accepting thread panicked"))?;
    }
    Ok(())
}

fn accept(listener: &TcpListener, target: &'static str) {
    for client in listener.incoming() {
        let result = client.context("accept").and_then(|client| {
            let carry = move || {
                if let Err(error) = carry(&client, target) {
                    eprintln!("{target}: {error:#}");
                }
            };
            thread::Builder::new().stack_size(128 << 10).spawn(carry).context("spawn")
        });
        if let Err(error) = result {
            // Out of descriptors or threads: give the others time to end.
            eprintln!("{target}: {error:#}");
            thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn carry(client: &TcpStream, target: &str) -> Result<()> {
    netns::enter()?;
    let server = TcpStream::connect(target).context("connect")?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
    Ok(())
}

/// Copies until the end of `from`, and passes that end on: half-closed connections stay usable.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    match io::copy(&mut from, &mut to) {
        // The other direction may already have closed the socket.
        Ok(_) => drop(to.shutdown(Shutdown::Write)),
        Err(_) => {
            drop(from.shutdown(Shutdown::Both));
            drop(to.shutdown(Shutdown::Both));
        }
    }
}
