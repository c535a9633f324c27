//! What a policy must obey beyond its form.

use super::{GroupResources, Policy, PolicyError, Rule};
use crate::registry::metadata::subdomain_errors;

pub(super) fn policy(policy: &Policy) -> Result<(), PolicyError> {
    if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
        return Err(PolicyError::Version(policy.api_version.clone(), policy.kind.clone()));
    }
    if policy.rules.is_empty() {
        return Err(invalid("rules".into(), "at least one is needed"));
    }
    policy.rules.iter().enumerate().try_for_each(|(at, one)| rule(&format!("rules[{at}]"), one))
}

fn rule(path: &str, rule: &Rule) -> Result<(), PolicyError> {
    let is_of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
    if is_of_resources && !rule.non_resource_urls.is_empty() {
        let text = "a rule can't be about both resources and non-resource URLs";
        return Err(invalid(format!("{path}.nonResourceURLs"), text));
    }
    for (at, url) in rule.non_resource_urls.iter().enumerate() {
        let path = || format!("{path}.nonResourceURLs[{at}]");
        if url == "*" {
            continue;
        }
        if !url.starts_with('/') {
            return Err(invalid(path(), "must begin with '/' or be '*'"));
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            return Err(invalid(path(), "'*' must be the last character"));
        }
    }
    let mut resources = rule.resources.iter().enumerate();
    resources.try_for_each(|(at, one)| group_resources(&format!("{path}.resources[{at}]"), one))
}

fn group_resources(path: &str, one: &GroupResources) -> Result<(), PolicyError> {
    let is_name = one.group.is_empty() || one.group == "*";
    if !is_name && let Some(text) = subdomain_errors(&one.group).first() {
        return Err(invalid(format!("{path}.group"), text));
    }
    if !one.resource_names.is_empty() && one.resources.is_empty() {
        return Err(invalid(format!("{path}.resourceNames"), "needs at least one resource"));
    }
    Ok(())
}

fn invalid(path: String, text: &str) -> PolicyError {
    PolicyError::Invalid(path, text.to_owned())
}
