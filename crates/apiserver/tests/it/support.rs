//! The test kind, its store and short forms for what the tests do all the time.

use std::sync::Arc;
use std::time::Duration;

use apiserver::admission::{NamespaceState, Namespaces};
use apiserver::auth::Permit;
use apiserver::clock::{ManualClock, new_uid};
use apiserver::field::FieldError;
use apiserver::meta::{Gvk, Object, ObjectKey, Scope};
use apiserver::patch::{Patch, PatchKind};
use apiserver::registry::{
    DeleteOutcome, ObjectList, Part, Store, Strategy, Validation, WatchEvent, WatchStream,
};
use apiserver::request::{DeleteOptions, GetOptions, ListOptions, WatchOptions, WriteOptions};
use apiserver::resource::{ResourceDef, Subresource};
use apiserver::schema::Schema;
use apiserver::status::ApiError;
use apiserver::storage::{CacheOptions, EtcdKv, EtcdOptions, Kv};
use apiserver::tasks::Tasks;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use futures::StreamExt as _;
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "how the test runner says where etcd is")]
pub(crate) fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test it`"))
}

pub(crate) async fn connect(endpoint: &str) -> Arc<dyn Kv> {
    let mut options = EtcdOptions::new(vec![endpoint.to_owned()]);
    options.progress_interval = Duration::from_millis(200);
    Arc::new(EtcdKv::connect(&options).await.unwrap())
}

/// The kind of the tests: `spec.bad` is invalid, `spec.warn` is warned of, the rest is free.
struct Rules;

impl Strategy for Rules {
    fn validate_create(&self, object: &Object) -> Validation {
        let mut validation = Validation::default();
        if let Some(value) = object.at("spec.bad") {
            validation.errors.push(FieldError::invalid("spec.bad", value, "is bad"));
        }
        if object.at("spec.warn").is_some() {
            validation.warnings.push("spec.warn is discouraged".into());
        }
        validation
    }

    fn validate_update(&self, object: &Object, _old: &Object) -> Validation {
        self.validate_create(object)
    }
}

fn definition() -> ResourceDef {
    ResourceDef {
        gvk: Gvk::new("test.x-k8s.io", "v1", "Thing"),
        plural: "things",
        singular: "thing",
        short_names: &[],
        categories: &[],
        namespaced: true,
        strategy: Arc::new(Rules),
        columns: Vec::new(),
        schema: Arc::new(Schema::permissive()),
        selectable_fields: &["spec.color"],
        indexed_labels: &[],
        subresources: vec![Subresource::Status, crate::stream::echo()],
        creation: None,
        decorator: None,
        description: "A thing of the tests.",
    }
}

/// Namespaces `missing` and `terminating` are what they say; all others are there.
struct TestNamespaces;

#[async_trait]
impl Namespaces for TestNamespaces {
    async fn state(&self, name: &str) -> Result<NamespaceState, ApiError> {
        Ok(match name {
            "missing" => NamespaceState::Missing,
            "terminating" => NamespaceState::Terminating,
            _ => NamespaceState::Active,
        })
    }
}

/// A store with an empty key space of its own.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) prefix: String,
    pub(crate) permit: Permit,
    pub(crate) warnings: Warnings,
}

impl Bench {
    /// Through a watch cache.
    pub(crate) async fn new() -> Self {
        let mut bench = Self::on(connect(&env("TEST_ETCD_ENDPOINT")).await);
        let cache = (CacheOptions::default(), &Tasks::new());
        let (def, kv) = (bench.store.def().clone(), bench.kv.clone());
        let namespaces = Some(Arc::new(TestNamespaces) as Arc<dyn Namespaces>);
        bench.store = Store::cached(def, kv, &bench.prefix, clock(), namespaces, cache);
        bench.store.cache().unwrap().filled().await;
        bench
    }

    /// Straight on the store.
    pub(crate) fn on(kv: Arc<dyn Kv>) -> Self {
        Self::with(kv, Arc::new(TestNamespaces))
    }

    pub(crate) fn with(kv: Arc<dyn Kv>, namespaces: Arc<dyn Namespaces>) -> Self {
        let prefix = format!("/it/{}", new_uid());
        let store =
            Store::new(Arc::new(definition()), kv.clone(), &prefix, clock(), Some(namespaces));
        let permit = Permit::internal("test");
        Self { store, kv, prefix, permit, warnings: Warnings::new() }
    }

    /// Where the store keeps an object of namespace `ns`.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/test.x-k8s.io/things/ns/{name}", self.prefix)
    }

    pub(crate) async fn try_create(&self, object: Object) -> Result<Object, ApiError> {
        self.store
            .create(&self.permit, &ns(), object, &WriteOptions::default(), &self.warnings)
            .await
    }

    pub(crate) async fn create(&self, object: Object) -> Object {
        self.try_create(object).await.unwrap()
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Arc<Object>, ApiError> {
        self.store.get(&self.permit, &key(name), &GetOptions::default()).await
    }

    pub(crate) async fn try_update(&self, part: Part, object: Object) -> Result<Object, ApiError> {
        let key = key(object.name());
        self.store
            .update(&self.permit, &key, part, object, &WriteOptions::default(), &self.warnings)
            .await
    }

    pub(crate) async fn update(&self, object: Object) -> Object {
        self.try_update(Part::Main, object).await.unwrap()
    }

    pub(crate) async fn patch(
        &self,
        name: &str,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<Object, ApiError> {
        let patch = Patch { kind, body: patch.to_string().into() };
        self.store
            .patch(
                &self.permit,
                &key(name),
                Part::Main,
                &patch,
                &WriteOptions::default(),
                &self.warnings,
            )
            .await
    }

    pub(crate) async fn delete(
        &self,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<DeleteOutcome, ApiError> {
        self.store.delete(&self.permit, &key(name), options).await
    }

    pub(crate) async fn list(&self, options: &ListOptions) -> Result<ObjectList, ApiError> {
        self.store.list(&self.permit, &ns(), options).await
    }

    pub(crate) async fn watch(&self, options: &WatchOptions) -> WatchStream {
        self.store.watch(&self.permit, &ns(), options).await.unwrap()
    }

    /// The store's revision right now.
    pub(crate) async fn revision(&self) -> i64 {
        self.kv.count(&self.prefix).await.unwrap().1
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-01-02T03:04:05.678Z".parse().unwrap()))
}

pub(crate) fn ns() -> Scope {
    Scope::Namespace("ns".into())
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::namespaced("ns", name)
}

/// A thing of that name with `fields` merged over it.
pub(crate) fn thing(name: &str, fields: Value) -> Object {
    let mut value = json!({
        "apiVersion": "test.x-k8s.io/v1",
        "kind": "Thing",
        "metadata": {"name": name},
    });
    let patch = Patch { kind: PatchKind::Merge, body: fields.to_string().into() };
    patch.decode().unwrap().apply(&mut value).unwrap();
    Object::from_value(value).unwrap()
}

pub(crate) fn names(list: &ObjectList) -> Vec<&str> {
    list.items.iter().map(|item| item.name()).collect()
}

/// The next event in short: `ADDED a@7`, `BOOKMARK @9 end`, `ERROR 410`.
pub(crate) async fn next(stream: &mut WatchStream) -> String {
    let event = tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("an event within 10 s");
    short(event.as_ref())
}

pub(crate) fn short(event: Option<&WatchEvent>) -> String {
    match event {
        None => "END".into(),
        Some(WatchEvent::Change(kind, shared)) => {
            let object = shared.item().object().unwrap();
            let version = object.resource_version().unwrap_or_default();
            format!("{} {}@{version}", kind.as_str(), object.name())
        }
        Some(WatchEvent::Bookmark { revision, initial_events_end }) => {
            let end = if *initial_events_end { " end" } else { "" };
            format!("BOOKMARK @{revision}{end}")
        }
        Some(WatchEvent::Error(error)) => format!("ERROR {} {error}", error.code()),
    }
}
