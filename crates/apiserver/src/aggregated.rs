//! Assembly: an aggregated API server from a table of kinds, a host cluster and a store. What
//! `k8s.io/apiserver`'s RecommendedOptions are to a Go server. Wiring only.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tracing::info;

use crate::audit::Audit;
use crate::auth::{Authenticator, Authorizer, AuthorizerConfig};
use crate::clock::{Clock, SystemClock};
use crate::delegated::{
    CaBundle, KubeAccessReviewer, KubeTokenReviewer, NamespaceCache, ReviewConfig,
    TokenReviewConfig,
};
use crate::endpoint::Api;
use crate::registry::Store;
use crate::request::RequestInfo;
use crate::resource::ResourceDef;
use crate::server::{
    Health, HealthCheck, LifecycleConfig, Limits, ListenerConfig, Metrics, Outcome, Probe, Routed,
    Server, ServerConfig, Serving, Tls, TlsConfig, signal,
};
use crate::storage::usage::{self, UsageMetrics};
use crate::storage::{
    CacheMetrics, CacheOptions, Cacher, EmbeddedKv, EmbeddedOptions, EtcdKv, EtcdOptions, Kv,
    compact,
};
use crate::tasks::{OnExit, Tasks};

/// How often the certificate's files are looked at.
const CERTIFICATE_POLL: Duration = Duration::from_secs(5);
/// How often the store is asked how full it is.
const USAGE_POLL: Duration = Duration::from_secs(60);

/// Where the objects are kept.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// For several replicas.
    Etcd(EtcdOptions),
    /// For one process.
    Embedded(EmbeddedOptions),
}

impl StoreConfig {
    async fn open(&self) -> anyhow::Result<Arc<dyn Kv>> {
        Ok(match self {
            Self::Etcd(options) => {
                Arc::new(EtcdKv::connect(options).await.context("connecting to etcd")?)
            }
            Self::Embedded(options) => {
                let options = options.clone();
                let open = tokio::task::spawn_blocking(move || EmbeddedKv::open(options));
                Arc::new(open.await?.context("opening the embedded store")?)
            }
        })
    }

    /// Of its health check; etcd's is Kubernetes' own.
    fn check(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "etcd",
            Self::Embedded(_) => "store",
        }
    }

    /// In metrics; kube-apiserver numbers its etcds.
    fn id(&self) -> &'static str {
        match self {
            Self::Etcd(_) => "etcd-0",
            Self::Embedded(_) => "embedded-0",
        }
    }
}

/// What an aggregated server needs to know.
#[derive(Debug, Clone)]
pub struct AggregatedConfig {
    pub listen: SocketAddr,
    /// PEM files; reloaded when they change.
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
    pub store: StoreConfig,
    /// Prefix of all keys, with a leading slash.
    pub store_prefix: String,
    /// `None` = the store is compacted by somebody else.
    pub compaction_interval: Option<Duration>,
    /// Title of the OpenAPI documents.
    pub title: &'static str,
    /// Version of the server, for `/version` and the OpenAPI documents.
    pub version: &'static str,
    /// Between failing readiness and accepting nothing more.
    pub shutdown_delay: Duration,
    pub audit: Audit,
}

/// The parts that kinds and loops are built on.
pub struct Host {
    config: AggregatedConfig,
    client: kube::Client,
    kv: Arc<dyn Kv>,
    ca: CaBundle,
    namespaces: Arc<NamespaceCache>,
    pub clock: Arc<dyn Clock>,
    pub tasks: Tasks,
    pub health: Health,
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Host {
    /// Connects to the store and begins to follow the host cluster.
    ///
    /// # Errors
    /// When the store's options or its file are unusable. An etcd or cluster that is away is waited
    /// for.
    pub async fn connect(config: AggregatedConfig, client: kube::Client) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let kv = config.store.open().await?;
        if let Some(interval) = config.compaction_interval {
            let (kv, stop) = (kv.clone(), tasks.stopping().clone());
            tasks.spawn("compaction", OnExit::Shutdown, compact::run(kv, interval, stop));
        }
        let metrics = Arc::new(Metrics::new());
        let usage = UsageMetrics::new(config.store.id());
        metrics.register(|registry| usage.register(registry));
        let watching = usage::run(kv.clone(), USAGE_POLL, usage, tasks.stopping().clone());
        tasks.spawn("store-usage", OnExit::Shutdown, watching);
        let ca = CaBundle::follow(client.clone(), &tasks);
        let namespaces = Arc::new(NamespaceCache::follow(client.clone(), &tasks));
        let mut health = Health::new();
        let live = [Probe::Healthz, Probe::Livez, Probe::Readyz];
        // Liveness must not depend on the store: a restart of this process would not mend it.
        let store = Arc::new(StoreHealth(kv.clone()));
        health.add(config.store.check(), &[Probe::Healthz, Probe::Readyz], store);
        health.add_fn("log", &live, || Ok(()));
        let synced = namespaces.clone();
        let trust = ca.clone();
        health.add_fn("informer-sync", &[Probe::Readyz], move || {
            if !trust.is_ready() {
                return Err("extension-apiserver-authentication has not been read".into());
            }
            if !synced.is_synced() {
                return Err("namespaces have not been listed".into());
            }
            Ok(())
        });
        Ok(Self {
            config,
            client,
            kv,
            ca,
            namespaces,
            clock: Arc::new(SystemClock),
            tasks,
            health,
            metrics,
        })
    }

    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Where everything is stored, for transactions over several kinds.
    pub fn kv(&self) -> Arc<dyn Kv> {
        self.kv.clone()
    }

    /// Prefix of all keys.
    pub fn store_prefix(&self) -> &str {
        &self.config.store_prefix
    }

    /// The registry of one kind.
    pub fn store(&self, def: ResourceDef) -> Store {
        let (prefix, clock) = (&self.config.store_prefix, self.clock.clone());
        let namespaces = self.namespaces.clone();
        let cache = (CacheOptions::default(), &self.tasks);
        Store::cached(Arc::new(def), self.kv.clone(), prefix, clock, Some(namespaces), cache)
    }

    /// Serves `stores` until SIGTERM, SIGINT or the end of a critical task, then drains.
    ///
    /// # Errors
    /// When the address can't be bound or the certificate can't be read.
    pub async fn serve(self, stores: Vec<Store>) -> anyhow::Result<()> {
        let Self { config, client, ca, clock, tasks, mut health, metrics, .. } = self;
        let caches: Vec<_> = stores.iter().filter_map(Store::cache).cloned().collect();
        let filling = caches.clone();
        health.add_fn("storage-readiness", &[Probe::Readyz], move || {
            if !filling.iter().all(Cacher::is_ready) {
                return Err("a watch cache has not been filled".into());
            }
            Ok(())
        });
        metrics.register(|registry| registry.register_collector(Box::new(CacheMetrics(caches))));
        metrics.register(|registry| config.audit.register(registry));
        let shutdown = signal().context("installing signal handlers")?;
        let tls_config = TlsConfig {
            certificate: config.tls_cert_file.clone(),
            key: config.tls_key_file.clone(),
            poll_interval: CERTIFICATE_POLL,
        };
        let tls = Tls::follow(tls_config, &tasks).await.context("reading the certificate")?;
        let tcp = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listening on {}", config.listen))?;
        let review = ReviewConfig::default();
        let reviewer = Arc::new(KubeAccessReviewer::new(client.clone(), review));
        let tokens = Arc::new(KubeTokenReviewer::new(client, TokenReviewConfig::default()));
        let authorizer = Arc::new(Authorizer::new(AuthorizerConfig::default(), reviewer));
        let (title, version_text) = (config.title, config.version);
        let api = Api::new(stores, title, version_text, clock.clone(), authorizer.clone());
        let server = Server::new(
            ServerConfig {
                limits: Limits::default(),
                route: Arc::new(route),
                version: version(config.version),
                audit: config.audit.clone(),
            },
            Authenticator::new(ca.trust(), tokens, clock),
            authorizer,
            Arc::new(api),
            Arc::new(health),
            metrics,
            tasks.clone(),
        );
        let serving = Serving {
            server,
            tls,
            listener: ListenerConfig::default(),
            lifecycle: LifecycleConfig {
                shutdown_delay: config.shutdown_delay,
                ..LifecycleConfig::default()
            },
        };
        info!(address = %config.listen, version = config.version, "serving");
        let outcome = serving.run(tcp, &tasks, shutdown).await?;
        // A stop that nobody asked for is a failure that the process's exit code must show.
        let failed = tasks.stopping().is_cancelled();
        tasks.shutdown().await;
        config.audit.close().await;
        if outcome == Outcome::CutOff {
            tracing::warn!("some requests were cut off at the drain timeout");
        }
        anyhow::ensure!(!failed, "a critical task ended; see the log");
        Ok(())
    }
}

/// Chain facts of a request.
fn route(parts: &http::request::Parts) -> Routed {
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query());
    Routed {
        attributes: info.attributes(),
        is_long_running: info.is_long_running(),
        is_mutating: info.is_mutating(),
    }
}

/// `/version` (`[apimachinery] pkg/version/types.go`).
fn version(version: &str) -> Value {
    let mut parts = version.split('.');
    json!({
        "major": parts.next().unwrap_or_default(),
        "minor": parts.next().unwrap_or_default(),
        "gitVersion": format!("v{version}"),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

#[derive(Debug)]
struct StoreHealth(Arc<dyn Kv>);

#[async_trait]
impl HealthCheck for StoreHealth {
    async fn check(&self) -> Result<(), String> {
        self.0.health().await.map_err(|error| error.to_string())
    }
}
