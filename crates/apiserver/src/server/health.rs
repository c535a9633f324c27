//! `/healthz`, `/livez`, `/readyz`.
//!
//! Texts: `k8s.io/apiserver/pkg/server/healthz/healthz.go`.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use http::{Response, StatusCode};
use tracing::warn;

use super::{Body, response};

/// One check may take so long; kubelet's probes give up after a second or a few.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The three endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    Healthz,
    Livez,
    Readyz,
}

/// A named condition of health.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// The error's text is shown only on the check's own path, and logged.
    async fn check(&self) -> Result<(), String>;
}

/// All checks of a server.
pub struct Health {
    checks: Vec<Registered>,
    shutting_down: Arc<AtomicBool>,
}

struct Registered {
    name: String,
    probes: Vec<Probe>,
    check: Arc<dyn HealthCheck>,
}

/// A check that needs no waiting.
struct Immediate<F>(F);

impl Probe {
    pub(super) const ALL: [Self; 3] = [Self::Healthz, Self::Livez, Self::Readyz];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

#[async_trait]
impl<F: Fn() -> Result<(), String> + Send + Sync> HealthCheck for Immediate<F> {
    async fn check(&self) -> Result<(), String> {
        self.0()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.checks.iter().map(|check| &check.name);
        f.debug_list().entries(names).finish()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Knows `ping` everywhere and `shutdown` in readyz.
    pub fn new() -> Self {
        let shutting_down = Arc::new(AtomicBool::new(false));
        let mut health = Self { checks: Vec::new(), shutting_down: shutting_down.clone() };
        health.add_fn("ping", &Probe::ALL, || Ok(()));
        health.add_fn("shutdown", &[Probe::Readyz], move || {
            if shutting_down.load(Ordering::SeqCst) {
                return Err("process is shutting down".into());
            }
            Ok(())
        });
        health
    }

    /// Adds a check, shown before `shutdown` in the order of adding.
    pub fn add(&mut self, name: &str, probes: &[Probe], check: Arc<dyn HealthCheck>) {
        let registered = Registered { name: name.into(), probes: probes.into(), check };
        let end = self.checks.len();
        let before_shutdown = self.checks.iter().position(|check| check.name == "shutdown");
        self.checks.insert(before_shutdown.unwrap_or(end), registered);
    }

    /// Adds a check that answers at once.
    pub fn add_fn<F>(&mut self, name: &str, probes: &[Probe], check: F)
    where
        F: Fn() -> Result<(), String> + Send + Sync + 'static,
    {
        self.add(name, probes, Arc::new(Immediate(check)));
    }

    /// From now on `readyz` fails.
    pub fn begin_shutdown(&self) {
        self.shutting_down.store(true, Ordering::SeqCst);
    }

    /// Answers `/{probe}` (`sub` = `None`) or `/{probe}/{sub}`.
    pub(super) async fn answer(
        &self,
        probe: Probe,
        sub: Option<&str>,
        query: Option<&str>,
    ) -> Response<Body> {
        let mut checks = self.checks.iter().filter(|check| check.probes.contains(&probe));
        match sub {
            None => summary(probe, checks.collect(), query.unwrap_or_default()).await,
            Some(name) => match checks.find(|check| check.name == name) {
                None => response::page_not_found(),
                Some(check) => match check.run().await {
                    Ok(()) => response::text(StatusCode::OK, "ok"),
                    Err(reason) => response::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!("internal server error: {reason}\n"),
                    ),
                },
            },
        }
    }
}

impl Registered {
    async fn run(&self) -> Result<(), String> {
        let outcome = tokio::time::timeout(CHECK_TIMEOUT, self.check.check()).await;
        let outcome = outcome.unwrap_or_else(|_| Err("timed out".into()));
        if let Err(reason) = &outcome {
            warn!(check = self.name, reason, "health check failed");
        }
        outcome
    }
}

async fn summary(probe: Probe, checks: Vec<&Registered>, query: &str) -> Response<Body> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let is_verbose = pairs.iter().any(|(key, _)| key == "verbose");
    let mut excluded: BTreeSet<&str> =
        pairs.iter().filter(|(key, _)| key == "exclude").map(|(_, value)| value.as_ref()).collect();
    excluded.remove("");

    let runs = checks.iter().map(|check| {
        let is_excluded = excluded.contains(check.name.as_str());
        async move { if is_excluded { None } else { Some(check.run().await) } }
    });
    let outcomes = join_all(runs).await;

    let mut text = String::new();
    let mut is_failed = false;
    for (check, outcome) in checks.iter().zip(outcomes) {
        let name = &check.name;
        let line = match outcome {
            None => {
                excluded.remove(name.as_str());
                format!("[+]{name} excluded: ok\n")
            }
            Some(Ok(())) => format!("[+]{name} ok\n"),
            Some(Err(_)) => {
                is_failed = true;
                format!("[-]{name} failed: reason withheld\n")
            }
        };
        text.push_str(&line);
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        writeln!(text, "warn: some health checks cannot be excluded: no matches for {names}")
            .expect("writing to a String succeeds");
    }
    let name = probe.name();
    if is_failed {
        text.push_str(&format!("{name} check failed\n"));
        return response::text(StatusCode::INTERNAL_SERVER_ERROR, text);
    }
    if is_verbose {
        text.push_str(&format!("{name} check passed\n"));
        return response::text(StatusCode::OK, text);
    }
    response::text(StatusCode::OK, "ok")
}
