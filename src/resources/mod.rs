//! The API group: the one table of its kinds, and the rules of each.
//!
//! What a kind is made of: wire types in `sandbox-api`, rules between fields in `validate`, their
//! place in an object's life in `strategy`, columns in `table`. Defaults, enums and ranges are in
//! the schema of the types and need no code here. All of it is pure.

mod blueprint;
mod columns;
pub mod crd;
mod names;
pub mod sandbox;
pub mod sandbox_claim;
pub mod sandbox_template;
pub mod sandbox_warm_pool;
mod typed;

use std::fmt;
use std::sync::Arc;

use apiserver::meta::Gvk;
use apiserver::registry::Strategy;
use apiserver::resource::{Create, Decorator, ResourceDef, Subresource};
use apiserver::schema::Schema;
use schemars::JsonSchema;

/// Names all four kinds in `kubectl get`. Not `sandbox`: kubectl expands categories before it looks
/// at singular names, and `kubectl get sandbox NAME` must go on meaning one Sandbox.
const CATEGORY: &str = "sandboxing";

/// What kinds can do besides being stored: passed in because it acts on the cluster and on several
/// kinds, and this module only knows objects.
#[derive(Default)]
pub struct Extensions {
    pub sandbox: Vec<Subresource>,
    pub sandbox_decorator: Option<Arc<dyn Decorator>>,
    pub claim: Vec<Subresource>,
    pub warm_pool: Vec<Subresource>,
    pub claim_creation: Option<Arc<dyn Create>>,
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions").field("sandbox", &self.sandbox).finish_non_exhaustive()
    }
}

/// Every served kind.
pub fn defs(extensions: Extensions) -> Vec<ResourceDef> {
    let mut sandbox = sandbox::def();
    sandbox.subresources.extend(extensions.sandbox);
    sandbox.decorator = extensions.sandbox_decorator;
    let mut claim = sandbox_claim::def();
    claim.creation = extensions.claim_creation;
    claim.subresources.extend(extensions.claim);
    let mut pool = sandbox_warm_pool::def();
    pool.subresources.extend(extensions.warm_pool);
    vec![sandbox, sandbox_template::def(), claim, pool]
}

/// The names of a kind.
struct Names {
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    description: &'static str,
}

/// A row of the table with what all kinds of this group have in common.
fn row<T: JsonSchema>(names: &Names, strategy: Arc<dyn Strategy>) -> ResourceDef {
    ResourceDef {
        gvk: Gvk::new(sandbox_api::GROUP, sandbox_api::VERSION, names.kind),
        plural: names.plural,
        singular: names.singular,
        short_names: names.short,
        categories: &["all", CATEGORY],
        namespaced: true,
        strategy,
        columns: columns::of(names.plural).iter().map(columns::PathColumn::column).collect(),
        schema: Arc::new(Schema::for_type::<T>()),
        selectable_fields: &[],
        indexed_labels: &[],
        subresources: vec![Subresource::Status],
        creation: None,
        decorator: None,
        description: names.description,
    }
}

#[cfg(test)]
mod tests;
