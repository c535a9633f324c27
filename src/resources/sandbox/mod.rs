//! Sandbox.

pub mod actions;
mod strategy;
mod table;
mod validate;

use apiserver::resource::ResourceDef;
use sandbox_api::keys;

pub(super) use self::table::COLUMNS;
use super::{Names, row, typed};

/// The row of the table, without actions.
pub(super) fn def() -> ResourceDef {
    let names = Names {
        kind: "Sandbox",
        plural: "sandboxes",
        singular: "sandbox",
        short: &["sbx"],
        description: "Sandbox is one isolated, stateful workload with a stable identity: a Pod, \
                      and a Service and volumes if asked for. It can be suspended and resumed.",
    };
    ResourceDef {
        selectable_fields: &["status.phase", "status.nodeName"],
        indexed_labels: &[keys::WARM_POOL_SANDBOX, keys::CLAIM_UID],
        ..row::<sandbox_api::Sandbox>(&names, typed::strategy::<strategy::SandboxRules>())
    }
}
