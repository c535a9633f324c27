//! The `scale` subresource: a kind seen as `autoscaling/v1 Scale`.

use serde_json::{Map, Value, json};

use crate::auth::Permit;
use crate::field::FieldError;
use crate::meta::{Gvk, Object, ObjectKey};
use crate::patch::Patch;
use crate::registry::{Part, Store};
use crate::request::WriteOptions;
use crate::status::ApiError;
use crate::warnings::Warnings;

/// Dotted paths of the three facts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths {
    pub(super) replicas: &'static str,
    pub(super) status_replicas: &'static str,
    pub(super) selector: &'static str,
}

/// Whose scale is changed, by whom and how.
pub(super) type Target<'a> = (&'a Permit, &'a ObjectKey, &'a WriteOptions, &'a Warnings);

pub(super) fn scale(object: &Object, paths: Paths) -> Object {
    let number = |path: &str| object.at(path).and_then(Value::as_i64).unwrap_or_default();
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.metadata().and_then(|m| m.get(field)) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let mut value = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": { "replicas": number(paths.replicas) },
        "status": { "replicas": number(paths.status_replicas) },
    });
    if let Some(selector) = object.at(paths.selector).and_then(Value::as_str) {
        value["status"]["selector"] = selector.into();
    }
    Object::from_value(value).unwrap_or_default()
}

pub(super) async fn update(
    store: &Store,
    target: Target<'_>,
    paths: Paths,
    wanted: &Object,
) -> Result<Object, ApiError> {
    let (_, key, ..) = target;
    if !wanted.name().is_empty() && wanted.name() != key.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            wanted.name(),
            key.name
        )));
    }
    let wanted = wanted.clone();
    change(store, target, paths, move |_| Ok(wanted.clone())).await
}

pub(super) async fn patch(
    store: &Store,
    target: Target<'_>,
    paths: Paths,
    change_by: &Patch,
) -> Result<Object, ApiError> {
    let decoded = change_by.decode()?;
    change(store, target, paths, move |current| {
        let mut patched = current.clone().into_value();
        decoded.apply(&mut patched)?;
        Object::from_value(patched)
            .ok_or_else(|| ApiError::bad_request("the patched Scale is not an object"))
    })
    .await
}

async fn change<F>(
    store: &Store,
    (permit, key, options, warnings): Target<'_>,
    paths: Paths,
    mut wanted: F,
) -> Result<Object, ApiError>
where
    F: FnMut(&Object) -> Result<Object, ApiError> + Send,
{
    let resource = store.def().group_resource();
    let object = store
        .mutate(permit, key, Part::Main, options, warnings, |object| {
            let wanted = wanted(&scale(object, paths))?;
            if let Some(version) = wanted.resource_version()
                && object.resource_version().is_some_and(|current| current != version)
            {
                return Err(ApiError::modified(&resource, object.name()));
            }
            let replicas = wanted.at("spec.replicas").cloned().unwrap_or(Value::from(0));
            if !replicas.as_i64().is_some_and(|n| (0..=i64::from(i32::MAX)).contains(&n)) {
                let error = FieldError::invalid(
                    "spec.replicas",
                    &replicas,
                    "must be greater than or equal to 0",
                );
                let kind = Gvk::new("autoscaling", "v1", "Scale");
                return Err(ApiError::invalid(&kind, object.name(), &[error]));
            }
            set(object, paths.replicas, replicas);
            Ok(())
        })
        .await?;
    Ok(scale(&object, paths))
}

fn set(object: &mut Object, path: &str, value: Value) {
    let mut parts: Vec<&str> = path.split('.').collect();
    let Some(last) = parts.pop() else { return };
    let mut map = &mut object.0;
    for part in parts {
        let entry = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = entry else { return };
        map = inner;
    }
    map.insert(last.into(), value);
}
