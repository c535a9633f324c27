//! The host cluster's CAs, followed for as long as the server runs.
//!
//! The ConfigMap's keys: `k8s.io/apiserver/pkg/server/options/authentication.go`. Both CAs rotate
//! without anybody restarting us, so a watch swaps them into [`Trust`].

use std::collections::BTreeMap;
use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::auth::{RequestHeaderConfig, Trust, TrustAnchors, TrustConfig, TrustError};
use crate::tasks::{OnExit, Tasks};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// Why the ConfigMap could not be used.
#[derive(Debug, Error)]
pub enum CaBundleError {
    #[error("{key}: {source}")]
    Ca {
        key: &'static str,
        #[source]
        source: TrustError,
    },
    #[error("{key} is not a JSON list of strings: {source}")]
    List {
        key: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("it has neither a client CA nor a request header CA")]
    Empty,
}

/// A followed ConfigMap.
#[derive(Debug, Clone)]
pub struct CaBundle {
    trust: Trust,
    ready: watch::Receiver<bool>,
}

impl CaBundle {
    /// Starts to follow. Until the ConfigMap has been seen, `trust` trusts nobody.
    pub fn follow(client: kube::Client, tasks: &Tasks) -> Self {
        let trust = Trust::default();
        let (seen, ready) = watch::channel(false);
        let stop = tasks.stopping().clone();
        let target = trust.clone();
        tasks.spawn("ca-bundle", OnExit::Shutdown, async move {
            let follow = run(Api::namespaced(client, NAMESPACE), target, seen);
            stop.run_until_cancelled(follow).await;
        });
        Self { trust, ready }
    }

    pub fn trust(&self) -> Trust {
        self.trust.clone()
    }

    /// Whether a usable ConfigMap has been seen.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits for a usable ConfigMap; for ever if none appears.
    pub async fn ready(&self) {
        if !self.is_ready() {
            info!(namespace = NAMESPACE, name = NAME, "waiting for the host cluster's CAs");
        }
        if self.ready.clone().wait_for(|is_ready| *is_ready).await.is_err() {
            warn!("stopped following the host cluster's CAs");
        }
    }
}

async fn run(api: Api<ConfigMap>, trust: Trust, seen: watch::Sender<bool>) {
    let config = Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut found = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => found = false,
            Ok(Event::InitApply(map) | Event::Apply(map)) => {
                found = true;
                adopt(&map, &trust, &seen);
            }
            Ok(Event::InitDone) if !found => {
                warn!(namespace = NAMESPACE, name = NAME, "the ConfigMap of the CAs is missing");
            }
            Ok(Event::InitDone) => {}
            Ok(Event::Delete(_)) => {
                warn!(
                    namespace = NAMESPACE,
                    name = NAME,
                    "the ConfigMap of the CAs was deleted; keeping the last known"
                );
            }
            Err(error) => warn!(error = %error, "can't follow the host cluster's CAs; retrying"),
        }
    }
}

fn adopt(map: &ConfigMap, trust: &Trust, seen: &watch::Sender<bool>) {
    let empty = BTreeMap::new();
    match parse(map.data.as_ref().unwrap_or(&empty)) {
        Ok(config) => {
            let (clients, front) = (
                config.client_ca.as_slice().len(),
                config.request_header.as_ref().map_or(0, |front| front.ca.as_slice().len()),
            );
            trust.store(config);
            seen.send_replace(true);
            info!(
                client_cas = clients,
                front_proxy_cas = front,
                "the host cluster's CAs are in force"
            );
        }
        Err(error) => {
            warn!(error = %error, "can't use the host cluster's CAs; keeping the last known")
        }
    }
}

/// The data of the ConfigMap as trust.
pub fn parse(data: &BTreeMap<String, String>) -> Result<TrustConfig, CaBundleError> {
    let client_ca = ca(data, "client-ca-file")?.unwrap_or_default();
    let request_header = match ca(data, "requestheader-client-ca-file")? {
        None => None,
        Some(ca) => Some(RequestHeaderConfig {
            ca,
            allowed_names: list(data, "requestheader-allowed-names")?,
            username_headers: list(data, "requestheader-username-headers")?,
            uid_headers: list(data, "requestheader-uid-headers")?,
            group_headers: list(data, "requestheader-group-headers")?,
            extra_prefixes: list(data, "requestheader-extra-headers-prefix")?,
        }),
    };
    if client_ca.as_slice().is_empty() && request_header.is_none() {
        return Err(CaBundleError::Empty);
    }
    Ok(TrustConfig { client_ca, request_header })
}

fn ca(
    data: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<Option<TrustAnchors>, CaBundleError> {
    match data.get(key) {
        Some(pem) if !pem.trim().is_empty() => TrustAnchors::from_pem(pem.as_bytes())
            .map(Some)
            .map_err(|source| CaBundleError::Ca { key, source }),
        _ => Ok(None),
    }
}

fn list(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, CaBundleError> {
    match data.get(key) {
        Some(json) if !json.trim().is_empty() => {
            serde_json::from_str(json).map_err(|source| CaBundleError::List { key, source })
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::FakeCa;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn reads_what_kubeadm_writes() {
        let (clients, front) = (FakeCa::new("kubernetes"), FakeCa::new("front-proxy-ca"));
        let config = parse(&data(&[
            ("client-ca-file", &format!("{}{}", clients.pem, front.pem)),
            ("requestheader-client-ca-file", &front.pem),
            ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]))
        .unwrap();
        assert_eq!(config.client_ca.as_slice().len(), 2);
        let front = config.request_header.unwrap();
        assert_eq!(front.allowed_names, ["front-proxy-client"]);
        assert_eq!(front.username_headers, ["X-Remote-User"]);
        assert!(front.uid_headers.is_empty());
    }

    #[test]
    fn refuses_what_would_trust_nobody_or_anybody() {
        assert!(matches!(parse(&data(&[])), Err(CaBundleError::Empty)));
        assert!(matches!(
            parse(&data(&[("client-ca-file", "rubbish")])),
            Err(CaBundleError::Ca { key: "client-ca-file", .. })
        ));
        let ca = FakeCa::new("front");
        let broken = data(&[
            ("requestheader-client-ca-file", &ca.pem),
            ("requestheader-allowed-names", "front-proxy-client"),
        ]);
        assert!(matches!(parse(&broken), Err(CaBundleError::List { .. })));
    }
}
