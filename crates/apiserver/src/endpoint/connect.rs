//! Streams: the rules that hold for each of them, then the handler of the table.
//!
//! Wire rules: `[apiserver] pkg/endpoints/handlers/rest.go` ConnectResource; the second question
//! of authorization is that of `[kubernetes] AuthorizePodWebsocketUpgradeCreatePermission`.

use std::sync::Arc;

use http::Response;
use http::request::Parts;

use crate::audit::Record;
use crate::auth::{Attributes, Authorizer, Permit};
use crate::registry::Store;
use crate::request::RequestInfo;
use crate::request::query::Query;
use crate::resource::{ConnectDef, ConnectRequest, Subresource};
use crate::server::Body;
use crate::status::ApiError;
use crate::tasks::Tasks;

pub(super) struct Stream<'a> {
    pub(super) authorizer: &'a Arc<Authorizer>,
    pub(super) store: &'a Store,
    pub(super) tasks: &'a Tasks,
}

impl Stream<'_> {
    /// # Errors
    /// 403 without the right to `create` where the stream needs it, 400 for `dryRun`, and whatever
    /// the handler says.
    pub(super) async fn open(
        &self,
        name: &str,
        info: RequestInfo,
        permit: &Permit,
        parts: &Parts,
        body: hyper::body::Incoming,
    ) -> Result<Response<Body>, ApiError> {
        let Some(Subresource::Connect(def)) = self.store.def().subresource(name) else {
            return Err(ApiError::generic_not_found());
        };
        let create = self.create(def, &info, permit).await?;
        if Query::parse(parts.uri.query()).value("dryRun").is_some_and(|v| !v.is_empty()) {
            return Err(ApiError::bad_request("dryRun is not supported"));
        }
        let request = ConnectRequest {
            permit: create.as_ref().unwrap_or(permit),
            key: info.key(),
            path: info.parts.into_iter().skip(3).collect(),
            parts,
            body,
            store: self.store,
            tasks: self.tasks,
            authorizer: self.authorizer,
            record: &Record::of(parts),
        };
        def.handler.connect(request).await
    }

    /// The permit to `create`, where the stream needs one.
    async fn create(
        &self,
        def: &ConnectDef,
        info: &RequestInfo,
        permit: &Permit,
    ) -> Result<Option<Permit>, ApiError> {
        if !def.needs_create {
            return Ok(None);
        }
        match as_create(info) {
            // The chain has asked this very question.
            asked if permit.attributes() == Some(&asked) => Ok(None),
            asked => self.authorizer.authorize(permit.user(), asked).await.map(Some),
        }
    }
}

fn as_create(info: &RequestInfo) -> Attributes {
    let create = RequestInfo { verb: "create".into(), ..info.clone() };
    create.attributes()
}
