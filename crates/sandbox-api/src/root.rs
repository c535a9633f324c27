//! What the four root types have in common: `apiVersion` and `kind` on the wire, and the traits by
//! which kube knows a resource.

use schemars::Schema;
use serde_json::{Map, Value, json};

/// Declares a root type and its traits. `apiVersion` and `kind` are no fields: they are constants
/// of the type, written on encoding and not looked at on decoding (items of a list have none).
macro_rules! root {
    ($(#[$doc:meta])* $kind:ident, $plural:literal, $spec:ty, $status:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase")]
        #[schemars(transform = crate::root::add_type_meta)]
        pub struct $kind {
            /// Standard object metadata.
            #[serde(default)]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is asked for.
            pub spec: $spec,
            /// What the server observed. Only the status subresource writes it.
            #[serde(default)]
            pub status: Option<$status>,
        }

        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let len = 4 + usize::from(self.status.is_some());
                let mut out = serializer.serialize_struct(stringify!($kind), len)?;
                out.serialize_field("apiVersion", crate::API_VERSION)?;
                out.serialize_field("kind", stringify!($kind))?;
                out.serialize_field("metadata", &self.metadata)?;
                out.serialize_field("spec", &self.spec)?;
                if let Some(status) = &self.status {
                    out.serialize_field("status", status)?;
                }
                out.end()
            }
        }

        impl $kind {
            /// An object of this name with a spec and no status.
            pub fn new(name: &str, spec: $spec) -> Self {
                let mut new = Self { spec, ..Self::default() };
                new.metadata.name = Some(name.to_owned());
                new
            }
        }

        impl k8s_openapi::Resource for $kind {
            const API_VERSION: &'static str = crate::API_VERSION;
            const GROUP: &'static str = crate::GROUP;
            const KIND: &'static str = stringify!($kind);
            const VERSION: &'static str = crate::VERSION;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::NamespaceResourceScope;
        }

        impl k8s_openapi::ListableResource for $kind {
            const LIST_KIND: &'static str = concat!(stringify!($kind), "List");
        }

        impl k8s_openapi::Metadata for $kind {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use root;

/// Puts `apiVersion` and `kind` into the schema of a root type and takes out the empty default of
/// `metadata`, which means nothing to a server.
pub(crate) fn add_type_meta(schema: &mut Schema) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    let mut all = Map::new();
    all.insert(
        "apiVersion".into(),
        json!({
            "type": "string",
            "description": "The versioned schema of this representation of an object.",
        }),
    );
    all.insert(
        "kind".into(),
        json!({
            "type": "string",
            "description": "The REST resource this object represents, in CamelCase.",
        }),
    );
    all.append(properties);
    if let Some(Value::Object(metadata)) = all.get_mut("metadata") {
        metadata.remove("default");
    }
    *properties = all;
}
