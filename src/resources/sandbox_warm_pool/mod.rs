//! SandboxWarmPool.

pub mod pace;
mod strategy;
mod table;

use apiserver::meta::{Object, ObjectKey};
use apiserver::resource::{ResourceDef, Subresource};

pub(super) use self::table::COLUMNS;
use super::{Names, row, typed};

/// The pool whose stock the Sandbox is in.
pub(crate) fn pool_of(sandbox: &Object) -> Option<ObjectKey> {
    let owner = sandbox.controller().filter(|owner| owner["kind"] == "SandboxWarmPool")?;
    let name = owner["name"].as_str()?.to_owned();
    Some(ObjectKey { namespace: sandbox.namespace().map(str::to_owned), name })
}

/// The row of the table.
pub(super) fn def() -> ResourceDef {
    let names = Names {
        kind: "SandboxWarmPool",
        plural: "sandboxwarmpools",
        singular: "sandboxwarmpool",
        short: &["sbxwp"],
        description: "SandboxWarmPool keeps a number of started Sandboxes of one template in \
                      stock, so that claims are answered at once.",
    };
    let strategy = typed::strategy::<strategy::WarmPoolRules>();
    let mut def = row::<sandbox_api::SandboxWarmPool>(&names, strategy);
    def.subresources.push(Subresource::Scale {
        replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: "status.selector",
    });
    def
}
