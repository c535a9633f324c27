//! What the model knows of stored objects, read from their text with rules of its own.

use serde_json::Value;

/// Who controls a Sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Controller {
    Nobody,
    Pool(String),
    Claim(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    pub(crate) uid: String,
    pub(crate) controller: Controller,
    pub(crate) ready: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) uid: String,
    pub(crate) key: Option<String>,
    pub(crate) replicas: usize,
    /// Uids, in order.
    pub(crate) sandboxes: Vec<String>,
    pub(crate) warm: bool,
    pub(crate) pool: Option<String>,
    pub(crate) template: Option<String>,
    /// It takes nothing any more: `ClaimTimedOut` or `ClaimExpired`.
    pub(crate) over: bool,
    pub(crate) expired: bool,
    /// Its Sandboxes are being gathered.
    pub(crate) binding: bool,
    /// When it deletes itself.
    pub(crate) deletes_at: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) uid: String,
    pub(crate) template: String,
    pub(crate) replicas: usize,
    pub(crate) surge: usize,
    pub(crate) ready_replicas: usize,
    /// Who waits for it is deleted with it.
    pub(crate) strict: bool,
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

fn uid(object: &Value) -> String {
    text(&object["metadata"]["uid"]).unwrap_or_default()
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

impl Sandbox {
    pub(crate) fn of(object: &Value) -> Self {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
        let controller = match owner.map(|owner| (owner["kind"].as_str(), text(&owner["uid"]))) {
            Some((Some("SandboxWarmPool"), Some(uid))) => Controller::Pool(uid),
            Some((Some("SandboxClaim"), Some(uid))) => Controller::Claim(uid),
            _ => Controller::Nobody,
        };
        let ready = conditions(object).any(|it| it["type"] == "Ready" && it["status"] == "True");
        Self { uid: uid(object), controller, ready }
    }
}

impl Claim {
    pub(crate) fn of(object: &Value) -> Self {
        let (spec, status) = (&object["spec"], &object["status"]);
        let listed = match status["sandboxes"].as_array() {
            Some(all) if !all.is_empty() => all.iter().collect(),
            _ if status["sandbox"].is_object() => vec![&status["sandbox"]],
            _ => Vec::new(),
        };
        let lifecycle = &spec["lifecycle"];
        let deletes = lifecycle["shutdownPolicy"] == "Delete";
        let shutdown = lifecycle["shutdownTime"].as_str().and_then(|time| time.parse().ok());
        let because = |reason: &str| conditions(object).any(|it| it["reason"] == reason);
        Self {
            uid: uid(object),
            key: text(&spec["idempotencyKey"]),
            replicas: number(&spec["replicas"]).unwrap_or(1),
            sandboxes: listed.iter().filter_map(|it| text(&it["uid"])).collect(),
            warm: listed.first().is_some_and(|it| it["launchType"] == "Warm"),
            pool: text(&spec["warmPoolRef"]["name"]),
            template: text(&spec["sandboxTemplateRef"]["name"]),
            over: because("ClaimTimedOut") || because("ClaimExpired"),
            expired: because("ClaimExpired"),
            binding: listed.is_empty() && because("Binding"),
            deletes_at: shutdown.filter(|_| deletes),
        }
    }
}

impl Pool {
    pub(crate) fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let replicas = number(&spec["replicas"]).unwrap_or(1);
        let strategy = &spec["updateStrategy"];
        let surge = match strategy["type"].as_str() {
            // A quarter, rounded up, unless said otherwise.
            Some("RollingUpdate") => number(&strategy["rollingUpdate"]["maxSurge"])
                .unwrap_or_else(|| replicas.div_ceil(4)),
            _ => 0,
        };
        Self {
            uid: uid(object),
            template: text(&spec["sandboxTemplateRef"]["name"]).unwrap_or_default(),
            replicas,
            surge,
            ready_replicas: number(&object["status"]["readyReplicas"]).unwrap_or_default(),
            strict: spec["deletionPolicy"]["claims"] == "Delete",
        }
    }
}
