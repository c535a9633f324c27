//! The two ways to a claim, one code path: POST to `sandboxclaims`, and the pool's action `claim`.

use std::sync::Arc;

use apiserver::audit::Record;
use apiserver::meta::{Gvk, Object};
use apiserver::resource::{
    Action, ActionDef, ActionRequest, ActionResponse, Create, CreateRequest, Subresource,
};
use apiserver::status::ApiError;
use async_trait::async_trait;
use sandbox_api::{API_VERSION, GROUP, VERSION, keys};
use serde_json::{Value, json};

use super::service::{Answer, Claims, Request};
use super::wait::Wait;

const PARAMETERS: &[(&str, &str)] = &[
    ("wait", "Answer when the claim is bound, or its Sandbox ready; at once if not given."),
    ("timeout", "Longest wait, as a Go duration; 30s if not given, at most 55s."),
];

/// Where requests find the claims.
pub type Entrance = crate::entrance::Entrance<Claims>;

impl Entrance {
    /// How claims are created.
    pub fn creation(&self) -> Arc<dyn Create> {
        Arc::new(self.clone())
    }

    /// The pool's action.
    pub fn action(&self) -> Subresource {
        Subresource::Action(ActionDef {
            name: "claim",
            input: Gvk::new(GROUP, VERSION, "SandboxClaim"),
            output: Gvk::new(GROUP, VERSION, "SandboxClaim"),
            parameters: PARAMETERS,
            dry_run: true,
            handler: Arc::new(self.clone()),
        })
    }
}

fn response(answer: Answer, record: &Record) -> ActionResponse {
    let code = if answer.created { 201 } else { 200 };
    tell(&answer.claim, record);
    ActionResponse { code, object: answer.claim }
}

/// Which claim has which Sandboxes, for the audit.
fn tell(claim: &Object, record: &Record) {
    let several = claim.at("status.sandboxes").and_then(Value::as_array);
    let several = several.filter(|all| !all.is_empty()).map(Vec::as_slice);
    let all = several.or_else(|| claim.at("status.sandbox").map(std::slice::from_ref));
    let names = all.unwrap_or_default().iter().filter_map(|it| it.get("name")?.as_str());
    let sandboxes: Vec<_> = names.collect();
    record.annotate(keys::AUDITED_CLAIM, claim.name());
    record.annotate(keys::AUDITED_SANDBOX, sandboxes.join(","));
}

#[async_trait]
impl Create for Entrance {
    async fn create(&self, request: CreateRequest<'_>) -> Result<ActionResponse, ApiError> {
        // Refused before anything is written.
        let wait = Wait::parse(&request.query)?;
        let claim = Request {
            permit: request.permit,
            namespace: request.scope.namespace().unwrap_or_default().to_owned(),
            claim: request.object,
            dry_run: request.options.dry_run,
            wait,
            known_by_name: false,
            warnings: request.warnings,
        };
        let answer = self.get()?.create(claim).await?;
        Ok(response(answer, request.record))
    }
}

#[async_trait]
impl Action for Entrance {
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError> {
        let wait = Wait::parse(&request.query)?;
        let pool = &request.key;
        let mut claim = request.body.unwrap_or_default();
        of_pool(&mut claim, &pool.name)?;
        // The path names the pool: a missing one is the request's 404.
        let known = apiserver::request::GetOptions { resource_version: "0".into() };
        let now = apiserver::request::GetOptions::default();
        if request.store.get_item(request.permit, pool, &known).await.is_err() {
            request.store.get_item(request.permit, pool, &now).await?;
        }
        let claim = Request {
            permit: request.permit,
            namespace: pool.namespace.clone().unwrap_or_default(),
            claim,
            dry_run: request.options.dry_run,
            wait,
            known_by_name: true,
            warnings: request.warnings,
        };
        let answer = self.get()?.create(claim).await?;
        Ok(response(answer, request.record))
    }
}

/// Makes the body a claim of the pool, with a name of the server's choice if it has none.
///
/// # Errors
/// 400 when it refers to something else.
fn of_pool(claim: &mut Object, pool: &str) -> Result<(), ApiError> {
    claim.set_gvk(&Gvk::new(GROUP, VERSION, "SandboxClaim"));
    debug_assert_eq!(claim.api_version(), API_VERSION);
    if claim.name().is_empty() && claim.meta_str("generateName").is_none() {
        claim.set_meta("generateName", format!("{pool}-"));
    }
    let spec = claim.0.entry("spec").or_insert_with(|| json!({}));
    // Anything else is for the schema to refuse.
    let Some(spec) = spec.as_object_mut() else { return Ok(()) };
    if spec.get("sandboxTemplateRef").is_some_and(|it| !it.is_null()) {
        return Err(ApiError::bad_request(
            "spec.sandboxTemplateRef may not be set: the claim is for the warm pool of the path",
        ));
    }
    let named = spec.get("warmPoolRef").and_then(|it| it.get("name")).and_then(Value::as_str);
    if named.is_some_and(|named| named != pool) {
        return Err(ApiError::bad_request(format!(
            "spec.warmPoolRef.name ({}) does not match the warm pool of the path ({pool})",
            named.unwrap_or_default()
        )));
    }
    spec.insert("warmPoolRef".into(), json!({ "name": pool }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_claim_of_the_pool() {
        for (body, expected) in [
            (json!({}), Ok(json!({"warmPoolRef": {"name": "p"}}))),
            (
                json!({"spec": {"replicas": 2, "warmPoolRef": {"name": "p"}}}),
                Ok(json!({"replicas": 2, "warmPoolRef": {"name": "p"}})),
            ),
            (json!({"spec": {"warmPoolRef": {"name": "q"}}}), Err("does not match")),
            (json!({"spec": {"sandboxTemplateRef": {"name": "t"}}}), Err("may not be set")),
        ] {
            let mut claim = Object::from_value(body.clone()).unwrap();
            match (of_pool(&mut claim, "p"), expected) {
                (Ok(()), Ok(spec)) => assert_eq!(claim.0["spec"], spec, "{body}"),
                (Err(error), Err(text)) => assert!(error.message().contains(text), "{error}"),
                (got, expected) => panic!("{body}: {got:?}, expected {expected:?}"),
            }
        }
        let mut claim = Object::default();
        of_pool(&mut claim, "p").unwrap();
        assert_eq!(claim.meta_str("generateName"), Some("p-"));
    }
}
