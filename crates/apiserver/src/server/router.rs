//! The few paths that the machinery answers itself.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Body, Health, Metrics, Probe, response};
use crate::status::ApiError;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A path of the machinery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Own {
    Health(Probe, Option<String>),
    Metrics,
    Version,
}

impl Own {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/metrics" => return Some(Self::Metrics),
            "/version" | "/version/" => return Some(Self::Version),
            _ => {}
        }
        let (head, sub) = match path.strip_prefix('/')?.split_once('/') {
            Some((head, sub)) => (head, Some(sub.to_owned())),
            None => (path.strip_prefix('/')?, None),
        };
        let probe = Probe::ALL.into_iter().find(|probe| probe.name() == head)?;
        Some(Self::Health(probe, sub))
    }

    pub(super) async fn answer(
        &self,
        parts: &Parts,
        health: &Health,
        metrics: &Metrics,
        version: &Value,
    ) -> Response<Body> {
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return response::error(&ApiError::generic_method_not_allowed());
        }
        match self {
            Self::Health(probe, sub) => {
                health.answer(*probe, sub.as_deref(), parts.uri.query()).await
            }
            Self::Metrics => {
                response::with(StatusCode::OK, OPENMETRICS, response::full(metrics.encode()))
            }
            Self::Version => response::json(StatusCode::OK, version),
        }
    }
}
