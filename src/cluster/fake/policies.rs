//! NetworkPolicies in memory, with a cluster's habits: it fills in defaults, leaves out what is
//! empty, and tells only of what carries the label.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use apiserver::meta::ObjectKey;
use async_trait::async_trait;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::cluster::policies::{NetworkPolicies, PolicyChange, PolicyError, TEMPLATE_LABEL};

/// The policies.
#[derive(Debug)]
pub struct FakePolicies {
    truth: Mutex<Truth>,
    changes: broadcast::Sender<PolicyChange>,
}

#[derive(Debug, Default)]
struct Truth {
    objects: BTreeMap<ObjectKey, NetworkPolicy>,
    revision: u64,
    failure: Option<PolicyError>,
    writes: usize,
    reads: usize,
}

impl Default for FakePolicies {
    fn default() -> Self {
        Self { truth: Mutex::default(), changes: broadcast::channel(1024).0 }
    }
}

impl FakePolicies {
    /// Every read and write ends so from now on.
    pub fn fail(&self, failure: Option<PolicyError>) {
        self.truth().failure = failure;
    }

    /// Writes asked for and reads so far.
    pub fn counts(&self) -> (usize, usize) {
        let truth = self.truth();
        (truth.writes, truth.reads)
    }

    pub fn named(&self, key: &ObjectKey) -> Option<NetworkPolicy> {
        self.truth().objects.get(key).cloned()
    }

    /// Somebody else makes or changes a policy.
    pub fn put(&self, policy: NetworkPolicy) {
        let told = self.truth().store(policy);
        self.tell(told);
    }

    /// Somebody else deletes one.
    pub fn remove(&self, key: &ObjectKey) {
        let told = self.truth().objects.remove(key).filter(is_labelled).map(|_| key.clone());
        self.tell(told);
    }

    fn tell(&self, key: Option<ObjectKey>) {
        if let Some(key) = key {
            drop(self.changes.send(PolicyChange::One(key)));
        }
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().expect("no holder of this lock panics")
    }
}

impl Truth {
    fn write(&mut self) -> Result<(), PolicyError> {
        self.writes += 1;
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// The key, if a watch sees it.
    fn store(&mut self, mut policy: NetworkPolicy) -> Option<ObjectKey> {
        self.revision += 1;
        let meta = &mut policy.metadata;
        let uid = format!("policy-{}", self.revision);
        meta.uid.get_or_insert(uid);
        meta.resource_version = Some(self.revision.to_string());
        let key = ObjectKey { namespace: meta.namespace.clone(), name: meta.name.clone()? };
        let seen = self.objects.get(&key).is_some_and(is_labelled) || is_labelled(&policy);
        let stored = as_stored(&policy).unwrap_or(policy);
        self.objects.insert(key.clone(), stored);
        seen.then_some(key)
    }
}

fn is_labelled(policy: &NetworkPolicy) -> bool {
    policy.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(TEMPLATE_LABEL))
}

fn as_stored(policy: &NetworkPolicy) -> Option<NetworkPolicy> {
    let mut value = serde_json::to_value(policy).ok()?;
    settle(&mut value);
    serde_json::from_value(value).ok()
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(ports)) = fields.get_mut("ports") {
                for port in ports.iter_mut().filter_map(Value::as_object_mut) {
                    port.entry("protocol").or_insert_with(|| "TCP".into());
                }
            }
            fields.values_mut().for_each(settle);
            fields.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
        }
        Value::Array(items) => items.iter_mut().for_each(settle),
        _ => {}
    }
}

#[async_trait]
impl NetworkPolicies for FakePolicies {
    async fn get(&self, key: &ObjectKey) -> Result<Option<NetworkPolicy>, PolicyError> {
        let mut truth = self.truth();
        truth.reads += 1;
        match &truth.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(truth.objects.get(key).cloned()),
        }
    }

    async fn create(&self, policy: NetworkPolicy) -> Result<(), PolicyError> {
        let told = {
            let mut truth = self.truth();
            truth.write()?;
            let meta = &policy.metadata;
            let name = meta.name.clone().unwrap_or_default();
            let key = ObjectKey { namespace: meta.namespace.clone(), name };
            if truth.objects.contains_key(&key) {
                return Err(PolicyError::Changed(key));
            }
            truth.store(policy)
        };
        self.tell(told);
        Ok(())
    }

    async fn replace(&self, policy: NetworkPolicy) -> Result<(), PolicyError> {
        let told = {
            let mut truth = self.truth();
            truth.write()?;
            let meta = &policy.metadata;
            let name = meta.name.clone().unwrap_or_default();
            let key = ObjectKey { namespace: meta.namespace.clone(), name };
            let same = truth.objects.get(&key).is_some_and(|found| {
                found.metadata.uid == meta.uid
                    && found.metadata.resource_version == meta.resource_version
            });
            if !same {
                return Err(PolicyError::Changed(key));
            }
            truth.store(policy)
        };
        self.tell(told);
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), PolicyError> {
        {
            let mut truth = self.truth();
            truth.write()?;
            let same = |found: &NetworkPolicy| found.metadata.uid.as_deref() == Some(uid);
            if !truth.objects.get(key).is_some_and(same) {
                return Err(PolicyError::Changed(key.clone()));
            }
        }
        self.remove(key);
        Ok(())
    }

    fn changes(&self) -> broadcast::Receiver<PolicyChange> {
        self.changes.subscribe()
    }
}
