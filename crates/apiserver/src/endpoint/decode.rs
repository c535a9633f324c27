//! Bodies to objects, requests to operations.

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::BODY_BYTES_MAX;
use super::route::Target;
use crate::codec::MediaType;
use crate::codec::negotiate::{content_type, patch_type};
use crate::meta::{Gvk, Object};
use crate::patch::Patch;
use crate::request::query::{
    Query, check_collection_delete, delete_options, list_options, watch_options, write_options,
};
use crate::request::{FieldValidation, GetOptions, Operation, RequestInfo, WriteOptions};
use crate::resource::{ResourceDef, Subresource};
use crate::schema::decode::{decode_json, decode_yaml};
use crate::selector::FieldSelector;
use crate::status::ApiError;
use crate::warnings::Warnings;

pub(super) fn header_text(parts: &Parts, name: header::HeaderName) -> Option<&str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The whole body of a write, bounded.
///
/// # Errors
/// 413 over [`BODY_BYTES_MAX`], 400 when the client stopped in the middle.
pub(super) async fn read_body(
    body: hyper::body::Incoming,
    parts: &Parts,
) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(BODY_BYTES_MAX as u64);
    let announced = header_text(parts, header::CONTENT_LENGTH).and_then(|t| t.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(ApiError::bad_request(format!("reading the request body: {error}"))),
    }
}

/// What the request asks, decoded and checked.
///
/// # Errors
/// 400, 413, 415 or 422 with Kubernetes' texts; nothing has been changed then.
pub(super) fn operation(
    def: &ResourceDef,
    info: &RequestInfo,
    target: &Target,
    parts: &Parts,
    body: Bytes,
    warnings: &Warnings,
) -> Result<Operation, ApiError> {
    let query = Query::parse(parts.uri.query());
    if query.value("export").is_some_and(|v| v != "false") {
        return Err(ApiError::bad_request(
            "the export parameter, deprecated since v1.14, is no longer supported",
        ));
    }
    let agent = header_text(parts, header::USER_AGENT).unwrap_or_default();
    let subresource = (!info.subresource.is_empty()).then(|| info.subresource.clone());
    let kind = header_text(parts, header::CONTENT_TYPE);
    Ok(match target {
        Target::Get => Operation::Get {
            key: info.key(),
            subresource,
            options: GetOptions {
                resource_version: query.value("resourceVersion").unwrap_or_default().to_owned(),
            },
        },
        Target::List => Operation::List { scope: info.scope(), options: list_options(&query)? },
        Target::Watch => {
            let mut options = watch_options(&query)?;
            // The deprecated path form names one object.
            if !info.is_collection() {
                options.field_selector =
                    FieldSelector::parse(&format!("metadata.name={}", info.name))?;
            }
            Operation::Watch { scope: info.scope(), options }
        }
        Target::Create => {
            let options = write_options(&query, "CreateOptions", agent)?;
            let object = object(def, kind, &body, &options, warnings)?;
            let query = query.into_pairs();
            Operation::Create { scope: info.scope(), object, options, query }
        }
        Target::Update => {
            let options = write_options(&query, "UpdateOptions", agent)?;
            let object = match &subresource {
                Some(name) if is_scale(def, name) => {
                    any_object(&Gvk::new("autoscaling", "v1", "Scale"), kind, &body)?.0
                }
                _ => object(def, kind, &body, &options, warnings)?,
            };
            Operation::Update { key: info.key(), subresource, object, options }
        }
        Target::Patch => {
            let options = write_options(&query, "PatchOptions", agent)?;
            let patch = Patch { kind: patch_type(kind)?, body };
            Operation::Patch { key: info.key(), subresource, patch, options }
        }
        Target::Delete => {
            let options = delete_options(&query, delete_body(kind, &body)?.as_ref())?;
            Operation::Delete { key: info.key(), options }
        }
        Target::DeleteCollection => {
            let options = delete_options(&query, delete_body(kind, &body)?.as_ref())?;
            check_collection_delete(&options)?;
            Operation::DeleteCollection {
                scope: info.scope(),
                list: list_options(&query)?,
                options,
            }
        }
        Target::Connect(_) => return Err(ApiError::internal("a stream is no operation")),
        Target::Action(name) => {
            let options = write_options(&query, "CreateOptions", agent)?;
            let takes_dry_run = matches!(def.subresource(name), Some(Subresource::Action(action)) if action.dry_run);
            if options.dry_run && !takes_dry_run {
                return Err(ApiError::bad_request("dryRun is not supported"));
            }
            let body = action_body(def, name, kind, &body)?;
            Operation::Action {
                key: info.key(),
                name: name.clone(),
                body,
                options,
                query: query.into_pairs(),
            }
        }
    })
}

fn is_scale(def: &ResourceDef, name: &str) -> bool {
    matches!(def.subresource(name), Some(Subresource::Scale { .. }))
}

fn action_body(
    def: &ResourceDef,
    name: &str,
    kind: Option<&str>,
    body: &Bytes,
) -> Result<Option<Object>, ApiError> {
    let Some(Subresource::Action(action)) = def.subresource(name) else { return Ok(None) };
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    any_object(&action.input, kind, body).map(|(object, _)| Some(object))
}

fn delete_body(kind: Option<&str>, body: &Bytes) -> Result<Option<Object>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    let (value, _) = parse(kind, body).map_err(|text| match text {
        Parse::Media(error) => error,
        Parse::Syntax(text) => ApiError::bad_request(text),
    })?;
    Ok(Object::from_value(value))
}

enum Parse {
    Media(ApiError),
    Syntax(String),
}

fn parse(kind: Option<&str>, body: &Bytes) -> Result<(serde_json::Value, Vec<String>), Parse> {
    match content_type(kind).map_err(Parse::Media)? {
        MediaType::Json => decode_json(body).map_err(Parse::Syntax),
        MediaType::Yaml => decode_yaml(body).map_err(Parse::Syntax),
    }
}

/// An object of `gvk`, missing apiVersion and kind filled in, with the paths of duplicate fields.
fn any_object(
    gvk: &Gvk,
    kind: Option<&str>,
    body: &Bytes,
) -> Result<(Object, Vec<String>), ApiError> {
    let refused = |cause: &str| {
        ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {cause}",
            gvk.kind, gvk.version, gvk.kind
        ))
    };
    let (value, duplicates) = parse(kind, body).map_err(|error| match error {
        Parse::Media(error) => error,
        Parse::Syntax(text) => refused(&text),
    })?;
    let mut object =
        Object::from_value(value).ok_or_else(|| refused("the body is not an object"))?;
    if !object.api_version().is_empty() && object.api_version() != gvk.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            object.api_version(),
            gvk.api_version()
        )));
    }
    if !object.kind().is_empty() && object.kind() != gvk.kind {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: the kind in the data does not match",
            object.kind(),
            gvk.version,
            gvk.kind
        )));
    }
    object.set_gvk(gvk);
    Ok((object, duplicates))
}

/// A body of the served kind: unknown fields are dropped and, as `fieldValidation` asks, reported.
fn object(
    def: &ResourceDef,
    kind: Option<&str>,
    body: &Bytes,
    options: &WriteOptions,
    warnings: &Warnings,
) -> Result<Object, ApiError> {
    let (mut object, duplicates) = any_object(&def.gvk, kind, body)?;
    let unknown = def.schema.prune(&mut object);
    let mut problems: Vec<String> =
        unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    // Duplicates of the YAML decoder are texts of their own; JSON's are paths.
    problems.extend(duplicates.iter().map(|found| {
        if found.contains(' ') { found.clone() } else { format!("duplicate field \"{found}\"") }
    }));
    if problems.is_empty() {
        return Ok(object);
    }
    match options.field_validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => problems.into_iter().for_each(|text| warnings.add(text)),
        FieldValidation::Strict => {
            return Err(ApiError::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                def.gvk.kind,
                def.gvk.version,
                def.gvk.kind,
                problems.join(", ")
            )));
        }
    }
    Ok(object)
}
