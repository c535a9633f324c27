//! One row per kind: routes, discovery, OpenAPI, tables and the coverage tests derive from it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::Response;
use http::request::Parts;
use serde_json::Value;

use crate::audit::Record;
use crate::auth::{Authorizer, Permit};
use crate::meta::{GroupResource, Gvk, Object, ObjectKey, Scope};
use crate::registry::{Store, Strategy};
use crate::request::WriteOptions;
use crate::schema::Schema;
use crate::server::Body;
use crate::status::ApiError;
use crate::tasks::Tasks;
use crate::warnings::Warnings;

/// One served kind with its resource name, rules and subresources.
#[derive(Clone)]
pub struct ResourceDef {
    pub gvk: Gvk,
    /// Lower-case plural: the path segment and RBAC resource.
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub strategy: Arc<dyn Strategy>,
    /// Columns after Name; Age comes last by itself unless `columns` holds one named `Age`.
    pub columns: Vec<Column>,
    pub schema: Arc<Schema>,
    /// Field paths usable in field selectors besides `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [&'static str],
    /// Labels whose values the watch cache finds objects by: for selectors that are used often, of
    /// which each finds few.
    pub indexed_labels: &'static [&'static str],
    pub subresources: Vec<Subresource>,
    /// For a kind whose objects are not made by storing what was sent.
    pub creation: Option<Arc<dyn Create>>,
    /// For a kind of whose objects more is known than is stored.
    pub decorator: Option<Arc<dyn Decorator>>,
    /// The kind's first sentence in OpenAPI and `kubectl explain`.
    pub description: &'static str,
}

impl fmt::Debug for ResourceDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceDef").field("gvk", &self.gvk).finish_non_exhaustive()
    }
}

impl ResourceDef {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.gvk.group.clone(), resource: self.plural.into() }
    }

    pub fn list_kind(&self) -> String {
        format!("{}List", self.gvk.kind)
    }

    pub fn has_status(&self) -> bool {
        self.subresources.iter().any(|sub| matches!(sub, Subresource::Status))
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name() == name)
    }
}

/// A printer column of the Table form.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean` or `date` (printed as an age).
    pub kind: &'static str,
    pub description: &'static str,
    /// 0 always, 1 with `-o wide` only.
    pub priority: i32,
    /// The cell's value; `Null` prints as `<none>`-less empty text like kubectl's own printers.
    pub cell: fn(&Object) -> Value,
}

/// A subresource of a kind.
#[derive(Clone)]
pub enum Subresource {
    /// get, patch, update of the status alone.
    Status,
    /// get, patch, update in `autoscaling/v1 Scale`; the paths are dotted.
    Scale { replicas: &'static str, status_replicas: &'static str, selector: &'static str },
    /// A typed POST verb.
    Action(ActionDef),
    /// A byte stream.
    Connect(ConnectDef),
}

impl Subresource {
    pub fn name(&self) -> &str {
        match self {
            Self::Status => "status",
            Self::Scale { .. } => "scale",
            Self::Action(action) => action.name,
            Self::Connect(connect) => connect.name,
        }
    }
}

impl fmt::Debug for Subresource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A typed POST subresource: its name, wire kinds and handler.
#[derive(Clone)]
pub struct ActionDef {
    pub name: &'static str,
    /// The kind a body may have (an empty body is allowed).
    pub input: Gvk,
    /// The kind of the answer.
    pub output: Gvk,
    /// Query parameters the action understands, for OpenAPI: name, description.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Whether it can say what it would do; else `dryRun` is a 400.
    pub dry_run: bool,
    pub handler: Arc<dyn Action>,
}

impl fmt::Debug for ActionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionDef").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What an action gets to work with.
#[derive(Debug)]
pub struct ActionRequest<'a> {
    pub permit: &'a Permit,
    pub key: ObjectKey,
    pub body: Option<Object>,
    pub options: WriteOptions,
    pub query: Vec<(String, String)>,
    pub store: &'a Store,
    pub warnings: &'a Warnings,
    /// For what the audit is to know beside the request.
    pub record: &'a Record,
}

/// The answer of an action: HTTP code (200, 201 or 202) and object.
#[derive(Debug)]
pub struct ActionResponse {
    pub code: u16,
    pub object: Object,
}

/// A typed POST verb of a kind.
#[async_trait]
pub trait Action: Send + Sync {
    /// Runs to its end even when the client hangs up.
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError>;
}

/// What a create of a kind with a [`ResourceDef::creation`] gets to work with.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    pub permit: &'a Permit,
    pub scope: Scope,
    pub object: Object,
    pub options: WriteOptions,
    pub query: Vec<(String, String)>,
    pub store: &'a Store,
    pub warnings: &'a Warnings,
    /// For what the audit is to know beside the request.
    pub record: &'a Record,
}

/// A create that does more than to store what was sent. It must judge the object as
/// [`Store::prepare`] does.
#[async_trait]
pub trait Create: Send + Sync {
    /// Runs to its end even when the client hangs up.
    async fn create(&self, request: CreateRequest<'_>) -> Result<ActionResponse, ApiError>;
}

/// Adds to objects where they are read what is known of them and not stored: `[apiserver]
/// pkg/registry/generic/registry/store.go` Decorator. Watches don't have it: what is known changes
/// without an event.
pub trait Decorator: Send + Sync {
    /// Whether there is anything to add to the object of this `namespace/name`. Asked of every
    /// object that is read.
    fn concerns(&self, path: &str) -> bool;

    fn decorate(&self, object: &mut Object);

    /// Removes it again from a status that is to be stored: clients send back what they have read.
    fn strip(&self, object: &mut Object);
}

/// A subresource that hands the connection on: `[apiserver] pkg/registry/rest/rest.go` Connecter.
///
/// Only the names `exec`, `attach`, `portforward`, `log` and `proxy` may last: the front cuts every
/// other request after a minute.
#[derive(Clone)]
pub struct ConnectDef {
    pub name: &'static str,
    /// HTTP methods it takes; any other is a 405.
    pub methods: &'static [&'static str],
    /// The kind that discovery names. Its fields come as query parameters, never as a body.
    pub options: Gvk,
    /// Those parameters, for OpenAPI: name, description.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Path segments may follow, as those of a proxied service.
    pub takes_path: bool,
    /// Whoever connects needs the right to `create`, whatever the method: a WebSocket opens with
    /// GET, and a right to read must not do for running commands. Checked before the handler.
    pub needs_create: bool,
    pub handler: Arc<dyn Connect>,
}

impl fmt::Debug for ConnectDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectDef").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a stream gets to work with.
#[derive(Debug)]
pub struct ConnectRequest<'a> {
    pub permit: &'a Permit,
    pub key: ObjectKey,
    /// Decoded segments after the subresource; empty unless the definition takes a path.
    pub path: Vec<String>,
    /// With hyper's `OnUpgrade` among the extensions.
    pub parts: &'a Parts,
    /// Unread.
    pub body: hyper::body::Incoming,
    pub store: &'a Store,
    /// For what goes on after the response's head. Such a task must end when the group stops.
    pub tasks: &'a Tasks,
    /// For rights beside the one that was asked for, and to ask again while the stream lasts.
    pub authorizer: &'a Arc<Authorizer>,
    /// For what the audit is to know beside the request. It is open as long as a clone is kept.
    pub record: &'a Record,
}

/// A byte stream to something that stands behind an object.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Dropped when the client hangs up before the response's head.
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<Response<Body>, ApiError>;
}
