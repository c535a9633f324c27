//! The Sandbox of a stream: by its own name or by its claim's, and woken if it sleeps.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::{Attributes, Permit};
use apiserver::clock::Clock;
use apiserver::meta::{GroupResource, Object, ObjectKey};
use apiserver::registry::Store;
use apiserver::request::GetOptions;
use apiserver::resource::ConnectRequest;
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sandbox_api::{GROUP, OperatingMode, Sandbox, SandboxClaim, SandboxPhase, VERSION, condition};
use tracing::info;

use super::handler::Handler;
use crate::resources::sandbox::actions;
use crate::wait::reached;

/// Where streams find the Sandboxes.
pub type Entrance = crate::entrance::Entrance<Sandboxes>;

/// The Sandboxes' registry, for what a user has no right to by himself: to look at the Sandbox that
/// is behind his claim, and at what becomes of it.
pub struct Sandboxes {
    pub store: Store,
    pub permit: Permit,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Sandboxes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandboxes").finish_non_exhaustive()
    }
}

impl Sandboxes {
    /// The Sandbox that a claim is bound to: the first, if there are several.
    ///
    /// # Errors
    /// 409 where there is none, or none any more.
    pub async fn of_claim(
        &self,
        named: &Object,
        resource: &GroupResource,
    ) -> Result<Object, ApiError> {
        let claim: SandboxClaim = named.to_typed().map_err(ApiError::internal)?;
        let conflict = |text: &str| ApiError::conflict(resource, named.name(), text);
        let bound = claim.status.and_then(|status| status.sandbox);
        let bound = bound.ok_or_else(|| conflict("the claim is not bound to a Sandbox"))?;
        let key = ObjectKey { namespace: named.key().namespace, name: bound.name };
        let object = match self.store.get(&self.permit, &key, &GetOptions::default()).await {
            Ok(object) => Arc::unwrap_or_clone(object),
            Err(error) if error.is_not_found() => {
                return Err(conflict("the claim's Sandbox no longer exists"));
            }
            Err(error) => return Err(error),
        };
        // A name may be somebody else's by now.
        if bound.uid.as_deref() != Some(object.uid()) || controller(&object) != Some(named.uid()) {
            return Err(conflict("the claim's Sandbox no longer exists"));
        }
        Ok(object)
    }
}

/// What the path of a stream names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Sandbox,
    /// Whose Sandbox is meant: the first, if it has several.
    Claim,
}

/// A Sandbox as it is stored now.
pub(super) struct Found {
    pub(super) object: Object,
    pub(super) sandbox: Sandbox,
}

impl Found {
    fn of(object: Object) -> Result<Self, ApiError> {
        let sandbox = object.to_typed().map_err(ApiError::internal)?;
        Ok(Self { object, sandbox })
    }
}

impl Handler {
    /// # Errors
    /// 404, 409 for a claim that has no Sandbox.
    pub(super) async fn find(&self, asked: &ConnectRequest<'_>) -> Result<Found, ApiError> {
        let now = GetOptions::default();
        let named = asked.store.get(asked.permit, &asked.key, &now).await?;
        if self.origin == Origin::Sandbox {
            return Found::of(Arc::unwrap_or_clone(named));
        }
        let resource = asked.store.def().group_resource();
        Found::of(self.entrance.get()?.of_claim(&named, &resource).await?)
    }

    /// Resumes a suspended Sandbox if the user may, and waits until it runs. One that is on its way
    /// already is only waited for: however many come, it is resumed once.
    ///
    /// # Errors
    /// 409 when it sleeps and the user has no right to resume it, or when it can't run any more;
    /// 504 when it does not run in time: it goes on.
    pub(super) async fn awake(
        &self,
        asked: &ConnectRequest<'_>,
        mut found: Found,
    ) -> Result<Found, ApiError> {
        let Sandboxes { store, permit, clock } = self.entrance.get()?;
        let key = found.object.key();
        if found.sandbox.spec.operating_mode() == OperatingMode::Suspended {
            let user = asked.permit.user();
            let allowed = asked.authorizer.authorize(user, resume(&key)).await;
            let by_user = allowed.map_err(|error| match error.code() {
                403 => {
                    let resource = asked.store.def().group_resource();
                    let text = "the sandbox is suspended, and to resume it takes the right to \
                                create sandboxes/resume";
                    ApiError::conflict(&resource, &asked.key.name, text)
                }
                _ => error,
            })?;
            let (now, warnings) = (clock.now(), Warnings::new());
            let mode = OperatingMode::Running;
            let object = actions::set_mode(store, &by_user, &key, mode, (now, &warnings)).await?;
            info!(sandbox = %key, user = user.name, kind = self.kind.name, "resumed by its use");
            found = Found::of(object)?;
        }
        if !starts(&found.sandbox) {
            return Ok(found);
        }
        let limit = self.shared.config.wake_timeout;
        let is_there = |object: &Object| object.to_typed().is_ok_and(|it| !starts(&it));
        let object = found.object.clone();
        match tokio::time::timeout(limit, reached(store, permit, object, is_there)).await {
            Ok(object) => Found::of(object?),
            Err(_) => {
                let now = store.get(permit, &key, &GetOptions::default()).await?;
                Err(late(&Found::of(Arc::unwrap_or_clone(now))?.sandbox, limit))
            }
        }
    }
}

/// The right to resume a Sandbox.
fn resume(key: &ObjectKey) -> Attributes {
    Attributes::Resource {
        verb: "create".into(),
        group: GROUP.into(),
        version: VERSION.into(),
        resource: "sandboxes".into(),
        subresource: "resume".into(),
        namespace: key.namespace.clone().unwrap_or_default(),
        name: key.name.clone(),
    }
}

fn late(sandbox: &Sandbox, limit: Duration) -> ApiError {
    let name = sandbox.metadata.name.as_deref().unwrap_or_default();
    let why = ready(sandbox).map(|ready| format!(" ({})", ready.message)).unwrap_or_default();
    let text = format!("Sandbox {name:?} did not run within {limit:?}{why}; it goes on starting");
    ApiError::timeout(&text)
}

fn ready(sandbox: &Sandbox) -> Option<&Condition> {
    let status = sandbox.status.as_ref()?;
    status.conditions.iter().find(|condition| condition.type_ == condition::READY)
}

/// Whether it is to run and will, but does not yet. What its status says counts once it is of the
/// present spec.
pub(super) fn starts(sandbox: &Sandbox) -> bool {
    let status = sandbox.status.as_ref();
    let phase = status.and_then(|status| status.phase);
    let observed = status.and_then(|status| status.observed_generation).unwrap_or_default();
    let to_run = sandbox.spec.operating_mode() == OperatingMode::Running
        && sandbox.metadata.deletion_timestamp.is_none();
    match phase {
        Some(SandboxPhase::Succeeded | SandboxPhase::Failed) => false,
        _ if observed < sandbox.metadata.generation.unwrap_or_default() => to_run,
        Some(SandboxPhase::Running) => false,
        // Any other reason is a problem that waiting does not solve.
        _ => {
            to_run
                && ready(sandbox)
                    .is_none_or(|ready| ready.reason == condition::ready::DEPENDENCIES_NOT_READY)
        }
    }
}

/// The UID of an object's controller.
pub(super) fn controller(object: &Object) -> Option<&str> {
    object.controller()?.get("uid")?.as_str()
}
