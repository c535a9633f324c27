//! Composition root: builds the parts, registers the kinds, owns the tasks. Wiring only.

use std::sync::Arc;

use anyhow::Context as _;
use apiserver::aggregated::{AggregatedConfig, Host, StoreConfig};
use apiserver::audit::{self, Audit, Log};
use apiserver::auth::Permit;
use apiserver::clock::SystemClock;
use apiserver::registry::Store;
use apiserver::server::Probe;
use apiserver::storage::{EmbeddedOptions, EtcdOptions, EtcdTls, GroupCommit, GroupOptions, Kv};
use sandbox_api::IsolationLevel;

use crate::claims::{Claims, Entrance};
use crate::cluster::Cluster as _;
use crate::cluster::kube::{KubeCluster, dial};
use crate::config::{self, Config, Etcd};
use crate::events::{self, Events};
use crate::foreground::Foreground;
use crate::provision::{Driver, LoopMetrics, Policy, StoreSandboxes};
use crate::resources::Extensions;
use crate::{claims, cluster, connect, pools, provision, resources, templates};

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
    let (client, streaming) = clients(&config).await?;
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
        audit: config.audit.as_ref().map(open_audit).transpose()?.unwrap_or_default(),
    };
    let mut host = Host::connect(aggregated, client).await?;
    let cluster = KubeCluster::new(host.client(), streaming, cluster::kube::Config::default());
    let mut subresources = resources::sandbox::actions::subresources();
    let streams = Arc::new(cluster.clone());
    let rows = connect::Rows::new(streams, connect::Config::default());
    let mut of_claims = claims::on_claims(&subresources, &rows.entrance);
    of_claims.extend(rows.claim);
    subresources.extend(rows.sandbox);
    let entrance = Entrance::default();
    let extensions = Extensions {
        sandbox: subresources,
        sandbox_decorator: Some(Arc::new(rows.activity)),
        claim: of_claims,
        warm_pool: vec![entrance.action()],
        claim_creation: Some(entrance.creation()),
    };
    let stores: Vec<Store> =
        resources::defs(extensions).into_iter().map(|def| host.store(def)).collect();
    let kinds = Kinds::of(&stores)?;
    rows.entrance.open(connect::Sandboxes {
        store: kinds.sandboxes.clone(),
        permit: Permit::internal("system:sandbox-apiserver:streams"),
        clock: host.clock.clone(),
    });
    host.metrics.register(|registry| rows.metrics.register(registry));
    keep_templates(&host, &kinds, cluster.clone())?;
    let foreground = Foreground::default();
    let events = tell_events(&host, cluster.clone(), foreground.clone());
    let loop_config = provision::Config {
        workers: config.concurrent_reconciles,
        policy: loop_policy(&config),
        events: events.clone(),
        foreground: foreground.clone(),
        ..provision::Config::default()
    };
    provision(&mut host, cluster, kinds.sandboxes.clone(), loop_config);
    let claims = supply(&config, &host, &kinds, events, foreground)?;
    let filled = claims.clone();
    host.health.add_fn("claims-stock", &[Probe::Readyz], move || match filled.is_filled() {
        true => Ok(()),
        false => Err("the stock of the warm pools is not known yet".into()),
    });
    entrance.open(claims);
    host.serve(stores).await
}

/// The registries by name.
struct Kinds {
    sandboxes: Store,
    templates: Store,
    claims: Store,
    pools: Store,
}

impl Kinds {
    fn of(stores: &[Store]) -> anyhow::Result<Self> {
        let find = |plural: &str| {
            let found = stores.iter().find(|store| store.def().plural == plural);
            found.cloned().with_context(|| format!("the table has no {plural}"))
        };
        Ok(Self {
            sandboxes: find("sandboxes")?,
            templates: find("sandboxtemplates")?,
            claims: find("sandboxclaims")?,
            pools: find("sandboxwarmpools")?,
        })
    }
}

/// Starts what keeps pools and claims, and returns what answers claims.
fn supply(
    config: &Config,
    host: &Host,
    kinds: &Kinds,
    events: Events,
    foreground: Foreground,
) -> anyhow::Result<Claims> {
    let permit = Permit::internal("system:sandbox-apiserver:claims");
    let kv: Arc<dyn Kv> = if config.claim_group_commit {
        Arc::new(GroupCommit::start(host.kv(), &GroupOptions::default(), &host.tasks))
    } else {
        host.kv()
    };
    let parts = claims::Parts {
        claims: kinds.claims.clone(),
        sandboxes: kinds.sandboxes.clone(),
        pools: kinds.pools.clone(),
        templates: kinds.templates.clone(),
        kv,
        store_prefix: host.store_prefix().to_owned(),
        clock: host.clock.clone(),
        permit: permit.clone(),
        events: events.clone(),
        foreground,
    };
    let bounds = claims::Config { queue_max: config.claim_queue_max, ..claims::Config::default() };
    let claims = Claims::new(parts, bounds);
    let stores = (kinds.claims.clone(), kinds.sandboxes.clone());
    claims::start(&claims, stores, &permit, host.clock.clone(), &host.tasks)?;
    let parts = pools::Parts {
        pools: kinds.pools.clone(),
        sandboxes: kinds.sandboxes.clone(),
        templates: kinds.templates.clone(),
        claim_store: kinds.claims.clone(),
        claims: claims.clone(),
        kv: host.kv(),
        clock: host.clock.clone(),
        permit: Permit::internal("system:sandbox-apiserver:warm-pools"),
        policy: pools::Policy::default(),
        events,
    };
    let pool_metrics = pools::start(parts, &host.tasks)?;
    let metrics = claims.metrics().clone();
    host.metrics.register(|registry| {
        metrics.register(registry);
        registry.register_collector(Box::new(pool_metrics));
    });
    Ok(claims)
}

/// Starts what writes Events to the cluster.
fn tell_events(host: &Host, cluster: KubeCluster, foreground: Foreground) -> Events {
    let config = events::Config { foreground, ..events::Config::default() };
    let events = Events::start(Arc::new(cluster), host.clock.clone(), config, &host.tasks);
    let metrics = events.metrics().clone();
    host.metrics.register(|registry| metrics.register(registry));
    events
}

/// Starts what keeps templates and their NetworkPolicies.
fn keep_templates(host: &Host, kinds: &Kinds, cluster: KubeCluster) -> anyhow::Result<()> {
    let parts = templates::Parts {
        templates: kinds.templates.clone(),
        pools: kinds.pools.clone(),
        claims: kinds.claims.clone(),
        policies: Arc::new(cluster),
        clock: host.clock.clone(),
        permit: Permit::internal("system:sandbox-apiserver:templates"),
        config: templates::Config::default(),
    };
    templates::start(parts, &host.tasks)?;
    Ok(())
}

/// Starts the loop that makes sandboxes real.
fn provision(host: &mut Host, cluster: KubeCluster, store: Store, config: provision::Config) {
    cluster.start(&host.tasks);
    let caches = cluster.clone();
    host.health.add_fn("provision-sync", &[Probe::Readyz], move || {
        if caches.synced() { Ok(()) } else { Err("the host cluster has not been listed".into()) }
    });
    let cluster_writes = cluster.writes();
    let permit = Permit::internal("system:sandbox-apiserver:provision");
    let sandboxes = Arc::new(StoreSandboxes::new(store, permit));
    let driver = Driver::new(sandboxes.clone(), Arc::new(cluster), host.clock.clone(), config);
    driver.start(&host.tasks);
    let metrics = LoopMetrics { cluster_writes, sandboxes, driver };
    host.metrics.register(|registry| registry.register_collector(Box::new(metrics)));
}

fn loop_policy(config: &Config) -> Policy {
    let named = [
        (IsolationLevel::UserKernel, &config.user_kernel_runtime_class),
        (IsolationLevel::VirtualMachine, &config.virtual_machine_runtime_class),
    ];
    let classes = named.into_iter().filter_map(|(level, class)| Some((level, class.clone()?)));
    Policy {
        cluster_domain: config.cluster_domain.clone(),
        runtime_classes: classes.collect(),
        ..Policy::default()
    }
}

/// The cluster's client, and one for streams.
async fn clients(config: &Config) -> anyhow::Result<(kube::Client, kube::Client)> {
    let kube_config = match &config.kubeconfig {
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("reading {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?
        }
        None => kube::Config::incluster().context("no --kubeconfig, and not in a cluster")?,
    };
    // What lies behind a proxy only kube's own reaches.
    if kube_config.proxy_url.is_some() {
        let client = kube::Client::try_from(kube_config).context("making the cluster's client")?;
        return Ok((client.clone(), client));
    }
    let client = dial::requesting(&kube_config).context("making the cluster's client")?;
    let streaming = dial::streaming(&kube_config).context("making the client for streams")?;
    Ok((client, streaming))
}

fn open_audit(config: &config::Audit) -> anyhow::Result<Audit> {
    let policy = match &config.policy_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("reading {}", path.display()))?;
            audit::Policy::parse(&text).with_context(|| format!("{}", path.display()))?
        }
        None => audit::Policy::metadata(),
    };
    let log = Log::open(config.log.clone());
    let log = log.with_context(|| format!("opening {}", config.log.path.display()))?;
    Ok(Audit::new(policy, log, Arc::new(SystemClock)))
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
