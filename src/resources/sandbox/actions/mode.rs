//! `suspend` and `resume`: set `spec.operatingMode`. Repeating one is no error and no write.

use std::sync::Arc;

use apiserver::auth::Permit;
use apiserver::clock::Clock;
use apiserver::meta::{Object, ObjectKey};
use apiserver::registry::{Part, Store};
use apiserver::request::WriteOptions;
use apiserver::resource::{Action, ActionRequest, ActionResponse};
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use async_trait::async_trait;
use jiff::Timestamp;
use sandbox_api::{OperatingMode, Sandbox};
use serde_json::{Value, json};

use super::rules::{Verdict, set_mode};
use super::wait::{Wait, wait_for};

pub(super) struct SetMode {
    mode: OperatingMode,
    clock: Arc<dyn Clock>,
}

impl SetMode {
    pub(super) fn new(mode: OperatingMode, clock: Arc<dyn Clock>) -> Self {
        Self { mode, clock }
    }
}

/// Asks a Sandbox to run, or not to. If it is asked to already, nothing is written.
///
/// # Errors
/// 409 when it has finished or is at its end, and those of an update.
pub async fn set(
    store: &Store,
    permit: &Permit,
    key: &ObjectKey,
    mode: OperatingMode,
    (now, warnings): (Timestamp, &Warnings),
) -> Result<Object, ApiError> {
    let resource = store.def().group_resource();
    let change = |object: &mut Object| {
        let sandbox: Sandbox = object.to_typed().map_err(ApiError::internal)?;
        match set_mode(&sandbox, mode, now) {
            Verdict::Already => {}
            Verdict::Refused(text) => {
                return Err(ApiError::conflict(&resource, object.name(), text));
            }
            Verdict::Go => {
                if let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.insert("operatingMode".into(), json!(mode));
                }
            }
        }
        Ok(())
    };
    store.mutate(permit, key, Part::Main, &WriteOptions::default(), warnings, change).await
}

#[async_trait]
impl Action for SetMode {
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError> {
        // Refused before anything is written.
        let wait = Wait::parse(&request.query)?;
        let ActionRequest { store, permit, warnings, .. } = request;
        let now = self.clock.now();
        let written = set(store, permit, &request.key, self.mode, (now, warnings)).await?;
        let object = match wait {
            Some(limit) => wait_for(store, permit, written, self.mode, limit).await?,
            None => written,
        };
        Ok(ActionResponse { code: 200, object })
    }
}
