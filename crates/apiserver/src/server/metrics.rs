//! The server's own metrics, and the registry to which the product adds its own.
//!
//! Names: `k8s.io/apiserver/pkg/endpoints/metrics/metrics.go`. Labels come from requests, so the
//! number of distinct series is bounded: what is too much is counted under `other`.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::auth::Attributes;

/// Distinct label sets of requests.
const SERIES_MAX: usize = 2000;
const COMPONENT: &str = "apiserver";
const DURATION_BUCKETS: [f64; 16] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// What the chain counts.
#[derive(Debug)]
pub struct Metrics {
    registry: RwLock<Registry>,
    /// The label sets in use.
    series: RwLock<HashSet<RequestLabels>>,
    requests: Family<CodeLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<KindLabels, Gauge>,
    long_running: Family<RequestLabels, Gauge>,
    authentications: Family<ResultLabels, Gauge>,
    authorizations: Family<ResultLabels, Counter>,
}

/// What identifies a request in metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
pub(super) struct RequestLabels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: String,
    component: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    #[prometheus(flatten)]
    request: RequestLabels,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Self {
            registry: RwLock::default(),
            series: RwLock::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Family::default(),
            long_running: Family::default(),
            authentications: Family::default(),
            authorizations: Family::default(),
        };
        // The encoder appends `_total` to counters' names.
        metrics.register(|registry| {
            registry.register("apiserver_request", "Requests answered", metrics.requests.clone());
            registry.register(
                "apiserver_request_duration_seconds",
                "Time from a request's head to its response's head",
                metrics.durations.clone(),
            );
            registry.register(
                "apiserver_current_inflight_requests",
                "Requests under way, long-running ones apart",
                metrics.in_flight.clone(),
            );
            registry.register(
                "apiserver_longrunning_requests",
                "Watches and streams under way",
                metrics.long_running.clone(),
            );
            // A gauge because its established name lacks the suffix of counters.
            registry.register(
                "authentication_attempts",
                "Authentications by result",
                metrics.authentications.clone(),
            );
            registry.register(
                "authorization_attempts",
                "Authorizations by result",
                metrics.authorizations.clone(),
            );
        });
        metrics
    }

    /// Lets the product register metrics of its own.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The text of `/metrics`.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut out, &registry).expect("writing to a String succeeds");
        out
    }

    pub(super) fn answered(&self, labels: &RequestLabels, code: u16, took: Duration) {
        let request = self.bounded(labels);
        self.durations.get_or_create(&request).observe(took.as_secs_f64());
        self.requests.get_or_create(&CodeLabels { request, code }).inc();
    }

    pub(super) fn in_flight(&self, is_mutating: bool) -> Gauge {
        let request_kind = if is_mutating { "mutating" } else { "readOnly" };
        self.in_flight.get_or_create_owned(&KindLabels { request_kind })
    }

    pub(super) fn long_running(&self, labels: &RequestLabels) -> Gauge {
        self.long_running.get_or_create_owned(&self.bounded(labels))
    }

    /// The labels, or `other` if they are new and there are too many already.
    fn bounded(&self, labels: &RequestLabels) -> RequestLabels {
        if self.series.read().unwrap_or_else(PoisonError::into_inner).contains(labels) {
            return labels.clone();
        }
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= SERIES_MAX {
            return RequestLabels::other();
        }
        series.insert(labels.clone());
        labels.clone()
    }

    pub(super) fn authenticated(&self, is_ok: bool) {
        let result = if is_ok { "success" } else { "failure" };
        self.authentications.get_or_create(&ResultLabels { result }).inc();
    }

    pub(super) fn authorized(&self, result: &'static str) {
        self.authorizations.get_or_create(&ResultLabels { result }).inc();
    }
}

impl RequestLabels {
    pub(super) fn of(attributes: &Attributes) -> Self {
        let component = COMPONENT.to_owned();
        match attributes {
            Attributes::NonResource { verb, .. } => {
                Self { verb: canonical(verb).into(), component, ..Self::default() }
            }
            Attributes::Resource {
                verb,
                group,
                version,
                resource,
                subresource,
                namespace,
                name,
            } => Self {
                verb: canonical(verb).into(),
                group: group.clone(),
                version: version.clone(),
                resource: resource.clone(),
                subresource: subresource.clone(),
                scope: scope(verb, namespace, name).into(),
                component,
            },
        }
    }

    /// Of a request by somebody who may not ask it: nothing that the client can choose freely.
    pub(super) fn without_resource(&self) -> Self {
        Self { verb: self.verb.clone(), component: self.component.clone(), ..Self::default() }
    }

    fn other() -> Self {
        Self { verb: "other".into(), component: COMPONENT.into(), ..Self::default() }
    }
}

fn scope(verb: &str, namespace: &str, name: &str) -> &'static str {
    if !name.is_empty() || verb == "create" {
        "resource"
    } else if !namespace.is_empty() {
        "namespace"
    } else {
        "cluster"
    }
}

fn canonical(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "connect" => "CONNECT",
        "head" => "HEAD",
        "options" => "OPTIONS",
        _ => "other",
    }
}
