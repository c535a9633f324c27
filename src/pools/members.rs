//! A pool's members: what there is of them, one that goes, and those that are made.

use std::sync::Arc;

use apiserver::meta::{Object, ObjectKey, Scope};
use apiserver::registry::{Commit, DeleteOutcome, Item, Part, Transaction};
use apiserver::request::{DeleteOptions, ListOptions, Preconditions, ResourceVersionMatch};
use apiserver::selector::LabelSelector;
use apiserver::status::ApiError;
use apiserver::warnings::Warnings;
use sandbox_api::{API_VERSION, SandboxTemplate, SandboxWarmPool, keys};
use serde_json::{Map, Value, json};

use super::keeper::{Keeper, status_value};
use super::plan::Plan;
use crate::claims::stock::Member;
use crate::hash::name_hash;
use crate::resources::sandbox_template::instance::instance;

/// What came of a deletion.
pub(super) struct Deletion {
    /// It is there no longer.
    pub(super) gone: bool,
    /// By this very call.
    pub(super) ours: bool,
}

impl Keeper {
    /// The members, from a list that knows of everything that happened before the pool was last
    /// written.
    pub(super) async fn members(
        &self,
        key: &ObjectKey,
        pool: &SandboxWarmPool,
        object: &Object,
    ) -> Result<Vec<Arc<Member>>, ApiError> {
        let label = format!("{}={}", keys::WARM_POOL_SANDBOX, name_hash(&key.name));
        let options = ListOptions {
            label_selector: LabelSelector::parse(&label)?,
            resource_version: object.resource_version().unwrap_or_default().to_owned(),
            resource_version_match: Some(ResourceVersionMatch::NotOlderThan),
            ..ListOptions::default()
        };
        let scope = Scope::Namespace(key.namespace.clone().unwrap_or_default());
        let list = self.sandboxes.list(&self.permit, &scope, &options).await?;
        let uid = pool.metadata.uid.as_deref().unwrap_or_default();
        let mut members = Vec::with_capacity(list.items.len());
        for item in &list.items {
            let member = self.member(item)?;
            members.extend(member.filter(|member| member.pool_uid == uid));
        }
        Ok(members)
    }

    /// Decoded already, if the stock knows the same revision.
    fn member(&self, item: &Arc<Item>) -> Result<Option<Arc<Member>>, ApiError> {
        let known = self.stock.member(&item.key());
        if let Some(known) = known.filter(|known| known.item.revision() == item.revision()) {
            return Ok(Some(known));
        }
        Ok(Member::read(item)?.map(Arc::new))
    }

    /// A member as it was seen: one that was claimed since stays.
    pub(super) async fn delete(&self, member: &Member) -> Result<Deletion, ApiError> {
        let options = DeleteOptions {
            preconditions: Preconditions {
                uid: Some(member.uid.clone()),
                resource_version: Some(member.item.revision().to_string()),
            },
            ..DeleteOptions::default()
        };
        match self.sandboxes.delete(&self.permit, &member.key, &options).await {
            // It waits for its finalizers.
            Ok(DeleteOutcome::Pending(_)) => Ok(Deletion { gone: false, ours: true }),
            Ok(_) => Ok(Deletion { gone: true, ours: true }),
            Err(error) if error.is_not_found() => Ok(Deletion { gone: true, ours: false }),
            Err(error) if error.is_conflict() => Ok(Deletion { gone: false, ours: false }),
            Err(error) => Err(error),
        }
    }

    /// Makes members and records it. False if the pool has changed meanwhile.
    pub(super) async fn create(
        &self,
        object: &Object,
        pool: &SandboxWarmPool,
        template: &SandboxTemplate,
        plan: &Plan,
    ) -> Result<Option<Object>, ApiError> {
        let mut transaction = Transaction::new();
        let mut new = object.clone();
        new.0.insert("status".into(), status_value(&plan.status)?);
        transaction.replace(&self.permit, &self.pools, Part::Status, (object, new))?;
        let member = member_object(pool, template);
        let scope = Scope::Namespace(object.namespace().unwrap_or_default().to_owned());
        for _ in 0..plan.create {
            let warnings = Warnings::new();
            let new =
                self.sandboxes.prepare(&self.permit, &scope, member.clone(), &warnings).await?;
            transaction.create(&self.permit, &self.sandboxes, new)?;
        }
        Ok(match transaction.commit(&*self.kv).await? {
            Commit::Done(stored) => stored.into_iter().next().flatten(),
            Commit::Conflict(_) => None,
        })
    }
}

/// A member of the pool, with a name of its own to come.
fn member_object(pool: &SandboxWarmPool, template: &SandboxTemplate) -> Object {
    let name = pool.metadata.name.as_deref().unwrap_or_default();
    let blueprint = instance(template);
    let mut labels: Map<String, Value> =
        blueprint.labels.into_iter().map(|(key, value)| (key, value.into())).collect();
    labels.insert(keys::WARM_POOL_SANDBOX.into(), name_hash(name).into());
    let mut metadata = json!({
        "generateName": format!("{name}-"),
        "labels": labels,
        "annotations": blueprint.annotations,
    });
    metadata["ownerReferences"] = json!([{
        "apiVersion": API_VERSION,
        "kind": "SandboxWarmPool",
        "name": name,
        "uid": pool.metadata.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let object = json!({ "metadata": metadata, "spec": blueprint.spec });
    Object::from_value(object).unwrap_or_default()
}
