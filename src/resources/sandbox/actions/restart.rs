//! `restart`: stamps the Sandbox; the loop replaces a Pod that has another stamp. It takes up what
//! changed in the Pod template, and starts a finished Sandbox anew.

use std::sync::Arc;

use apiserver::clock::Clock;
use apiserver::meta::Object;
use apiserver::registry::Part;
use apiserver::request::WriteOptions;
use apiserver::resource::{Action, ActionRequest, ActionResponse};
use apiserver::status::ApiError;
use async_trait::async_trait;
use sandbox_api::{Sandbox, keys};
use serde_json::{Map, Value};

use super::rules::{Verdict, restart};
use super::wait::{Wait, wait_for_another_pod};

pub(super) struct Restart {
    clock: Arc<dyn Clock>,
}

impl Restart {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[async_trait]
impl Action for Restart {
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError> {
        // Refused before anything is written.
        let wait = Wait::parse(&request.query)?;
        let resource = request.store.def().group_resource();
        // Finer than seconds: each restart is one of its own.
        let now = self.clock.now();
        let change = |object: &mut Object| {
            let sandbox: Sandbox = object.to_typed().map_err(ApiError::internal)?;
            if let Verdict::Refused(text) = restart(&sandbox, now) {
                return Err(ApiError::conflict(&resource, object.name(), text));
            }
            let annotations =
                object.metadata_mut().entry("annotations").or_insert_with(|| Map::new().into());
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert(keys::RESTARTED_AT.into(), Value::String(now.to_string()));
            }
            Ok(())
        };
        let options = WriteOptions::default();
        let object = request
            .store
            .mutate(request.permit, &request.key, Part::Main, &options, request.warnings, change)
            .await?;
        let object = match wait {
            Some(limit) => {
                wait_for_another_pod(request.store, request.permit, object, limit).await?
            }
            None => object,
        };
        Ok(ActionResponse { code: 200, object })
    }
}
