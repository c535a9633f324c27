//! Who claims, releases, and changes pools and templates: each with choices of its own seed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apiserver::audit::Record;
use apiserver::clock::{Clock as _, SystemClock, format_time};
use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::Part;
use apiserver::request::{DeleteOptions, Preconditions, WriteOptions};
use apiserver::resource::{ActionRequest, ActionResponse, CreateRequest, Subresource};
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::lab::NAMESPACE;
use crate::lab::replica::{Place, Server};
use crate::model::end::{Answer, Journal};

pub(crate) const POOLS: usize = 4;
pub(crate) const TEMPLATES: usize = 2;

/// Claims that a client keeps before it releases one for each new one.
const KEPT_MAX: usize = 6;

/// What all clients share.
pub(crate) struct World {
    pub(crate) places: Vec<Place>,
    pub(crate) journal: Mutex<Journal>,
    /// Claims that are still to be made.
    left: AtomicUsize,
}

impl World {
    pub(crate) fn new(places: Vec<Place>, claims: usize) -> Arc<Self> {
        let left = AtomicUsize::new(claims);
        Arc::new(Self { places, journal: Mutex::default(), left })
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn stop(&self) {
        self.left.store(0, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn take_one(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

pub(crate) struct Client {
    world: Arc<World>,
    random: StdRng,
    /// Name and uid.
    kept: Vec<(String, String)>,
}

/// A pool as clients make it: each with another strategy.
pub(crate) fn pool(index: usize, replicas: usize) -> Value {
    let strategy = match index {
        0 => json!({"type": "OnReplenish"}),
        1 => json!({"type": "Recreate"}),
        2 => json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}),
        _ => json!({"type": "RollingUpdate"}),
    };
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxWarmPool",
        "metadata": {"name": format!("p{index}"), "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "sandboxTemplateRef": {"name": format!("t{}", index % TEMPLATES)},
            "updateStrategy": strategy,
            "deletionPolicy": {"claims": if index == 1 { "Delete" } else { "Retain" }},
        },
    })
}

pub(crate) fn template(index: usize) -> Value {
    json!({
        "apiVersion": "sandbox.x-k8s.io/v1beta1",
        "kind": "SandboxTemplate",
        "metadata": {"name": format!("t{index}"), "namespace": NAMESPACE},
        "spec": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
    })
}

impl Client {
    pub(crate) fn new(world: Arc<World>, seed: u64) -> Self {
        Self { world, random: StdRng::seed_from_u64(seed), kept: Vec::new() }
    }

    /// Until enough claims were made.
    pub(crate) async fn run(mut self) {
        while self.world.take_one() {
            let Some(server) = self.server().await else { return };
            self.claim(&server).await;
            if self.kept.len() > self.random.random_range(0..=KEPT_MAX) {
                self.release(&server).await;
            }
            match self.random.random_range(0..1000) {
                0..12 => self.scale(&server).await,
                12..24 => self.renew_template(&server).await,
                24..27 => self.renew_pool(&server).await,
                _ => {}
            }
        }
    }

    async fn server(&mut self) -> Option<Arc<Server>> {
        for _ in 0..1000 {
            if let Some(server) = self.world.places.choose(&mut self.random).and_then(Place::server)
            {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    async fn claim(&mut self, server: &Arc<Server>) {
        let (name, spec) = self.wanted();
        let query = match spec["onEmptyPool"].as_str() {
            Some("Wait") if self.random.random_bool(0.3) => {
                vec![("wait".to_owned(), "bound".to_owned()), ("timeout".into(), "500ms".into())]
            }
            _ => Vec::new(),
        };
        let mut metadata = json!({"generateName": "c-"});
        if let Some(name) = name {
            metadata = json!({ "name": name });
        }
        let of_pool = spec["warmPoolRef"]["name"].as_str().map(str::to_owned);
        let of_pool = of_pool.filter(|_| self.random.random_bool(0.5));
        let claim = json!({"apiVersion": "sandbox.x-k8s.io/v1beta1", "kind": "SandboxClaim",
            "metadata": metadata, "spec": spec});
        self.world.journal().requests += 1;
        let to = server.clone();
        let answer = server
            .run(async move {
                match of_pool {
                    Some(pool) => act(&to, &pool, claim, query).await,
                    None => post(&to, claim, query).await,
                }
            })
            .await;
        let mut journal = self.world.journal();
        match answer {
            Some(Ok(answer)) => {
                let claim = answer.object;
                self.kept.push((claim.name().to_owned(), claim.uid().to_owned()));
                journal.answers.push(Answer {
                    code: answer.code,
                    uid: claim.uid().to_owned(),
                    sandboxes: sandboxes(&claim),
                });
            }
            // 503 is an exhausted pool as well as a store that is away.
            Some(Err(error)) if error.code() < 500 || error.details().is_some() => {}
            _ => journal.unknown += 1,
        }
    }

    /// Name, if it is the client's choice, and spec of the next claim.
    fn wanted(&mut self) -> (Option<String>, Value) {
        let random = &mut self.random;
        if random.random_bool(0.15) {
            // The same key always asks for the same.
            let key = random.random_range(0..60);
            let replicas = if key % 5 == 0 { 2 } else { 1 };
            let policy = ["ColdStart", "Wait", "Fail"][key % 3];
            let spec = json!({
                "idempotencyKey": format!("k{key}"),
                "warmPoolRef": {"name": format!("p{}", key % POOLS)},
                "replicas": replicas,
                "onEmptyPool": policy,
            });
            return (None, spec);
        }
        let policy = ["ColdStart", "Fail", "Wait"][random.random_range(0..3)];
        let replicas = if random.random_bool(0.15) { random.random_range(2..=8) } else { 1 };
        let mut spec = json!({"replicas": replicas, "onEmptyPool": policy});
        if random.random_bool(0.7) {
            spec["warmPoolRef"] = json!({"name": format!("p{}", random.random_range(0..POOLS))});
        } else {
            let name = format!("t{}", random.random_range(0..TEMPLATES));
            spec["sandboxTemplateRef"] = json!({ "name": name });
        }
        if policy == "Wait" && random.random_bool(0.5) {
            spec["timeout"] = json!("300ms");
        }
        if random.random_bool(0.05) {
            let ends = SystemClock.now() + SignedDuration::from_secs(random.random_range(1..4));
            let policy = if random.random_bool(0.5) { "Delete" } else { "Retain" };
            spec["lifecycle"] =
                json!({"shutdownTime": format_time(ends), "shutdownPolicy": policy});
        }
        let name = random.random_bool(0.1).then(|| format!("n{}", random.random_range(0..60)));
        (name, spec)
    }

    async fn release(&mut self, server: &Arc<Server>) {
        let index = self.random.random_range(0..self.kept.len());
        let (name, uid) = self.kept.swap_remove(index);
        self.world.journal().released.insert(uid.clone());
        delete(server, "sandboxclaims", &name, Some(uid)).await;
    }

    async fn scale(&mut self, server: &Arc<Server>) {
        let name = format!("p{}", self.random.random_range(0..POOLS));
        scale(server, &name, self.random.random_range(0..=40)).await;
    }

    async fn renew_template(&mut self, server: &Arc<Server>) {
        let name = format!("t{}", self.random.random_range(0..TEMPLATES));
        let image = format!("i{}", self.random.random_range(0..1_000_000));
        change(server, "sandboxtemplates", &name, move |spec| {
            spec["podTemplate"]["spec"]["containers"][0]["image"] = json!(image);
        })
        .await;
    }

    async fn renew_pool(&mut self, server: &Arc<Server>) {
        let index = self.random.random_range(0..POOLS);
        delete(server, "sandboxwarmpools", &format!("p{index}"), None).await;
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..50))).await;
        create(server, "sandboxwarmpools", pool(index, self.random.random_range(0..=40))).await;
    }
}

/// The uids in the order of the status.
fn sandboxes(claim: &Object) -> Vec<String> {
    let uid = |it: &Value| it["uid"].as_str().unwrap_or_default().to_owned();
    match claim.at("status.sandboxes").and_then(Value::as_array) {
        Some(all) if !all.is_empty() => all.iter().map(uid).collect(),
        _ => claim.at("status.sandbox").map(uid).into_iter().collect(),
    }
}

type Query = Vec<(String, String)>;

async fn post(server: &Server, claim: Value, query: Query) -> Result<ActionResponse, ApiError> {
    let store = server.store("sandboxclaims");
    let creation = store.def().creation.clone().expect("claims have a way of their own");
    let request = CreateRequest {
        permit: &server.permit,
        scope: Scope::Namespace(NAMESPACE.into()),
        object: Object::from_value(claim).expect("an object"),
        options: WriteOptions::default(),
        query,
        store,
        warnings: &Warnings::new(),
        record: &Record::default(),
    };
    creation.create(request).await
}

async fn act(
    server: &Server,
    pool: &str,
    claim: Value,
    query: Query,
) -> Result<ActionResponse, ApiError> {
    let store = server.store("sandboxwarmpools");
    let Some(Subresource::Action(def)) = store.def().subresource("claim") else {
        panic!("pools have no action `claim`");
    };
    let request = ActionRequest {
        permit: &server.permit,
        key: ObjectKey::namespaced(NAMESPACE, pool),
        body: Object::from_value(claim),
        options: WriteOptions::default(),
        query,
        store,
        warnings: &Warnings::new(),
        record: &Record::default(),
    };
    def.handler.call(request).await
}

/// Whatever comes of it: the store tells.
pub(crate) async fn delete(server: &Arc<Server>, plural: &str, name: &str, uid: Option<String>) {
    let (to, plural) = (server.clone(), plural.to_owned());
    let key = ObjectKey::namespaced(NAMESPACE, name);
    let request = async move {
        let preconditions = Preconditions { uid, resource_version: None };
        let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
        to.store(&plural).delete(&to.permit, &key, &options).await.map(drop)
    };
    drop(server.run(request).await);
}

/// Whether it was certainly made.
pub(crate) async fn create(server: &Arc<Server>, plural: &str, object: Value) -> bool {
    let (to, plural) = (server.clone(), plural.to_owned());
    let request = async move {
        let object = Object::from_value(object).expect("an object");
        let scope = Scope::Namespace(NAMESPACE.into());
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        to.store(&plural).create(&to.permit, &scope, object, &options, &warnings).await
    };
    matches!(server.run(request).await, Some(Ok(_)))
}

/// Whether it was certainly changed.
async fn change(
    server: &Arc<Server>,
    plural: &str,
    name: &str,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> bool {
    let (to, plural) = (server.clone(), plural.to_owned());
    let key = ObjectKey::namespaced(NAMESPACE, name);
    let request = async move {
        let change = |object: &mut Object| {
            change(object.0.get_mut("spec").expect("a spec"));
            Ok(())
        };
        let (options, warnings) = (WriteOptions::default(), Warnings::new());
        let store = to.store(&plural);
        store.mutate(&to.permit, &key, Part::Main, &options, &warnings, change).await
    };
    matches!(server.run(request).await, Some(Ok(_)))
}

pub(crate) async fn scale(server: &Arc<Server>, pool: &str, replicas: usize) -> bool {
    change(server, "sandboxwarmpools", pool, move |spec| spec["replicas"] = json!(replicas)).await
}
