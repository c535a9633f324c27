//! Operations to registry calls.

use std::sync::Arc;

use serde_json::{Value, json};

use super::scale;
use crate::audit::Record;
use crate::auth::Permit;
use crate::meta::{Object, ObjectKey};
use crate::registry::{DeleteOutcome, Item, ObjectList, Part, Store, WatchStream};
use crate::request::{DeleteOptions, Operation};
use crate::resource::{ActionRequest, ActionResponse, CreateRequest, Subresource};
use crate::status::ApiError;
use crate::warnings::Warnings;

/// What an operation answers, not yet in a wire form.
pub(super) enum Answer {
    Object(u16, Arc<Object>),
    Item(Arc<Item>),
    List(ObjectList),
    Watch(WatchStream),
    /// A `metav1.Status` of success.
    Status(Value),
    /// An object of another kind than the resource's: no Table form.
    Foreign(u16, Object),
}

pub(super) async fn run(
    store: Store,
    permit: Permit,
    operation: Operation,
    (warnings, record): (&Warnings, &Record),
) -> Result<Answer, ApiError> {
    let ok = |object| Answer::Object(200, Arc::new(object));
    match operation {
        Operation::Get { key, subresource, options } => {
            let item = store.get_item(&permit, &key, &options).await?;
            match scale_of(&store, subresource.as_deref()) {
                Some(paths) => Ok(Answer::Foreign(200, scale::scale(&*item.object()?, paths))),
                None => Ok(Answer::Item(item)),
            }
        }
        Operation::List { scope, options } => {
            store.list(&permit, &scope, &options).await.map(Answer::List)
        }
        Operation::Watch { scope, options } => {
            store.watch(&permit, &scope, &options).await.map(Answer::Watch)
        }
        Operation::Create { scope, object, options, query } => {
            let Some(creation) = store.def().creation.clone() else {
                let created = store.create(&permit, &scope, object, &options, warnings).await?;
                return Ok(Answer::Object(201, Arc::new(created)));
            };
            let (permit, store) = (&permit, &store);
            let request =
                CreateRequest { permit, scope, object, options, query, store, warnings, record };
            let ActionResponse { code, object } = creation.create(request).await?;
            Ok(Answer::Object(code, Arc::new(object)))
        }
        Operation::Update { key, subresource, object, options } => {
            if let Some(paths) = scale_of(&store, subresource.as_deref()) {
                let target = (&permit, &key, &options, warnings);
                return scale::update(&store, target, paths, &object)
                    .await
                    .map(|object| Answer::Foreign(200, object));
            }
            let part = part(subresource.as_deref());
            store.update(&permit, &key, part, object, &options, warnings).await.map(ok)
        }
        Operation::Patch { key, subresource, patch, options } => {
            if let Some(paths) = scale_of(&store, subresource.as_deref()) {
                let target = (&permit, &key, &options, warnings);
                return scale::patch(&store, target, paths, &patch)
                    .await
                    .map(|object| Answer::Foreign(200, object));
            }
            let part = part(subresource.as_deref());
            store.patch(&permit, &key, part, &patch, &options, warnings).await.map(ok)
        }
        Operation::Delete { key, options } => delete(&store, &permit, key, &options).await,
        Operation::DeleteCollection { scope, list, options } => {
            store.delete_collection(&permit, &scope, &list, &options).await.map(Answer::List)
        }
        Operation::Action { key, name, body, options, query } => {
            let Some(Subresource::Action(action)) = store.def().subresource(&name) else {
                return Err(ApiError::generic_not_found());
            };
            let handler = action.handler.clone();
            let request = ActionRequest {
                permit: &permit,
                key,
                body,
                options,
                query,
                store: &store,
                warnings,
                record,
            };
            let response = handler.call(request).await?;
            Ok(if response.object.kind() == store.def().gvk.kind {
                Answer::Object(response.code, Arc::new(response.object))
            } else {
                Answer::Foreign(response.code, response.object)
            })
        }
    }
}

async fn delete(
    store: &Store,
    permit: &Permit,
    key: ObjectKey,
    options: &DeleteOptions,
) -> Result<Answer, ApiError> {
    Ok(match store.delete(permit, &key, options).await? {
        DeleteOutcome::Removed(object) => Answer::Status(deleted(store.def(), &object)),
        DeleteOutcome::Unreadable => {
            let nothing = Object::default();
            let mut status = deleted(store.def(), &nothing);
            status["details"]["name"] = key.name.into();
            Answer::Status(status)
        }
        DeleteOutcome::Pending(object) => {
            let code = if options.orphan_dependents_false { 202 } else { 200 };
            Answer::Object(code, Arc::new(object))
        }
    })
}

fn part(subresource: Option<&str>) -> Part {
    if subresource == Some("status") { Part::Status } else { Part::Main }
}

fn scale_of(store: &Store, subresource: Option<&str>) -> Option<scale::Paths> {
    match store.def().subresource(subresource?)? {
        Subresource::Scale { replicas, status_replicas, selector } => {
            Some(scale::Paths { replicas, status_replicas, selector })
        }
        _ => None,
    }
}

/// The answer of a delete that took effect (`[apiserver] pkg/endpoints/handlers/delete.go`).
fn deleted(def: &crate::resource::ResourceDef, object: &Object) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": object.name(),
            "group": def.gvk.group,
            "kind": def.plural,
            "uid": object.uid(),
        },
    })
}
