//! From an authorized HTTP request to an [`crate::request::Operation`] and back: routing, decoding,
//! encoding.
//!
//! The body is read only here, after authorization; mutations run on the server's own tasks, so
//! that they finish even if the client hangs up.

mod connect;
mod decode;
mod list;
mod operate;
mod reply;
mod route;
mod scale;
mod watch;
mod websocket;

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use http::{Method, Response, header};

use self::reply::Render;
use self::route::Target;
use crate::audit::Record;
use crate::auth::{Authorizer, Permit};
use crate::clock::Clock;
use crate::discovery::Discovery;
use crate::openapi::OpenApi;
use crate::registry::Store;
use crate::request::{Operation, RequestInfo};
use crate::server::response;
use crate::server::{Background, Body, Handler};
use crate::status::ApiError;
use crate::warnings::Warnings;

/// Largest body of a write (`[apiserver] pkg/server/config.go` MaxRequestBodyBytes).
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The API of all registered kinds.
#[derive(Debug)]
pub struct Api {
    stores: Vec<Store>,
    discovery: Discovery,
    openapi: OpenApi,
    clock: Arc<dyn Clock>,
    /// For the second question about streams.
    authorizer: Arc<Authorizer>,
}

impl Api {
    pub fn new(
        stores: Vec<Store>,
        title: &str,
        version: &str,
        clock: Arc<dyn Clock>,
        authorizer: Arc<Authorizer>,
    ) -> Self {
        let defs: Vec<_> = stores.iter().map(|store| store.def().as_ref()).collect();
        let discovery = Discovery::build(&defs);
        let openapi = OpenApi::build(&defs, title, version);
        Self { stores, discovery, openapi, clock, authorizer }
    }

    fn store(&self, info: &RequestInfo) -> Option<&Store> {
        self.stores.iter().find(|store| {
            let def = store.def();
            def.gvk.group == info.api_group
                && def.gvk.version == info.api_version
                && def.plural == info.resource
        })
    }

    fn documents(&self, parts: &Parts) -> Option<Response<Body>> {
        let path = parts.uri.path();
        if let Some(found) = self.discovery.respond(path, &parts.headers) {
            return Some(reply::document(parts, found.status, found.headers, found.body));
        }
        let found = self.openapi.respond(path, parts.uri.query(), &parts.headers)?;
        Some(reply::document(parts, found.status, found.headers, found.body))
    }

    async fn resource(
        &self,
        info: RequestInfo,
        permit: Permit,
        parts: &Parts,
        body: hyper::body::Incoming,
        (warnings, background): (Warnings, Background<'_>),
    ) -> Result<Response<Body>, ApiError> {
        if !self.discovery.serves(&info.api_group, &info.api_version) {
            return Ok(response::page_not_found());
        }
        let store = self.store(&info).ok_or_else(ApiError::generic_not_found)?;
        let target = Target::resolve(store.def(), &info, &parts.method)?;
        let tasks = background.tasks;
        if let Target::Connect(name) = &target {
            // Before content negotiation: a stream's media type is not ours to choose.
            let stream = connect::Stream { authorizer: &self.authorizer, store, tasks };
            return stream.open(name, info, &permit, parts, body).await;
        }
        let render = Render::new(store.def(), parts, &target, self.clock.now())?;
        let record = Record::of(parts);
        let body = decode::read_body(body, parts).await?;
        let sent = body.clone();
        let operation = decode::operation(store.def(), &info, &target, parts, body, &warnings)?;
        record.request(&sent, decode::header_text(parts, header::CONTENT_TYPE));
        if let Operation::Create { object, .. } | Operation::Update { object, .. } = &operation {
            record.names(object);
        }
        if let Operation::Delete { options, .. } = &operation
            && options.ignore_read_error
        {
            // `[apiserver] pkg/endpoints/handlers/delete.go` authorizeUnsafeDelete.
            let verb = "unsafe-delete-ignore-read-errors".into();
            let asked = RequestInfo { verb, ..info.clone() }.attributes();
            self.authorizer.authorize(permit.user(), asked).await?;
        }
        let store = store.clone();
        let run = async move {
            let result = operate::run(store, permit, operation, (&warnings, &record)).await;
            record.worked(&result);
            if let Ok(operate::Answer::Object(_, object)) = &result {
                record.names(object);
            }
            result
        };
        let answer = if info.is_mutating() {
            tasks
                .run_to_end(run)
                .await
                .unwrap_or_else(|| Err(ApiError::internal("the request handler panicked")))?
        } else {
            run.await?
        };
        match answer {
            operate::Answer::Watch(events) if websocket::is_asked(parts) => {
                websocket::respond(events, render, parts, background)
            }
            answer => render.answer(answer, parts),
        }
    }
}

#[async_trait]
impl Handler for Api {
    async fn handle(
        &self,
        permit: Permit,
        parts: Parts,
        body: hyper::body::Incoming,
        warnings: Warnings,
        background: Background<'_>,
    ) -> Response<Body> {
        let info = RequestInfo::parse(&parts.method, parts.uri.path(), parts.uri.query());
        if !info.is_resource {
            if !matches!(parts.method, Method::GET | Method::HEAD) {
                return response::error(&ApiError::generic_method_not_allowed());
            }
            return self.documents(&parts).unwrap_or_else(response::page_not_found);
        }
        match self.resource(info, permit, &parts, body, (warnings, background)).await {
            Ok(answer) => answer,
            Err(error) => response::error(&error),
        }
    }
}
