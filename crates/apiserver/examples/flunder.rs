//! sample-apiserver's Flunder on this crate: the machinery's second user, which keeps it honest.
//!
//! ```sh
//! cargo run -p apiserver --example flunder -- --kubeconfig K --etcd-servers http://127.0.0.1:2379 \
//!     --tls-cert-file C --tls-private-key-file K
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::aggregated::{AggregatedConfig, Host, StoreConfig};
use apiserver::audit::Audit;
use apiserver::field::FieldError;
use apiserver::meta::{Gvk, Object};
use apiserver::registry::{Strategy, Validation};
use apiserver::resource::{Column, ResourceDef, Subresource};
use apiserver::schema::Schema;
use apiserver::storage::EtcdOptions;
use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Parser)]
struct Flags {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long, value_delimiter = ',')]
    etcd_servers: Vec<String>,
    #[arg(long)]
    tls_cert_file: PathBuf,
    #[arg(long)]
    tls_private_key_file: PathBuf,
    #[arg(long, default_value = "127.0.0.1:8444")]
    listen: SocketAddr,
    /// The API group. Another one than Go's sample-apiserver has lets both be registered at once.
    #[arg(long, default_value = "wardle.example.com")]
    group: String,
}

/// Flunder is an example type with a spec and a status.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Flunder {
    api_version: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    spec: Option<FlunderSpec>,
    status: Option<FlunderStatus>,
}

/// What a Flunder refers to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FlunderSpec {
    /// The name of another Flunder; mutually exclusive with fischerReference.
    flunder_reference: Option<String>,
    /// The name of a Fischer; mutually exclusive with flunderReference.
    fischer_reference: Option<String>,
    /// The kind that is referred to: Flunder or Fischer.
    reference_type: Option<ReferenceType>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
enum ReferenceType {
    Flunder,
    Fischer,
}

/// A Flunder has no observed state.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct FlunderStatus {}

struct FlunderStrategy;

impl Strategy for FlunderStrategy {
    fn validate_create(&self, object: &Object) -> Validation {
        let set = |path| object.at(path).and_then(Value::as_str).is_some_and(|s| !s.is_empty());
        let mut validation = Validation::default();
        if set("spec.flunderReference") && set("spec.fischerReference") {
            validation.errors.push(FieldError::forbidden(
                "spec.fischerReference",
                "may not be set together with flunderReference",
            ));
        }
        validation
    }

    fn validate_update(&self, object: &Object, _old: &Object) -> Validation {
        self.validate_create(object)
    }
}

fn flunders(group: &str) -> ResourceDef {
    ResourceDef {
        gvk: Gvk::new(group, "v1alpha1", "Flunder"),
        plural: "flunders",
        singular: "flunder",
        short_names: &[],
        categories: &[],
        namespaced: true,
        strategy: Arc::new(FlunderStrategy),
        columns: vec![Column {
            name: "Type",
            kind: "string",
            description: "The kind that is referred to.",
            priority: 0,
            cell: |object| object.at("spec.referenceType").cloned().unwrap_or_default(),
        }],
        schema: Arc::new(Schema::for_type::<Flunder>()),
        selectable_fields: &[],
        indexed_labels: &[],
        subresources: vec![Subresource::Status],
        creation: None,
        decorator: None,
        description: "Flunder is an example type with a spec and a status.",
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let flags = Flags::parse();
    let kubeconfig = kube::config::Kubeconfig::read_from(&flags.kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    let client = kube::Client::try_from(config)?;
    let config = AggregatedConfig {
        listen: flags.listen,
        tls_cert_file: flags.tls_cert_file,
        tls_key_file: flags.tls_private_key_file,
        store: StoreConfig::Etcd(EtcdOptions::new(flags.etcd_servers)),
        store_prefix: "/registry".into(),
        compaction_interval: Some(Duration::from_secs(300)),
        title: "wardle",
        version: env!("CARGO_PKG_VERSION"),
        shutdown_delay: Duration::ZERO,
        audit: Audit::off(),
    };
    let host = Host::connect(config, client).await?;
    let store = host.store(flunders(&flags.group));
    host.serve(vec![store]).await
}
