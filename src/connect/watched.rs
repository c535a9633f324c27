//! What ends a session from outside: what becomes of its Sandbox, and of its user's right.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::{Attributes, Authorizer, Permit, User};
use apiserver::meta::Object;
use apiserver::registry::Store;
use apiserver::request::GetOptions;
use apiserver::tasks::CancellationToken;

use super::found::controller;
use super::splice::Ended;
use crate::wait::reached;

/// Between two attempts to follow the Sandbox when that fails.
const RETRY: Duration = Duration::from_secs(1);

/// A session's Sandbox as it was when the session began, and the right it began with.
pub(super) struct Watched {
    pub(super) store: Store,
    pub(super) permit: Permit,
    pub(super) object: Object,
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) user: User,
    pub(super) right: Option<Attributes>,
    /// Between two looks at the right.
    pub(super) recheck: Duration,
}

impl Watched {
    /// Why the session is over.
    pub(super) async fn over(self, stop: CancellationToken) -> Ended {
        tokio::select! {
            () = stop.cancelled() => Ended::Stopping,
            why = self.changed() => why,
            () = self.forbidden() => Ended::Forbidden,
        }
    }

    /// The same for a log: it ends with its Pod, after the last words.
    pub(super) async fn barred(self, stop: CancellationToken) -> Ended {
        match self.over(stop).await {
            Ended::Suspended | Ended::Deleted => std::future::pending().await,
            why => why,
        }
    }

    async fn changed(&self) -> Ended {
        let owner = controller(&self.object);
        let mut from = self.object.clone();
        loop {
            let over = |object: &Object| verdict(object, owner).is_some();
            match reached(&self.store, &self.permit, from.clone(), over).await {
                Ok(object) => return verdict(&object, owner).unwrap_or(Ended::Deleted),
                Err(error) if error.is_not_found() => return Ended::Deleted,
                // The store is away: the session is not.
                Err(_) => tokio::time::sleep(RETRY).await,
            }
            let now = GetOptions::default();
            match self.store.get(&self.permit, &from.key(), &now).await {
                Ok(object) if object.uid() != self.object.uid() => return Ended::Deleted,
                Ok(object) => from = Arc::unwrap_or_clone(object),
                Err(error) if error.is_not_found() => return Ended::Deleted,
                Err(_) => {}
            }
        }
    }

    /// Returns when the right is gone. While nobody can say, it is not.
    async fn forbidden(&self) {
        loop {
            tokio::time::sleep(self.recheck).await;
            let Some(right) = &self.right else { continue };
            let asked = self.authorizer.authorize(&self.user, right.clone()).await;
            if asked.is_err_and(|error| error.code() == 403) {
                return;
            }
        }
    }
}

fn verdict(object: &Object, owner: Option<&str>) -> Option<Ended> {
    if object.deletion_timestamp().is_some() {
        Some(Ended::Deleted)
    } else if object.at("spec.operatingMode").is_some_and(|mode| mode == "Suspended") {
        Some(Ended::Suspended)
    } else if controller(object) != owner {
        Some(Ended::Rebound)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_ends_a_session() {
        let owned = |uid: &str| json!([{"uid": uid, "controller": true}]);
        let object = |metadata: Value, mode: &str| {
            Object::from_value(json!({"metadata": metadata, "spec": {"operatingMode": mode}}))
                .unwrap()
        };
        for (metadata, mode, owner, expected) in [
            (json!({}), "Running", None, None),
            (json!({"ownerReferences": owned("a")}), "Running", Some("a"), None),
            (json!({}), "Suspended", None, Some(Ended::Suspended)),
            (json!({"deletionTimestamp": "t"}), "Running", None, Some(Ended::Deleted)),
            (json!({"ownerReferences": owned("b")}), "Running", Some("a"), Some(Ended::Rebound)),
            (json!({"ownerReferences": owned("b")}), "Running", None, Some(Ended::Rebound)),
            (json!({}), "Running", Some("a"), Some(Ended::Rebound)),
        ] {
            assert_eq!(verdict(&object(metadata.clone(), mode), owner), expected, "{metadata}");
        }
    }
}
