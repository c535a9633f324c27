//! Path and method to [`RequestInfo`]; the rules of
//! `[apiserver] pkg/endpoints/request/requestinfo.go`, as a pure function.

use http::Method;

use crate::auth::Attributes;
use crate::meta::{ObjectKey, Scope};

/// What a request's line says about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestInfo {
    /// False for discovery, health and every other path that names no resource.
    pub is_resource: bool,
    /// Authorization's verb: `get`, `list`, `watch`, `create`, ... or the lower-case method.
    pub verb: String,
    pub api_group: String,
    pub api_version: String,
    pub namespace: String,
    pub resource: String,
    /// Exactly one path segment; what follows it is in `parts`.
    pub subresource: String,
    pub name: String,
    pub path: String,
    /// Path segments from the resource on, subresource and its remainder included.
    pub parts: Vec<String>,
}

impl RequestInfo {
    /// Never fails: what is no resource path is a non-resource request.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let mut info = Self {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            ..Self::default()
        };
        let segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
        let mut rest = match segments.first().map(String::as_str) {
            Some("apis") if segments.len() >= 4 => {
                info.api_group.clone_from(&segments[1]);
                info.api_version.clone_from(&segments[2]);
                &segments[3..]
            }
            _ => return info,
        };
        info.is_resource = true;
        verb_of(method).clone_into(&mut info.verb);
        // The deprecated watch prefix; recognised so that it is authorized as a watch.
        if rest[0] == "watch" && rest.len() > 1 {
            "watch".clone_into(&mut info.verb);
            rest = &rest[1..];
        }
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace.clone_from(&rest[1]);
            // `/namespaces/x` and its own subresources are about the Namespace itself.
            if rest.len() > 2 && rest[2] != "status" && rest[2] != "finalize" {
                rest = &rest[2..];
            }
        }
        info.parts = rest.to_vec();
        let mut parts = rest.iter();
        info.resource = parts.next().cloned().unwrap_or_default();
        info.name = parts.next().cloned().unwrap_or_default();
        info.subresource = parts.next().cloned().unwrap_or_default();
        info.adjust_collection_verb(query.unwrap_or_default());
        info
    }

    fn adjust_collection_verb(&mut self, query: &str) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_str() {
            "get" => {
                self.verb = if is_watch(query) { "watch" } else { "list" }.into();
            }
            "delete" => self.verb = "deletecollection".into(),
            _ => {}
        }
        // `fieldSelector=metadata.name=a` lets RBAC's resourceNames work with collections.
        if matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
            && let Some(name) = selected_name(query)
        {
            self.name = name;
        }
    }

    pub fn attributes(&self) -> Attributes {
        if self.is_resource {
            Attributes::Resource {
                verb: self.verb.clone(),
                group: self.api_group.clone(),
                version: self.api_version.clone(),
                resource: self.resource.clone(),
                subresource: self.subresource.clone(),
                namespace: self.namespace.clone(),
                name: self.name.clone(),
            }
        } else {
            Attributes::NonResource { verb: self.verb.clone(), path: self.path.clone() }
        }
    }

    /// Not subject to the request deadline and the in-flight limits; the rule of kube-apiserver,
    /// which must be ours too (`[kubernetes] cmd/kube-apiserver/app/server.go`).
    pub fn is_long_running(&self) -> bool {
        self.is_resource
            && (matches!(self.verb.as_str(), "watch" | "proxy")
                || matches!(
                    self.subresource.as_str(),
                    "attach" | "exec" | "proxy" | "log" | "portforward"
                ))
    }

    pub fn is_mutating(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head" | "options")
    }

    /// True when the request is about a collection, although a field selector may name an object.
    pub fn is_collection(&self) -> bool {
        self.parts.len() == 1
    }

    pub fn scope(&self) -> Scope {
        if self.namespace.is_empty() {
            Scope::All
        } else {
            Scope::Namespace(self.namespace.clone())
        }
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            namespace: (!self.namespace.is_empty()).then(|| self.namespace.clone()),
            name: self.name.clone(),
        }
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// `watch=true`, `watch=1` and a bare `watch` all ask for a watch; `0` and `false` do not.
pub fn is_watch(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == "watch")
        .is_some_and(|(_, value)| truthy(&value))
}

/// Kubernetes' query booleans (`[apimachinery] pkg/runtime/conversion.go`): false is `0` or
/// `false` in any case, everything else, the empty text too, is true.
pub fn truthy(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("false"))
}

fn selected_name(query: &str) -> Option<String> {
    let (_, selector) =
        form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "fieldSelector")?;
    let parsed = crate::selector::FieldSelector::parse(&selector).ok()?;
    let name = parsed.exact_name()?;
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (path, query) = uri.split_once('?').map_or((uri, None), |(p, q)| (p, Some(q)));
        RequestInfo::parse(&method, path, query)
    }

    #[test]
    fn paths_map_to_verb_resource_and_subresource() {
        let base = "/apis/g.io/v1";
        // method, uri, verb, namespace, resource, name, subresource
        let table = [
            ("GET", "/namespaces/ns/things", "list", "ns", "things", "", ""),
            ("GET", "/namespaces/ns/things?watch=true", "watch", "ns", "things", "", ""),
            ("GET", "/namespaces/ns/things?watch", "watch", "ns", "things", "", ""),
            ("GET", "/namespaces/ns/things?watch=0", "list", "ns", "things", "", ""),
            ("GET", "/things", "list", "", "things", "", ""),
            ("GET", "/things?fieldSelector=metadata.name%3Da", "list", "", "things", "a", ""),
            ("GET", "/namespaces/ns/things/a", "get", "ns", "things", "a", ""),
            ("HEAD", "/namespaces/ns/things/a", "get", "ns", "things", "a", ""),
            ("POST", "/namespaces/ns/things", "create", "ns", "things", "", ""),
            ("PUT", "/namespaces/ns/things/a", "update", "ns", "things", "a", ""),
            ("PATCH", "/namespaces/ns/things/a/status", "patch", "ns", "things", "a", "status"),
            ("DELETE", "/namespaces/ns/things/a", "delete", "ns", "things", "a", ""),
            ("DELETE", "/namespaces/ns/things", "deletecollection", "ns", "things", "", ""),
            ("POST", "/namespaces/ns/things/a/suspend", "create", "ns", "things", "a", "suspend"),
            ("GET", "/namespaces/ns/things/a/proxy/x/y", "get", "ns", "things", "a", "proxy"),
            ("GET", "/watch/namespaces/ns/things", "watch", "ns", "things", "", ""),
            ("GET", "/namespaces/ns/things/a%2Fb", "get", "ns", "things", "a/b", ""),
        ];
        for (method, rest, verb, namespace, resource, name, subresource) in table {
            let info = parse(method, &format!("{base}{rest}"));
            assert!(info.is_resource, "{rest}");
            let got = (
                info.verb.as_str(),
                info.namespace.as_str(),
                info.resource.as_str(),
                info.name.as_str(),
                info.subresource.as_str(),
            );
            assert_eq!(got, (verb, namespace, resource, name, subresource), "{method} {rest}");
        }
    }

    #[test]
    fn other_paths_are_non_resource() {
        for path in ["/", "/apis", "/apis/g.io", "/apis/g.io/v1", "/healthz", "/openapi/v3"] {
            let info = parse("GET", path);
            assert!(!info.is_resource, "{path}");
            assert_eq!(info.verb, "get");
        }
    }

    #[test]
    fn streams_and_watches_are_long_running() {
        assert!(parse("GET", "/apis/g/v1/namespaces/n/things?watch=1").is_long_running());
        assert!(parse("POST", "/apis/g/v1/namespaces/n/things/a/exec").is_long_running());
        assert!(!parse("POST", "/apis/g/v1/namespaces/n/things/a/suspend").is_long_running());
        assert!(!parse("GET", "/apis/g/v1/namespaces/n/things").is_long_running());
    }
}
