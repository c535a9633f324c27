//! Processes that outlive xtask: started in a session of their own, found again by pid *and* start
//! time, so that a recycled pid is never taken for ours.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::layout::{Layout, NETNS_PATH};

/// What is to run.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) argv: Vec<OsString>,
    /// Files that the process reads once, at its start: other contents mean a restart.
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) in_netns: bool,
}

/// What was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: i32,
    /// Field 22 of /proc/PID/stat: ticks since boot.
    pub(crate) start_ticks: u64,
    pub(crate) fingerprint: String,
    pub(crate) log: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) start_ticks: u64,
}

impl Spec {
    /// Changes when the process would be started differently.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for arg in &self.argv {
            hash.update(arg.as_encoded_bytes());
            hash.update([0]);
        }
        for (name, value) in environment() {
            hash.update(name.as_encoded_bytes());
            hash.update([b'=']);
            hash.update(value.as_encoded_bytes());
            hash.update([0]);
        }
        for input in &self.inputs {
            // Not the content: a debug build takes seconds to hash a server of 200 MB. Whoever
            // writes an input leaves it alone when nothing changed (`write_if_changed`).
            let input =
                fs::metadata(input).with_context(|| format!("cannot read {}", input.display()))?;
            for number in [input.mtime(), input.mtime_nsec(), input.size().cast_signed()] {
                hash.update(number.to_le_bytes());
            }
        }
        Ok(hex::encode(hash.finalize()))
    }

    pub(crate) fn spawn(&self, layout: &Layout) -> Result<Record> {
        let fingerprint = self.fingerprint()?;
        let log = layout.log(self.name);
        fs::create_dir_all(layout.logs())?;
        let file = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        // setsid and nsenter exec in place: the pid stays. `ip netns exec` would remount /sys and
        // hide the cgroups from the kubelet.
        let mut command = Command::new("setsid");
        if self.in_netns {
            command.arg("nsenter").arg(format!("--net={NETNS_PATH}")).arg("--");
        }
        let child = command
            .args(&self.argv)
            .current_dir("/")
            .env_clear()
            .envs(environment())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        let pid = i32::try_from(child.id()).context("pid out of range")?;
        let start_ticks = stat(pid).map(|stat| stat.start_ticks).unwrap_or_default();
        let record = Record { pid, start_ticks, fingerprint, log };
        fs::create_dir_all(layout.records())?;
        fs::write(record_path(layout, self.name), serde_json::to_vec_pretty(&record)?)?;
        Ok(record)
    }
}

impl Record {
    pub(crate) fn load(layout: &Layout, name: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(record_path(layout, name)).ok()?).ok()
    }

    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| {
            stat.start_ticks == self.start_ticks
                && (stat.is_running() || has_other_threads(self.pid))
        })
    }

    pub(crate) fn uptime(&self) -> Option<Duration> {
        let since_boot = fs::read_to_string("/proc/uptime").ok()?;
        let since_boot: f64 = since_boot.split(' ').next()?.parse().ok()?;
        // USER_HZ is 100 on every architecture that Rust's Linux targets support.
        let started = Duration::from_millis(self.start_ticks * 10);
        Duration::from_secs_f64(since_boot).checked_sub(started)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if self.is_alive() {
            kill(Pid::from_raw(self.pid), signal)
                .with_context(|| format!("cannot signal pid {}", self.pid))?;
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL once `grace` is over.
    pub(crate) fn stop(&self, grace: Duration) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        if !self.ends_within(grace) {
            self.kill()?;
        }
        Ok(())
    }

    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        if !self.ends_within(Duration::from_secs(10)) {
            bail!("pid {} survives SIGKILL", self.pid);
        }
        Ok(())
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// The last line of the log, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output");
        line.chars().take(300).collect()
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The command name, in parentheses, may hold spaces and parentheses of its own.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_running(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// Whether threads are left of a process whose first thread has ended: until they have ended too,
/// its sockets are open.
fn has_other_threads(pid: i32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().any(|task| task.file_name().to_str() != Some(&pid.to_string()))
}

pub(crate) fn stat(pid: i32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Every process of the machine with its command line.
pub(crate) fn all() -> Vec<(i32, Vec<String>)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let args = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            Some((pid, args.map(std::borrow::Cow::into_owned).collect()))
        })
        .collect()
}

/// The processes, their children, and so on.
pub(crate) fn with_descendants(mut pids: Vec<i32>) -> Vec<i32> {
    let parents: Vec<(i32, i32)> =
        all().into_iter().filter_map(|(pid, _)| Some((pid, stat(pid)?.parent))).collect();
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        next += 1;
        pids.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child));
    }
    pids
}

/// The same from every shell and every caller, but for what a developer sets to look closer.
fn environment() -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOME".into(), "/root".into()),
        // Memory is there, cores are not: Kubernetes' programs and etcd collect garbage a quarter as
        // often as by default.
        ("GOGC".into(), "400".into()),
    ];
    for name in ["RUST_LOG", "RUST_BACKTRACE", "GODEBUG", "GOTRACEBACK"] {
        if let Some(value) = std::env::var_os(name) {
            environment.push((name.into(), value));
        }
    }
    environment
}

fn record_path(layout: &Layout, name: &str) -> PathBuf {
    layout.records().join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 5 0 9876 1 2";

    #[test]
    fn stat_is_parsed_past_odd_names() {
        assert_eq!(Stat::parse(STAT), Some(Stat { state: 'S', parent: 7, start_ticks: 9876 }));
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[test]
    fn a_recycled_pid_is_not_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start_ticks = stat(pid).unwrap().start_ticks;
        let mut record =
            Record { pid, start_ticks, fingerprint: String::new(), log: PathBuf::new() };
        assert!(record.is_alive());
        record.start_ticks += 1;
        assert!(!record.is_alive());
        // Nobody is signalled: this test would end itself.
        record.kill().unwrap();
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start_ticks = stat(pid).unwrap().start_ticks;
        let record = Record { pid, start_ticks, fingerprint: String::new(), log: PathBuf::new() };
        assert!(record.ends_within(Duration::from_secs(5)));
        child.wait().unwrap();
    }

    #[test]
    fn the_fingerprint_sees_arguments_and_inputs() {
        let file = std::env::temp_dir().join(format!("xtask-fingerprint-{}", std::process::id()));
        fs::write(&file, "one").unwrap();
        let spec = Spec {
            name: "x",
            argv: vec!["a".into(), "b".into()],
            inputs: vec![file.clone()],
            in_netns: false,
        };
        let first = spec.fingerprint().unwrap();
        let joined = Spec { argv: vec!["ab".into()], ..spec.clone() };
        assert_ne!(joined.fingerprint().unwrap(), first);
        fs::write(&file, "three").unwrap();
        assert_ne!(spec.fingerprint().unwrap(), first);
        fs::remove_file(&file).unwrap();
    }
}
