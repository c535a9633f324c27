//! SandboxClaim.

mod strategy;
mod table;
mod validate;

use apiserver::resource::ResourceDef;

pub(super) use self::table::COLUMNS;
use super::{Names, row, typed};

/// The row of the table.
pub(super) fn def() -> ResourceDef {
    let names = Names {
        kind: "SandboxClaim",
        plural: "sandboxclaims",
        singular: "sandboxclaim",
        short: &["sbxc"],
        description: "SandboxClaim asks for one Sandbox and owns it: one from the stock of a warm \
                      pool where there is one, else a new one.",
    };
    ResourceDef {
        selectable_fields: &["spec.warmPoolRef.name"],
        ..row::<sandbox_api::SandboxClaim>(&names, typed::strategy::<strategy::ClaimRules>())
    }
}
