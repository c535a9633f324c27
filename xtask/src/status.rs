//! `cargo xtask status`: a table, then what Kubernetes says. Succeeds when everything is up.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::cli::StoreKind;
use crate::components::{NAMES, SERVER_ETCD};
use crate::layout::{API_SERVICE, Layout, NODE_NAME};
use crate::proc::Record;
use crate::{kube, progress, up};

pub(crate) fn run(layout: &Layout) -> Result<ExitCode> {
    match layout.owner() {
        None => println!("no cluster on this machine: run `cargo xtask up`"),
        Some(owner) if owner != layout.root => {
            println!("the cluster on this machine belongs to {}", owner.display());
        }
        Some(_) => {
            let (text, all_up) = table(layout);
            progress::print(&text);
            return Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Ok(ExitCode::FAILURE)
}

fn table(layout: &Layout) -> (String, bool) {
    let mut all_up = true;
    let mut text =
        format!("{:<24} {:>8} {:<5} {:>10}  LOG\n", "COMPONENT", "PID", "STATE", "UPTIME");
    let embedded = up::store(layout) == StoreKind::Embedded;
    for name in NAMES.into_iter().filter(|name| !(embedded && *name == SERVER_ETCD)) {
        let record = Record::load(layout, name);
        let alive = record.as_ref().is_some_and(Record::is_alive);
        all_up &= alive;
        let (pid, uptime) = match &record {
            Some(record) if alive => (record.pid.to_string(), record.uptime().map(human)),
            _ => ("-".to_owned(), None),
        };
        text.push_str(&format!(
            "{name:<24} {pid:>8} {:<5} {:>10}  {}\n",
            if alive { "up" } else { "down" },
            uptime.unwrap_or_else(|| "-".to_owned()),
            layout.show(&layout.log(name)),
        ));
    }
    for (what, object, condition) in [
        ("node Ready", format!("node/{NODE_NAME}"), "Ready"),
        ("APIService Available", format!("apiservice/{API_SERVICE}"), "Available"),
    ] {
        let holds = kube::condition(layout, &object, condition);
        all_up &= holds;
        text.push_str(&format!("{what}: {holds}\n"));
    }
    (text, all_up)
}

fn human(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}
