//! SandboxTemplate.

pub mod instance;
mod strategy;
mod table;

use apiserver::resource::ResourceDef;

pub(super) use self::table::COLUMNS;
use super::{Names, row, typed};

/// The row of the table.
pub(super) fn def() -> ResourceDef {
    let names = Names {
        kind: "SandboxTemplate",
        plural: "sandboxtemplates",
        singular: "sandboxtemplate",
        short: &["sbxt"],
        description: "SandboxTemplate is a blueprint from which warm pools and claims make \
                      Sandboxes, with the network policy they share and the rules for what a \
                      claim may change.",
    };
    row::<sandbox_api::SandboxTemplate>(&names, typed::strategy::<strategy::TemplateRules>())
}
