//! Flags as typed, [`Config`] as meant. Nothing reads the environment later.

mod audit;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand, ValueEnum};

pub use self::audit::{Audit, AuditFlags};

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Where the objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// An etcd of its own: production, several replicas.
    Etcd,
    /// A file in --data-dir: one replica on one node.
    Embedded,
}

/// An aggregated Kubernetes API server for sandboxes: serves sandbox.x-k8s.io and makes its
/// objects real as Pods, Services and PersistentVolumeClaims.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub struct Flags {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// Port to serve HTTPS on.
    #[arg(long, default_value_t = 8443)]
    pub secure_port: u16,

    /// PEM file with the serving certificate and its chain; reloaded when it changes.
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,

    /// PEM file with the serving certificate's key; reloaded when it changes.
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,

    /// Kubeconfig of the host cluster; in-cluster configuration when absent.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,

    /// Where the objects are kept.
    #[arg(long, value_enum, default_value = "etcd")]
    pub store: StoreKind,

    /// Directory of the embedded store; made if it does not exist.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,

    /// etcd endpoints, comma-separated, with scheme; required for --store etcd.
    #[arg(long, value_delimiter = ',')]
    pub etcd_servers: Vec<String>,

    /// PEM file with the CA of etcd's serving certificate.
    #[arg(long)]
    pub etcd_cafile: Option<PathBuf>,

    /// PEM file with the client certificate for etcd.
    #[arg(long)]
    pub etcd_certfile: Option<PathBuf>,

    /// PEM file with the client key for etcd.
    #[arg(long)]
    pub etcd_keyfile: Option<PathBuf>,

    /// Prefix of all keys in the store.
    #[arg(long, default_value = "/registry")]
    pub etcd_prefix: String,

    /// How often the store's history is compacted; 0 leaves it to etcd's own auto-compaction.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub etcd_compaction_interval: Duration,

    /// DNS domain of the host cluster, for status.serviceFQDN.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,

    /// RuntimeClass for isolation level UserKernel; looked up by handler when absent.
    #[arg(long)]
    pub user_kernel_runtime_class: Option<String>,

    /// RuntimeClass for isolation level VirtualMachine; looked up by handler when absent.
    #[arg(long)]
    pub virtual_machine_runtime_class: Option<String>,

    /// Sandboxes that are provisioned at the same time, at most.
    #[arg(long, default_value_t = 32)]
    pub concurrent_reconciles: usize,

    /// Whether claims that come in at once share a transaction of the store.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub claim_group_commit: bool,

    /// Claims that may wait for the stock of one pool or template; more get a 429.
    #[arg(long, default_value_t = 1000)]
    pub claim_queue_max: usize,

    /// How long the server goes on serving after it has become unready at shutdown.
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub shutdown_delay_duration: Duration,

    /// Form of the log lines.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    #[command(flatten)]
    pub audit: AuditFlags,
}

/// What the binary does besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the schema of each kind in CRD form.
    #[command(hide = true)]
    GenerateCrds {
        #[arg(long)]
        out_dir: PathBuf,
    },
}

/// Where etcd is and how to speak to it.
#[derive(Debug, Clone)]
pub struct Etcd {
    pub endpoints: Vec<String>,
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The store and what it needs.
#[derive(Debug, Clone)]
pub enum Store {
    Etcd(Etcd),
    Embedded { directory: PathBuf },
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub tls_cert_file: PathBuf,
    pub tls_key_file: PathBuf,
    pub kubeconfig: Option<PathBuf>,
    pub store: Store,
    /// Of all keys.
    pub store_prefix: String,
    /// `None` = not compacted by this server.
    pub compaction_interval: Option<Duration>,
    pub cluster_domain: String,
    pub user_kernel_runtime_class: Option<String>,
    pub virtual_machine_runtime_class: Option<String>,
    pub concurrent_reconciles: usize,
    pub claim_group_commit: bool,
    pub claim_queue_max: usize,
    pub shutdown_delay: Duration,
    pub log_format: LogFormat,
    /// `None` = requests are not recorded.
    pub audit: Option<Audit>,
}

impl TryFrom<Flags> for Config {
    type Error = anyhow::Error;

    fn try_from(flags: Flags) -> anyhow::Result<Self> {
        let store = store(&flags)?;
        if !flags.etcd_prefix.starts_with('/') {
            bail!("--etcd-prefix must begin with a slash");
        }
        if flags.concurrent_reconciles == 0 {
            bail!("--concurrent-reconciles must be at least 1");
        }
        Ok(Self {
            listen: SocketAddr::new(flags.bind_address, flags.secure_port),
            tls_cert_file: flags.tls_cert_file.context("--tls-cert-file is required")?,
            tls_key_file: flags
                .tls_private_key_file
                .context("--tls-private-key-file is required")?,
            kubeconfig: flags.kubeconfig,
            store,
            store_prefix: flags.etcd_prefix,
            compaction_interval: (!flags.etcd_compaction_interval.is_zero())
                .then_some(flags.etcd_compaction_interval),
            cluster_domain: flags.cluster_domain,
            user_kernel_runtime_class: flags.user_kernel_runtime_class,
            virtual_machine_runtime_class: flags.virtual_machine_runtime_class,
            concurrent_reconciles: flags.concurrent_reconciles,
            claim_group_commit: flags.claim_group_commit,
            claim_queue_max: flags.claim_queue_max,
            shutdown_delay: flags.shutdown_delay_duration,
            log_format: flags.log_format,
            audit: flags.audit.checked()?,
        })
    }
}

/// The chosen store; flags of the other one are a mistake.
fn store(flags: &Flags) -> anyhow::Result<Store> {
    let etcd_files = [&flags.etcd_cafile, &flags.etcd_certfile, &flags.etcd_keyfile];
    if flags.store == StoreKind::Embedded {
        if !flags.etcd_servers.is_empty() || etcd_files.iter().any(|file| file.is_some()) {
            bail!("--store embedded has no etcd: --etcd-servers and its files do not belong there");
        }
        if flags.etcd_compaction_interval.is_zero() {
            bail!("--etcd-compaction-interval: nobody else compacts the embedded store");
        }
        let directory = flags.data_dir.clone();
        return Ok(Store::Embedded {
            directory: directory.context("--store embedded needs --data-dir")?,
        });
    }
    if flags.data_dir.is_some() {
        bail!("--data-dir is for --store embedded");
    }
    if flags.etcd_servers.is_empty() {
        bail!("--etcd-servers is required");
    }
    if let Some(bad) = flags.etcd_servers.iter().find(|url| !url.contains("://")) {
        bail!("--etcd-servers: {bad:?} has no scheme (http:// or https://)");
    }
    let identity = match (&flags.etcd_certfile, &flags.etcd_keyfile) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        _ => bail!("--etcd-certfile and --etcd-keyfile go together"),
    };
    Ok(Store::Etcd(Etcd {
        endpoints: flags.etcd_servers.clone(),
        ca_file: flags.etcd_cafile.clone(),
        identity,
    }))
}

/// A Go duration: `500ms`, `30s`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    apiserver::request::duration::parse(text)
        .ok_or_else(|| format!("{text:?} is not a duration such as 500ms, 30s or 1h30m"))
}

#[cfg(test)]
mod tests {
    use apiserver::audit::{LogMode, LogOptions, Rotation};
    use clap::CommandFactory as _;

    use super::*;

    const GOOD: [&str; 7] = [
        "sandbox-apiserver",
        "--tls-cert-file",
        "c",
        "--tls-private-key-file",
        "k",
        "--etcd-servers",
        "http://127.0.0.1:2379,http://127.0.0.1:2380",
    ];

    fn config(extra: &[&str]) -> anyhow::Result<Config> {
        let flags = Flags::try_parse_from(GOOD.iter().chain(extra))?;
        Config::try_from(flags)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn good_flags_make_a_config() {
        let config = config(&["--etcd-compaction-interval", "0s"]).unwrap();
        let Store::Etcd(etcd) = config.store else { panic!("etcd is the default") };
        assert_eq!(etcd.endpoints.len(), 2);
        assert_eq!(config.compaction_interval, None);
    }

    #[test]
    fn the_audit_is_off_until_it_has_a_file() {
        assert!(config(&[]).unwrap().audit.is_none());
        let audit =
            config(&["--audit-log-path", "a.log", "--audit-log-maxage", "2"]).unwrap().audit;
        let LogOptions { mode, rotation, .. } = audit.unwrap().log;
        assert_eq!(mode, LogMode::Blocking);
        let age_max = Some(Duration::from_secs(48 * 3600));
        assert_eq!(rotation, Rotation { bytes_max: 100 << 20, backups_max: 0, age_max });
    }

    #[test]
    fn the_embedded_store_needs_a_directory_and_no_etcd() {
        let parse = |extra: &[&str]| {
            let flags = Flags::try_parse_from(GOOD[..5].iter().chain(extra))?;
            Config::try_from(flags)
        };
        let config = parse(&["--store", "embedded", "--data-dir", "d"]).unwrap();
        assert!(matches!(config.store, Store::Embedded { directory } if directory.ends_with("d")));
        for extra in [
            &["--store", "embedded"][..],
            &["--store", "embedded", "--data-dir", "d", "--etcd-servers", "http://e"],
            &["--store", "embedded", "--data-dir", "d", "--etcd-cafile", "f"],
            &["--store", "embedded", "--data-dir", "d", "--etcd-compaction-interval", "0s"],
            &["--store", "etcd", "--data-dir", "d", "--etcd-servers", "http://e"],
            &["--store", "etcd"],
        ] {
            assert!(parse(extra).is_err(), "{extra:?}");
        }
    }

    #[test]
    fn bad_flags_are_refused() {
        for extra in [
            &["--etcd-certfile", "x"][..],
            &["--etcd-prefix", "registry"],
            &["--concurrent-reconciles", "0"],
            &["--shutdown-delay-duration", "5"],
            &["--etcd-compaction-interval", "5 days"],
            &["--secure-port", "70000"],
            &["--audit-policy-file", "p"],
            &["--audit-log-path", ""],
            &["--audit-log-path", "a", "--audit-log-mode", "sometimes"],
            &["--audit-log-path", "a", "--audit-log-maxsize", "18446744073709551615"],
        ] {
            assert!(config(extra).is_err(), "{extra:?}");
        }
        let flags = Flags::try_parse_from(["sandbox-apiserver"]).unwrap();
        assert!(Config::try_from(flags).is_err());
    }
}
