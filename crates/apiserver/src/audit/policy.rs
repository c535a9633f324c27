//! The policy file: which requests are recorded, and how much of them; pure.
//!
//! Meaning: `[apiserver] pkg/audit/policy/checker.go`; what a file must obey:
//! `[apiserver] pkg/apis/audit/validation`. Unlike there a file with a mistake is refused and not
//! read leniently: a misspelt rule would record something else than was meant.

mod validate;

use serde::{Deserialize, Serialize};

use crate::auth::{Attributes, User};

/// How much of a request is recorded; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A moment in a request's life at which it may be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    RequestReceived,
    /// Long-running requests only: the headers were sent, the body was not.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// What the policy says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Recording {
    /// Whether an event is made at this stage.
    pub fn wants(&self, stage: Stage) -> bool {
        self.level != Level::None && !self.omit_stages.contains(&stage)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("not an audit policy: {0}")]
    Decode(String),
    #[error("apiVersion and kind must be audit.k8s.io/v1 and Policy, not {0:?} and {1:?}")]
    Version(String, String),
    #[error("{0}: {1}")]
    Invalid(String, String),
}

/// Rules in order: the first that matches a request decides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// Accepted, because every Kubernetes object may have one; means nothing here.
    #[serde(default, rename = "metadata")]
    _metadata: Option<serde_json::Value>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// An empty list restricts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    /// The empty text is what has no namespace.
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// # Errors
    /// Unknown fields, levels and stages, another kind or version, no rules, and rules that
    /// contradict themselves.
    pub fn parse(yaml: &str) -> Result<Self, PolicyError> {
        let policy: Self =
            serde_saphyr::from_str(yaml).map_err(|error| PolicyError::Decode(error.to_string()))?;
        validate::policy(&policy)?;
        Ok(policy)
    }

    /// Without a file: every request once, when it is over (long-running ones also when they
    /// start), and no bodies.
    pub fn metadata() -> Self {
        let rule = Rule {
            level: Level::Metadata,
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: Vec::new(),
            resources: Vec::new(),
            namespaces: Vec::new(),
            non_resource_urls: Vec::new(),
            omit_stages: Vec::new(),
            omit_managed_fields: None,
        };
        Self {
            api_version: "audit.k8s.io/v1".into(),
            kind: "Policy".into(),
            _metadata: None,
            rules: vec![rule],
            omit_stages: vec![Stage::RequestReceived],
            omit_managed_fields: false,
        }
    }

    /// `user` is `None` for a request that failed authentication. What no rule matches is not
    /// recorded.
    pub fn recording(&self, user: Option<&User>, attributes: &Attributes) -> Recording {
        let mut recording = Recording {
            level: Level::None,
            omit_stages: self.omit_stages.clone(),
            omit_managed_fields: self.omit_managed_fields,
        };
        if let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, attributes)) {
            recording.level = rule.level;
            recording.omit_stages.extend(&rule.omit_stages);
            recording.omit_managed_fields =
                rule.omit_managed_fields.unwrap_or(self.omit_managed_fields);
        }
        recording
    }
}

impl Rule {
    fn matches(&self, user: Option<&User>, attributes: &Attributes) -> bool {
        let (Attributes::Resource { verb, .. } | Attributes::NonResource { verb, .. }) = attributes;
        self.matches_user(user)
            && (self.verbs.is_empty() || self.verbs.contains(verb))
            && self.matches_target(attributes)
    }

    fn matches_user(&self, user: Option<&User>) -> bool {
        let by_name =
            self.users.is_empty() || user.is_some_and(|user| self.users.contains(&user.name));
        let by_group = self.user_groups.is_empty()
            || user.is_some_and(|user| self.user_groups.iter().any(|group| user.is_in(group)));
        by_name && by_group
    }

    fn matches_target(&self, attributes: &Attributes) -> bool {
        let is_of_resources = !self.namespaces.is_empty() || !self.resources.is_empty();
        match attributes {
            Attributes::Resource { group, resource, subresource, namespace, name, .. } => {
                if !is_of_resources {
                    return self.non_resource_urls.is_empty();
                }
                (self.namespaces.is_empty() || self.namespaces.contains(namespace))
                    && (self.resources.is_empty()
                        || self
                            .resources
                            .iter()
                            .any(|one| one.matches(group, resource, subresource, name)))
            }
            Attributes::NonResource { path, .. } => {
                !is_of_resources
                    && (self.non_resource_urls.is_empty()
                        || self.non_resource_urls.iter().any(|spec| path_matches(path, spec)))
            }
        }
    }
}

impl GroupResources {
    fn matches(&self, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        if self.group != "*" && self.group != group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        (self.resource_names.is_empty() || self.resource_names.iter().any(|one| one == name))
            && self.resources.iter().any(|spec| resource_matches(spec, resource, subresource))
    }
}

/// `pods` is not `pods/log`; `pods/*` is both.
fn resource_matches(spec: &str, resource: &str, subresource: &str) -> bool {
    match spec.split_once('/') {
        _ if spec == "*" => true,
        None => subresource.is_empty() && spec == resource,
        Some((of, "*")) if of == resource => true,
        Some((of, sub)) => {
            !subresource.is_empty() && sub == subresource && (of == "*" || of == resource)
        }
    }
}

fn path_matches(path: &str, spec: &str) -> bool {
    spec == path || spec.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests;
