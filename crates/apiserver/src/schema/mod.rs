//! Structural schemas: one description of a kind, from which pruning, defaults, validation and
//! OpenAPI derive.
//!
//! [`Schema::for_type`] takes what `schemars` makes of a Rust type; `normalise` turns it into the
//! subset of JSON schema that Kubernetes calls structural (KEP-1693; the rules are in
//! `k8s.io/apiextensions-apiserver/pkg/apiserver/schema`). `tree` compiles that once into nodes
//! that `prune` and `validate` walk together with an object. [`decode`] turns bytes into values
//! and reports duplicate fields, which no later step could see.

mod combine;
pub mod decode;
mod generate;
mod inline;
mod lists;
mod normalise;
mod overlay;
mod prune;
mod tree;
mod validate;

use serde_json::{Map, Value};

use crate::field::FieldError;
use crate::meta::Object;

pub use self::decode::{decode_json, decode_yaml};
pub(crate) use self::generate::{INT_OR_STRING, OBJECT_META, QUANTITY, collect};
pub(crate) use self::normalise::reference;
use self::tree::Tree;

/// A kind's structural schema.
#[derive(Debug)]
pub struct Schema {
    /// The type's name as its author gave it, for example `Sandbox`; empty when there is none.
    name: String,
    /// The kind itself; other named types appear as `$ref`.
    root: Value,
    /// Named schemas that `root` needs, directly or not.
    definitions: Map<String, Value>,
    /// `None` accepts everything.
    tree: Option<Tree>,
}

impl Schema {
    /// The schema of a Rust type. Types of `k8s-openapi` keep their names, as in
    /// `io.k8s.api.core.v1.PodSpec`.
    pub fn for_type<T: schemars::JsonSchema>() -> Self {
        let (name, root, definitions) = generate::generate::<T>();
        Self::build(name, root, definitions)
    }

    /// A schema written by hand: the content of a `CustomResourceDefinition`'s `openAPIV3Schema`.
    /// May carry named schemas under `definitions` or `$defs`.
    pub fn from_value(schema: Value) -> Self {
        let (root, definitions) = generate::split(schema);
        Self::build(String::new(), root, definitions)
    }

    /// A schema that knows nothing: keeps every field, adds no default, finds no error.
    pub fn permissive() -> Self {
        let root = serde_json::json!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
        });
        Self { name: String::new(), root, definitions: Map::new(), tree: None }
    }

    fn build(name: String, mut root: Value, mut definitions: Map<String, Value>) -> Self {
        generate::adopt_object(&mut root, &mut definitions);
        let tree = Some(Tree::compile(&root, &definitions));
        Self { name, root, definitions, tree }
    }

    /// The type's own name; empty for a hand-written schema.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind's own schema; named types appear as `$ref: #/components/schemas/<name>`.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The named schemas that [`Schema::root`] refers to, in the form of OpenAPI v3 components.
    /// Names without a dot are local to the kind's group and version.
    pub fn definitions(&self) -> &Map<String, Value> {
        &self.definitions
    }

    /// The schema without references, as a `CustomResourceDefinition` would carry it. Types that
    /// contain themselves end in a free-form object.
    pub fn open_api_v3(&self) -> Value {
        inline::inline(&self.root, &self.definitions)
    }

    /// Removes fields that the schema does not name and returns their paths, for example
    /// `spec.podTemplate.spec.containers[0].foo`, in document order. Nulls of known fields are
    /// removed silently: as in Go, null means absent.
    pub fn prune(&self, object: &mut Object) -> Vec<String> {
        self.tree.as_ref().map(|tree| tree.prune(object)).unwrap_or_default()
    }

    /// Fills absent fields that have a default.
    pub fn apply_defaults(&self, object: &mut Object) {
        if let Some(tree) = &self.tree {
            tree.apply_defaults(object);
        }
    }

    /// Types, enums, ranges, patterns and required fields, with the texts of Kubernetes' CRD
    /// validation.
    pub fn validate(&self, object: &Object) -> Vec<FieldError> {
        self.tree.as_ref().map(|tree| tree.validate(object)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
