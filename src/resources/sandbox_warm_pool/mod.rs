//! SandboxWarmPool.

pub mod pace;
mod strategy;
mod table;

use apiserver::resource::{ResourceDef, Subresource};

pub(super) use self::table::COLUMNS;
use super::{Names, row, typed};

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
