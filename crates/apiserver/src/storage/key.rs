//! Where objects live: `/registry/<group>/<resource>/<namespace>/<name>` under a prefix.

use crate::meta::{GroupResource, ObjectKey, Scope};
use crate::status::ApiError;

/// The keys of one kind.
#[derive(Debug, Clone)]
pub struct KeySpace {
    /// Ends with `/`, so that `foo` never covers `foobar`.
    root: String,
    namespaced: bool,
}

impl KeySpace {
    /// `prefix` is the deployment's own, usually `/registry`.
    pub fn new(prefix: &str, resource: &GroupResource, namespaced: bool) -> Self {
        let prefix = prefix.trim_end_matches('/');
        Self { root: format!("{prefix}/{}/{}/", resource.group, resource.resource), namespaced }
    }

    /// The key of one object.
    ///
    /// # Errors
    /// 400 for a missing or unwanted namespace and for names that would leave their place in the
    /// tree (`/`, `%`, `.`, `..`, NUL, empty).
    pub fn object(&self, key: &ObjectKey) -> Result<String, ApiError> {
        if key.name.is_empty() {
            return Err(ApiError::bad_request("Name parameter required."));
        }
        check_segment("Name", &key.name)?;
        Ok(format!("{}{}", self.scope(&key.scope(), true)?, key.name))
    }

    /// The prefix (with its trailing `/`) of a collection.
    ///
    /// # Errors
    /// As [`KeySpace::object`].
    pub fn collection(&self, scope: &Scope) -> Result<String, ApiError> {
        self.scope(scope, false)
    }

    /// The prefix of all objects of the kind, with its slash.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether `scope` holds at most one object of a given name.
    pub fn names_are_unique_in(&self, scope: &Scope) -> bool {
        !self.namespaced || scope.namespace().is_some()
    }

    fn scope(&self, scope: &Scope, one: bool) -> Result<String, ApiError> {
        match (scope.namespace(), self.namespaced) {
            (Some(""), true) => Err(ApiError::bad_request("Namespace parameter required.")),
            (None, true) if one => Err(ApiError::bad_request("Namespace parameter required.")),
            (Some(_), false) => {
                Err(ApiError::bad_request("namespace is not allowed on a cluster-scoped resource"))
            }
            (Some(namespace), true) => {
                check_segment("Namespace", namespace)?;
                Ok(format!("{}{namespace}/", self.root))
            }
            (None, _) => Ok(self.root.clone()),
        }
    }
}

fn check_segment(what: &str, segment: &str) -> Result<(), ApiError> {
    let problem = if segment == "." || segment == ".." {
        format!("may not be '{segment}'")
    } else if let Some(c) = segment.chars().find(|c| matches!(c, '/' | '%')) {
        format!("may not contain '{c}'")
    } else if segment.chars().any(char::is_control) {
        "may not contain control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(format!("{what} parameter invalid: {segment:?}: {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(namespaced: bool) -> KeySpace {
        let resource = GroupResource { group: "g.io".into(), resource: "things".into() };
        KeySpace::new("/registry", &resource, namespaced)
    }

    #[test]
    fn makes_keys() {
        let key = ObjectKey::namespaced("ns", "a");
        assert_eq!(keys(true).object(&key).unwrap(), "/registry/g.io/things/ns/a");
        let scope = Scope::Namespace("ns".into());
        assert_eq!(keys(true).collection(&scope).unwrap(), "/registry/g.io/things/ns/");
        assert_eq!(keys(true).collection(&Scope::All).unwrap(), "/registry/g.io/things/");
        let key = ObjectKey { namespace: None, name: "a".into() };
        assert_eq!(keys(false).object(&key).unwrap(), "/registry/g.io/things/a");
        assert!(keys(true).object(&key).is_err());
        assert!(keys(false).collection(&scope).is_err());
    }

    #[test]
    fn keeps_names_in_their_place() {
        for name in ["", ".", "..", "a/b", "../other", "a%2fb", "a\0"] {
            let error = keys(true).object(&ObjectKey::namespaced("ns", name)).unwrap_err();
            assert_eq!(error.code(), 400, "{name:?}");
            assert!(keys(true).object(&ObjectKey::namespaced(name, "a")).is_err(), "{name:?}");
        }
    }
}
