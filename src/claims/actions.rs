//! The Sandbox's actions by its claim's name. The right is on `sandboxclaims/suspend` and its like, and
//! none on Sandboxes is needed.

use std::sync::Arc;

use apiserver::request::GetOptions;
use apiserver::resource::{Action, ActionDef, ActionRequest, ActionResponse, Subresource};
use apiserver::status::ApiError;
use async_trait::async_trait;
use sandbox_api::keys;

use crate::connect::Entrance;

/// The same actions, for the claims' row. Whatever of `of_sandboxes` is no action is left out.
pub fn on_claims(of_sandboxes: &[Subresource], sandboxes: &Entrance) -> Vec<Subresource> {
    let row = |one: &Subresource| {
        let Subresource::Action(def) = one else { return None };
        let handler = Arc::new(OnClaim { act: def.handler.clone(), sandboxes: sandboxes.clone() });
        Some(Subresource::Action(ActionDef { handler, ..def.clone() }))
    };
    of_sandboxes.iter().filter_map(row).collect()
}

struct OnClaim {
    act: Arc<dyn Action>,
    sandboxes: Entrance,
}

#[async_trait]
impl Action for OnClaim {
    /// # Errors
    /// 404; 409 for a claim without a Sandbox and for one with several; those of the action.
    async fn call(&self, request: ActionRequest<'_>) -> Result<ActionResponse, ApiError> {
        let now = GetOptions::default();
        let claim = request.store.get(request.permit, &request.key, &now).await?;
        let resource = request.store.def().group_resource();
        let several = claim.at("status.sandboxes").and_then(|it| it.as_array()).map_or(0, Vec::len);
        if several > 1 {
            let text = format!("the claim has {several} Sandboxes; act on them by their names");
            return Err(ApiError::conflict(&resource, &request.key.name, &text));
        }
        let sandboxes = self.sandboxes.get()?;
        let sandbox = sandboxes.of_claim(&claim, &resource).await?;
        request.record.annotate(keys::AUDITED_SANDBOX, sandbox.name());
        let (key, store, permit) = (sandbox.key(), &sandboxes.store, &sandboxes.permit);
        self.act.call(ActionRequest { key, store, permit, ..request }).await
    }
}
