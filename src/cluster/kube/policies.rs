//! NetworkPolicies in the real cluster.

use apiserver::meta::ObjectKey;
use apiserver::tasks::{OnExit, Tasks};
use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher::{self, Event};
use tokio::sync::broadcast;

use super::KubeCluster;
use super::watch::watched;
use crate::cluster::counts::WriteVerb;
use crate::cluster::policies::{NetworkPolicies, PolicyChange, PolicyError, TEMPLATE_LABEL};

impl KubeCluster {
    /// Only news are told: nothing is kept of them.
    pub(super) fn watch_policies(&self, tasks: &Tasks) {
        let inner = self.0.clone();
        let stop = tasks.stopping().clone();
        tasks.spawn("watch-policies", OnExit::Shutdown, async move {
            let config = watcher::Config::default().labels(TEMPLATE_LABEL);
            let events = watched(Api::<NetworkPolicy>::all(inner.client.clone()), config);
            let mut events = std::pin::pin!(events.take_until(stop.cancelled()));
            while let Some(event) = events.next().await {
                let change = match event {
                    Event::Init | Event::InitApply(_) => continue,
                    // What is not in the list may have gone.
                    Event::InitDone => PolicyChange::All,
                    Event::Apply(policy) | Event::Delete(policy) => {
                        PolicyChange::One(key_of(&policy))
                    }
                };
                // Without a receiver nobody needs to know.
                drop(inner.policy_changes.send(change));
            }
        });
    }

    async fn policy_call<T>(
        &self,
        key: &ObjectKey,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, PolicyError> {
        match tokio::time::timeout(self.0.config.timeout, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(translate(key, error)),
            Err(_) => Err(PolicyError::Unavailable {
                detail: format!("no answer within {:?}", self.0.config.timeout),
            }),
        }
    }

    fn post_params(&self) -> PostParams {
        PostParams { field_manager: Some(self.0.config.manager.clone()), ..PostParams::default() }
    }
}

#[async_trait]
impl NetworkPolicies for KubeCluster {
    async fn get(&self, key: &ObjectKey) -> Result<Option<NetworkPolicy>, PolicyError> {
        let api = self.namespaced::<NetworkPolicy>(key);
        self.policy_call(key, api.get_opt(&key.name)).await
    }

    async fn create(&self, policy: NetworkPolicy) -> Result<(), PolicyError> {
        self.0.writes.add_policy(WriteVerb::Create);
        let key = key_of(&policy);
        let api = self.namespaced::<NetworkPolicy>(&key);
        self.policy_call(&key, api.create(&self.post_params(), &policy)).await.map(drop)
    }

    async fn replace(&self, policy: NetworkPolicy) -> Result<(), PolicyError> {
        self.0.writes.add_policy(WriteVerb::Replace);
        let key = key_of(&policy);
        let api = self.namespaced::<NetworkPolicy>(&key);
        let params = self.post_params();
        self.policy_call(&key, api.replace(&key.name, &params, &policy)).await.map(drop)
    }

    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), PolicyError> {
        self.0.writes.add_policy(WriteVerb::Delete);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
            ..DeleteParams::background()
        };
        let api = self.namespaced::<NetworkPolicy>(key);
        self.policy_call(key, api.delete(&key.name, &params)).await.map(drop)
    }

    fn changes(&self) -> broadcast::Receiver<PolicyChange> {
        self.0.policy_changes.subscribe()
    }
}

fn key_of(policy: &NetworkPolicy) -> ObjectKey {
    ObjectKey { namespace: policy.namespace(), name: policy.name_any() }
}

fn translate(key: &ObjectKey, error: kube::Error) -> PolicyError {
    let kube::Error::Api(status) = error else {
        return PolicyError::Unavailable { detail: error.to_string() };
    };
    match status.code {
        404 if status.message.starts_with("namespaces ") => {
            PolicyError::Rejected { message: status.message }
        }
        404 | 409 => PolicyError::Changed(key.clone()),
        400 | 403 | 413 | 422 => PolicyError::Rejected { message: status.message },
        _ => PolicyError::Unavailable { detail: status.message },
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_lost_race_is_looked_at_again_and_a_refusal_reaches_the_user() {
        let key = ObjectKey::namespaced("ns", "namespaces-network-policy");
        let of = |code: u16, reason: &str, message: &str| {
            let status = Status::failure(message, reason).with_code(code).boxed();
            translate(&key, kube::Error::Api(status))
        };
        let gone = "networkpolicies.networking.k8s.io \"namespaces-network-policy\" not found";
        for (code, reason, message) in [
            (404, "NotFound", gone),
            (409, "AlreadyExists", "already exists"),
            (409, "Conflict", "the object has been modified"),
        ] {
            assert_eq!(of(code, reason, message), PolicyError::Changed(key.clone()), "{message}");
        }
        for (code, reason, message) in [
            (403, "Forbidden", "cannot create resource"),
            (422, "Invalid", "spec.egress[0]: Invalid value"),
            (404, "NotFound", "namespaces \"ns\" not found"),
        ] {
            let refused = PolicyError::Rejected { message: message.into() };
            assert_eq!(of(code, reason, message), refused);
        }
        for code in [401, 429, 500, 504] {
            assert!(matches!(of(code, "", "x"), PolicyError::Unavailable { .. }), "{code}");
        }
    }
}
