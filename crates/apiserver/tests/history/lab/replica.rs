//! A replica: this crate's server as a process of its own, with the test's kind over etcd.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use apiserver::audit::Audit;
use apiserver::auth::{
    AccessReviewer, Attributes, Authenticator, Authorizer, AuthorizerConfig, Decision,
    TokenReviewer, Trust, TrustConfig, User,
};
use apiserver::clock::SystemClock;
use apiserver::endpoint::Api;
use apiserver::meta::Gvk;
use apiserver::registry::{Store, Strategy};
use apiserver::request::RequestInfo;
use apiserver::resource::ResourceDef;
use apiserver::schema::Schema;
use apiserver::server::{
    Health, LifecycleConfig, Limits, ListenerConfig, Metrics, Routed, Server, ServerConfig,
    Serving, Tls,
};
use apiserver::status::ApiError;
use apiserver::storage::{self, CacheOptions, EtcdKv, EtcdOptions, Kv};
use apiserver::tasks::Tasks;
use async_trait::async_trait;
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// All keys of the kind.
pub(crate) const PREFIX: &str = "/registry/history.x-k8s.io/things/";
/// Of the one user.
pub(crate) const TOKEN: &str = "history";

/// What a replica is told by its parent.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplicaFlags {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) etcd: String,
    #[arg(long)]
    pub(crate) certificate: PathBuf,
    #[arg(long)]
    pub(crate) key: PathBuf,
    #[arg(long)]
    pub(crate) planted: Planted,
}

/// A bug put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Planted {
    None,
    /// An event is dropped, as by a full buffer
    DropEvent,
    /// A list is served from a stale snapshot
    StaleList,
    /// A write is made again when etcd's answer was lost
    RepeatWrite,
}

impl Planted {
    fn in_storage(self) -> storage::Planted {
        match self {
            Self::None => storage::Planted::None,
            Self::DropEvent => storage::Planted::DropEvent,
            Self::StaleList => storage::Planted::StaleList,
            Self::RepeatWrite => storage::Planted::RepeatWrite,
        }
    }
}

impl ReplicaFlags {
    /// This executable again, as a replica that ends when its parent does.
    pub(super) fn command(&self) -> Result<Command> {
        let planted = self.planted.to_possible_value().context("every bug has a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("replica")
            .args(["--port", &self.port.to_string()])
            .args(["--etcd", &self.etcd])
            .args(["--planted", planted.get_name()])
            .arg("--certificate")
            .arg(&self.certificate)
            .arg("--key")
            .arg(&self.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Ok(command)
    }

    /// Serves until stdin ends.
    pub(crate) async fn serve(self) -> Result<()> {
        let mut options = EtcdOptions::new(vec![self.etcd]);
        options.deadline = Duration::from_secs(2);
        options.progress_interval = Duration::from_millis(200);
        options.planted = self.planted.in_storage();
        let kv: Arc<dyn Kv> = Arc::new(EtcdKv::connect(&options).await?);
        let clock = Arc::new(SystemClock);
        let tasks = Tasks::new();
        let cache = (cache(self.planted), &tasks);
        let definition = Arc::new(definition());
        let store = Store::cached(definition, kv, "/registry", clock.clone(), None, cache);
        let everybody = Arc::new(Everybody);
        let authorizer = Arc::new(Authorizer::new(AuthorizerConfig::default(), everybody.clone()));
        let api = Api::new(vec![store], "history", "0", clock.clone(), authorizer.clone());
        let config = ServerConfig {
            limits: Limits::default(),
            route: Arc::new(|parts| {
                let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query());
                Routed {
                    attributes: info.attributes(),
                    is_long_running: info.is_long_running(),
                    is_mutating: info.is_mutating(),
                }
            }),
            version: json!({}),
            audit: Audit::off(),
        };
        let server = Server::new(
            config,
            Authenticator::new(Trust::new(TrustConfig::default()), everybody, clock),
            authorizer,
            Arc::new(api),
            Arc::new(Health::new()),
            Arc::new(Metrics::new()),
            tasks.clone(),
        );
        let (certificate, key) = (std::fs::read(self.certificate)?, std::fs::read(self.key)?);
        let serving = Serving {
            server,
            tls: Tls::from_pem(&certificate, &key)?,
            listener: ListenerConfig::default(),
            lifecycle: LifecycleConfig::default(),
        };
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
        let mut stdin = tokio::io::stdin();
        let mut nothing = [0];
        tokio::select! {
            outcome = serving.run(tcp, &tasks, std::future::pending()) => {
                outcome?;
            }
            // The parent is gone, and nobody is left to be polite to.
            _ = stdin.read(&mut nothing) => {}
        }
        Ok(())
    }
}

/// Small, so that rounds of seconds see full buffers and forgotten history.
fn cache(planted: Planted) -> CacheOptions {
    let watcher_buffer = match planted {
        // Full at every second event that the watcher does not wait for.
        Planted::DropEvent => 1,
        _ => 4,
    };
    CacheOptions {
        history_bytes_max: HISTORY_BYTES_MAX,
        watcher_buffer,
        compare_interval: Duration::from_secs(5),
        planted: planted.in_storage(),
        ..CacheOptions::default()
    }
}

/// Of several hundred events of this test's kind; see `round::SERVED`.
const HISTORY_BYTES_MAX: usize = 1 << 20;

struct Plain;

impl Strategy for Plain {}

fn definition() -> ResourceDef {
    ResourceDef {
        gvk: Gvk::new("history.x-k8s.io", "v1", "Thing"),
        plural: "things",
        singular: "thing",
        short_names: &[],
        categories: &[],
        namespaced: true,
        strategy: Arc::new(Plain),
        columns: Vec::new(),
        schema: Arc::new(Schema::permissive()),
        selectable_fields: &["spec.shade"],
        indexed_labels: &["color"],
        subresources: Vec::new(),
        creation: None,
        decorator: None,
        description: "A thing of the history checker.",
    }
}

/// Knows one token, and lets its user do everything.
struct Everybody;

#[async_trait]
impl AccessReviewer for Everybody {
    async fn review(&self, _: &User, _: &Attributes) -> Result<Decision, ApiError> {
        Ok(Decision { allowed: true, reason: String::new() })
    }
}

#[async_trait]
impl TokenReviewer for Everybody {
    async fn review(&self, token: &str) -> Result<Option<User>, ApiError> {
        Ok((token == TOKEN).then(|| User { name: "client".into(), ..User::default() }))
    }
}
