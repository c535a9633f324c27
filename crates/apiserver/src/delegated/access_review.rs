//! Access, judged by the host cluster (`authorization.k8s.io/v1 SubjectAccessReview`).
//!
//! The cache is the [`crate::auth::Authorizer`]'s; this only asks.

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use tracing::warn;

use super::retry::{Retry, ReviewConfig};
use crate::auth::{AccessReviewer, Attributes, Decision, User};
use crate::status::ApiError;

/// Asks the host cluster whether a user may.
pub struct KubeAccessReviewer {
    api: Api<SubjectAccessReview>,
    retry: Retry,
}

impl fmt::Debug for KubeAccessReviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeAccessReviewer").finish_non_exhaustive()
    }
}

impl KubeAccessReviewer {
    pub fn new(client: kube::Client, config: ReviewConfig) -> Self {
        Self { api: Api::all(client), retry: Retry::new(config) }
    }
}

#[async_trait]
impl AccessReviewer for KubeAccessReviewer {
    async fn review(&self, user: &User, attributes: &Attributes) -> Result<Decision, ApiError> {
        let review =
            SubjectAccessReview { spec: spec(user, attributes), ..SubjectAccessReview::default() };
        let params = PostParams::default();
        let answer = self.retry.run("access review", || self.api.create(&params, &review)).await?;
        let status = answer.status.unwrap_or_default();
        if let Some(error) = &status.evaluation_error {
            warn!(user = user.name, error, "the access review was evaluated with an error");
        }
        Ok(Decision {
            allowed: status.allowed && status.denied != Some(true),
            reason: status.reason.unwrap_or_default(),
        })
    }
}

fn spec(user: &User, attributes: &Attributes) -> SubjectAccessReviewSpec {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: some(&user.uid),
        groups: Some(user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    match attributes {
        Attributes::NonResource { verb, path } => {
            spec.non_resource_attributes =
                Some(NonResourceAttributes { verb: some(verb), path: some(path) });
        }
        Attributes::Resource { verb, group, version, resource, subresource, namespace, name } => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: some(verb),
                group: some(group),
                version: some(version),
                resource: some(resource),
                subresource: some(subresource),
                namespace: some(namespace),
                name: some(name),
                ..ResourceAttributes::default()
            });
        }
    }
    spec
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
