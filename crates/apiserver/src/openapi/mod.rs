//! OpenAPI v3 and v2 documents of one group-version, made once from the table of resources.
//!
//! `components` collects the schemas, `paths` the operations; both make the v3 document, and `v2`
//! rewrites that into Swagger 2.0. `respond` answers `/openapi/…` from the prepared bytes. What
//! clients look for in these documents: `kubectl explain` finds a kind by its
//! `x-kubernetes-group-version-kind`, `kubectl apply --validate` looks for a `fieldValidation`
//! parameter on the kind's PATCH, and client-side apply takes its patch type from that PATCH's
//! request body (`k8s.io/kubectl/pkg/explain/v2`, `k8s.io/cli-runtime/pkg/resource`).

mod components;
mod names;
mod parameters;
mod paths;
mod respond;
mod v2;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

use self::components::Components;
pub use self::respond::OpenApiResponse;
use crate::resource::ResourceDef;

/// The documents of one server, ready to be sent.
#[derive(Debug)]
pub struct OpenApi {
    index: Document,
    v2: Document,
    /// By path below `/openapi/v3/`, for example `apis/sandbox.x-k8s.io/v1beta1`.
    groups: BTreeMap<String, Document>,
}

#[derive(Debug)]
struct Document {
    bytes: Bytes,
    /// Upper-case hex SHA-512 of the bytes; also what clients send as `hash`.
    hash: String,
    etag: String,
}

impl OpenApi {
    /// All of `defs` share one group and version.
    pub fn build(defs: &[&ResourceDef], title: &str, version: &str) -> Self {
        let info = json!({"title": title, "version": version});
        let mut groups = BTreeMap::new();
        let mut v2 = v2::convert(&document(&info, Map::new(), Map::new()));
        if let Some(first) = defs.first() {
            let (group, api_version) = (&first.gvk.group, first.gvk.api_version());
            let components = Components::collect(defs);
            let paths = paths::resources(defs, &components);
            let main = document(&info, paths, components.into_schemas());
            v2 = v2::convert(&main);
            groups.insert(format!("apis/{api_version}"), Document::new(&main));
            for (path, (paths, schemas)) in [
                ("apis".to_owned(), paths::group_list()),
                (format!("apis/{group}"), paths::group(group)),
                ("version".to_owned(), paths::version()),
            ] {
                groups.insert(path, Document::new(&document(&info, paths, schemas)));
            }
        }
        let paths = groups.iter().map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path.clone(), json!({"serverRelativeURL": url}))
        });
        let index = json!({"paths": paths.collect::<Map<_, _>>()});
        Self { index: Document::new(&index), v2: Document::new(&v2), groups }
    }

    /// The list of v3 documents, and its ETag (quoted).
    pub fn v3_index(&self) -> (&Bytes, &str) {
        (&self.index.bytes, &self.index.etag)
    }

    /// A v3 document, and its hash. `path` is `apis/<group>/<version>`, `apis/<group>`, `apis` or
    /// `version`.
    pub fn v3_group(&self, path: &str) -> Option<(&Bytes, &str)> {
        self.groups.get(path).map(|document| (&document.bytes, document.hash.as_str()))
    }

    /// The Swagger 2.0 document, and its ETag (quoted).
    pub fn v2(&self) -> (&Bytes, &str) {
        (&self.v2.bytes, &self.v2.etag)
    }
}

impl Document {
    fn new(content: &Value) -> Self {
        let bytes = Bytes::from(content.to_string());
        let hash = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        let etag = format!("\"{hash}\"");
        Self { bytes, hash, etag }
    }
}

fn document(info: &Value, paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": info,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "description": "Bearer token authentication",
                "in": "header", "name": "authorization", "type": "apiKey",
            }},
        },
    })
}

#[cfg(test)]
mod tests;
