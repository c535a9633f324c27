//! `suspend` and `resume`: set `spec.operatingMode`. Repeating one is no error and no write.

use std::sync::Arc;

use apiserver::clock::Clock;
use apiserver::meta::Object;
use apiserver::registry::Part;
use apiserver::request::WriteOptions;
use apiserver::resource::{Action, ActionRequest, ActionResponse};
use apiserver::status::ApiError;
use async_trait::async_trait;
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

    fn change(
        &self,
        object: &mut Object,
        resource: &apiserver::meta::GroupResource,
    ) -> Result<(), ApiError> {
        let sandbox: Sandbox = object.to_typed().map_err(ApiError::internal)?;
        match set_mode(&sandbox, self.mode, self.clock.now()) {
            Verdict::Already => {}
            Verdict::Refused(text) => {
                return Err(ApiError::conflict(resource, object.name(), text));
            }
            Verdict::Go => {
                if let Some(spec) = object.0.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.insert("operatingMode".into(), json!(self.mode));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Action for SetMode {
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError> {
        // Refused before anything is written.
        let wait = Wait::parse(&request.query)?;
        let resource = request.store.def().group_resource();
        let options = WriteOptions::default();
        let change = |object: &mut Object| self.change(object, &resource);
        let written = request
            .store
            .mutate(request.permit, &request.key, Part::Main, &options, request.warnings, change)
            .await?;
        let object = match wait {
            Some(limit) => {
                wait_for(request.store, request.permit, written, self.mode, limit).await?
            }
            None => written,
        };
        Ok(ActionResponse { code: 200, object })
    }
}
