//! Which operation a path and method mean for a kind; 404 and 405 as the Go servers give them.

use http::Method;

use crate::request::RequestInfo;
use crate::resource::{ResourceDef, Subresource};
use crate::status::ApiError;

/// What a request is aimed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Action(String),
    Connect(String),
}

impl Target {
    /// # Errors
    /// 404 for an unknown subresource or a path form the kind does not have, 405 for a method that
    /// the path does not take.
    pub(super) fn resolve(
        def: &ResourceDef,
        info: &RequestInfo,
        method: &Method,
    ) -> Result<Self, ApiError> {
        let named = info.namespace.is_empty() != def.namespaced;
        if !def.namespaced && !info.namespace.is_empty() {
            return Err(ApiError::generic_not_found());
        }
        if info.is_collection() {
            return Self::collection(info, method, named);
        }
        if !named || info.name.is_empty() {
            return Err(ApiError::generic_not_found());
        }
        // One object, or one of its subresources: exactly one segment after the name, except where
        // the subresource takes a path. Authorization saw that one segment alone.
        let takes_path = match def.subresource(&info.subresource) {
            Some(Subresource::Connect(connect)) => connect.takes_path,
            _ => false,
        };
        if info.parts.len() > 3 && !takes_path {
            return Err(ApiError::generic_not_found());
        }
        if info.parts.len() >= 3 {
            return Self::sub(def, info, method);
        }
        match *method {
            Method::GET | Method::HEAD if info.verb == "watch" => Ok(Self::Watch),
            Method::GET | Method::HEAD => Ok(Self::Get),
            Method::PUT => Ok(Self::Update),
            Method::PATCH => Ok(Self::Patch),
            Method::DELETE => Ok(Self::Delete),
            _ => Err(ApiError::generic_method_not_allowed()),
        }
    }

    fn collection(info: &RequestInfo, method: &Method, named: bool) -> Result<Self, ApiError> {
        match *method {
            Method::GET | Method::HEAD if info.verb == "watch" => Ok(Self::Watch),
            Method::GET | Method::HEAD => Ok(Self::List),
            Method::POST if named => Ok(Self::Create),
            Method::DELETE if named => Ok(Self::DeleteCollection),
            _ => Err(ApiError::generic_method_not_allowed()),
        }
    }

    fn sub(def: &ResourceDef, info: &RequestInfo, method: &Method) -> Result<Self, ApiError> {
        let sub = def.subresource(&info.subresource).ok_or_else(ApiError::generic_not_found)?;
        match (sub, method.as_str()) {
            (Subresource::Status | Subresource::Scale { .. }, "GET" | "HEAD") => Ok(Self::Get),
            (Subresource::Status | Subresource::Scale { .. }, "PUT") => Ok(Self::Update),
            (Subresource::Status | Subresource::Scale { .. }, "PATCH") => Ok(Self::Patch),
            (Subresource::Action(action), "POST") => Ok(Self::Action(action.name.to_owned())),
            (Subresource::Connect(connect), method) if connect.methods.contains(&method) => {
                Ok(Self::Connect(connect.name.to_owned()))
            }
            _ => Err(ApiError::generic_method_not_allowed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use serde_json::Value;

    use super::*;
    use crate::auth::Attributes;
    use crate::meta::Gvk;
    use crate::registry::Strategy;
    use crate::resource::{Connect, ConnectDef, ConnectRequest};
    use crate::schema::Schema;
    use crate::server::Body;

    struct Plain;

    impl Strategy for Plain {}

    #[async_trait]
    impl Connect for Plain {
        async fn connect(&self, _: ConnectRequest<'_>) -> Result<http::Response<Body>, ApiError> {
            Err(ApiError::generic_not_found())
        }
    }

    fn def() -> ResourceDef {
        let stream = |name, methods, takes_path| {
            Subresource::Connect(ConnectDef {
                name,
                methods,
                options: Gvk::new("g", "v1", "StreamOptions"),
                parameters: &[],
                takes_path,
                needs_create: true,
                handler: Arc::new(Plain),
            })
        };
        ResourceDef {
            gvk: Gvk::new("g", "v1", "Thing"),
            plural: "things",
            singular: "thing",
            short_names: &[],
            categories: &[],
            namespaced: true,
            strategy: Arc::new(Plain),
            columns: Vec::new(),
            schema: Arc::new(Schema::for_type::<Value>()),
            selectable_fields: &[],
            indexed_labels: &[],
            subresources: vec![
                stream("exec", &["GET", "POST"], false),
                stream("proxy", &["GET", "PUT"], true),
            ],
            creation: None,
            decorator: None,
            description: "A thing.",
        }
    }

    #[test]
    fn streams_take_their_methods_and_a_path_only_where_they_say_so() {
        let def = def();
        for (method, rest, expected) in [
            ("GET", "a/exec", Ok("exec")),
            ("POST", "a/exec", Ok("exec")),
            ("PUT", "a/exec", Err(405)),
            ("HEAD", "a/exec", Err(405)),
            ("DELETE", "a/exec", Err(405)),
            ("GET", "a/exec/", Ok("exec")),
            ("GET", "a/exec/more", Err(404)),
            ("GET", "a/proxy", Ok("proxy")),
            ("PUT", "a/proxy/b/c", Ok("proxy")),
            ("POST", "a/proxy/b", Err(405)),
            ("GET", "a/attach", Err(404)),
            ("GET", "a/attach/b", Err(404)),
        ] {
            let method: Method = method.parse().unwrap();
            let path = format!("/apis/g/v1/namespaces/n/things/{rest}");
            let info = RequestInfo::parse(&method, &path, None);
            let got = Target::resolve(&def, &info, &method).map_err(|error| error.code());
            let expected = expected.map(|name: &str| Target::Connect(name.into()));
            assert_eq!(got, expected, "{method} {rest}");
            // What is authorized is what is served, however long the path.
            let Attributes::Resource { subresource, .. } = info.attributes() else { panic!() };
            assert_eq!(rest.split('/').nth(1), Some(subresource.as_str()));
        }
    }
}
