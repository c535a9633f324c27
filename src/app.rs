//! Composition root: builds the parts, registers the kinds, owns the tasks. Wiring only.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use apiserver::aggregated::{AggregatedConfig, Host, StoreConfig};
use apiserver::auth::Permit;
use apiserver::registry::Store;
use apiserver::server::Probe;
use apiserver::storage::{EmbeddedOptions, EtcdOptions, EtcdTls};
use sandbox_api::IsolationLevel;

use crate::cluster::Cluster as _;
use crate::cluster::kube::KubeCluster;
use crate::config::{self, Config, Etcd};
use crate::provision::{Driver, LoopMetrics, Policy, StoreSandboxes};
use crate::{cluster, connect, provision, resources};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Serves until told to stop.
///
/// # Errors
/// When a part can't be built or a critical task ends.
pub fn run(config: Config) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let client = client(&config).await?;
    let aggregated = AggregatedConfig {
        listen: config.listen,
        tls_cert_file: config.tls_cert_file.clone(),
        tls_key_file: config.tls_key_file.clone(),
        store: match &config.store {
            config::Store::Etcd(config) => StoreConfig::Etcd(etcd(config)?),
            config::Store::Embedded { directory } => {
                StoreConfig::Embedded(EmbeddedOptions::new(directory))
            }
        },
        store_prefix: config.store_prefix.clone(),
        compaction_interval: config.compaction_interval,
        title: "sandbox-apiserver",
        version: VERSION,
        shutdown_delay: config.shutdown_delay,
    };
    let mut host = Host::connect(aggregated, client).await?;
    let cluster = KubeCluster::new(host.client(), cluster::kube::Config::default());
    let mut subresources = resources::sandbox::actions::subresources();
    let streams = Arc::new(cluster.clone());
    subresources.extend(connect::subresources(streams, connect::Config::default()));
    let stores: Vec<Store> =
        resources::defs(subresources).into_iter().map(|def| host.store(def)).collect();
    let sandboxes = stores
        .iter()
        .find(|store| store.def().plural == "sandboxes")
        .context("the table has no sandboxes")?;
    provision(&config, &mut host, cluster, sandboxes.clone());
    host.serve(stores).await
}

/// Starts the loop that makes sandboxes real.
fn provision(config: &Config, host: &mut Host, cluster: KubeCluster, store: Store) {
    cluster.start(&host.tasks);
    let caches = cluster.clone();
    host.health.add_fn("provision-sync", &[Probe::Readyz], move || {
        if caches.synced() { Ok(()) } else { Err("the host cluster has not been listed".into()) }
    });
    let cluster_writes = cluster.writes();
    let permit = Permit::internal("system:sandbox-apiserver:provision");
    let sandboxes = Arc::new(StoreSandboxes::new(store, permit));
    let mut runtime_classes = HashMap::new();
    let named = [
        (IsolationLevel::UserKernel, &config.user_kernel_runtime_class),
        (IsolationLevel::VirtualMachine, &config.virtual_machine_runtime_class),
    ];
    for (level, class) in named {
        if let Some(class) = class {
            runtime_classes.insert(level, class.clone());
        }
    }
    let driver = Driver::new(
        sandboxes.clone(),
        Arc::new(cluster),
        host.clock.clone(),
        provision::Config {
            workers: config.concurrent_reconciles,
            policy: Policy {
                cluster_domain: config.cluster_domain.clone(),
                runtime_classes,
                ..Policy::default()
            },
            ..provision::Config::default()
        },
    );
    driver.start(&host.tasks);
    let metrics = LoopMetrics { cluster_writes, sandboxes, driver };
    host.metrics.register(|registry| registry.register_collector(Box::new(metrics)));
}

async fn client(config: &Config) -> anyhow::Result<kube::Client> {
    let kube_config = match &config.kubeconfig {
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("reading {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?
        }
        None => kube::Config::incluster().context("no --kubeconfig, and not in a cluster")?,
    };
    kube::Client::try_from(kube_config).context("making the cluster's client")
}

fn etcd(config: &Etcd) -> anyhow::Result<EtcdOptions> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("reading {}", path.display()))
    };
    let mut options = EtcdOptions::new(config.endpoints.clone());
    if config.endpoints.iter().any(|url| url.starts_with("https://")) {
        options.tls = Some(EtcdTls {
            ca: config.ca_file.as_deref().map(read).transpose()?,
            identity: match &config.identity {
                Some((cert, key)) => Some((read(cert)?, read(key)?)),
                None => None,
            },
        });
    }
    Ok(options)
}
