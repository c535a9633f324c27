//! The Sandbox's typed verbs: `suspend`, `resume` and `restart`. Each is one guarded write of what
//! an edit of the object would write; the loop does the rest. With `?wait=true` they answer when
//! the loop has done it.

mod mode;
mod restart;
mod rules;
mod wait;

use std::sync::Arc;

use apiserver::clock::{Clock, SystemClock};
use apiserver::meta::Gvk;
use apiserver::resource::{Action, ActionDef, Subresource};
use sandbox_api::{GROUP, OperatingMode, VERSION};

use self::mode::SetMode;
pub use self::mode::set as set_mode;
use self::restart::Restart;

const WAITING: &[(&str, &str)] = &[
    ("wait", "Answer when it is done (true), or at once (false, the default)."),
    ("timeout", "Longest wait, as a Go duration; 30s if not given, at most 55s."),
];

/// The rows of the Sandbox's resource table for its actions.
pub fn subresources() -> Vec<Subresource> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mode = |mode| Arc::new(SetMode::new(mode, Arc::clone(&clock)));
    vec![
        action("suspend", "SandboxSuspendOptions", WAITING, mode(OperatingMode::Suspended)),
        action("resume", "SandboxResumeOptions", WAITING, mode(OperatingMode::Running)),
        action("restart", "SandboxRestartOptions", WAITING, Arc::new(Restart::new(clock))),
    ]
}

fn action(
    name: &'static str,
    input: &str,
    parameters: &'static [(&'static str, &'static str)],
    handler: Arc<dyn Action>,
) -> Subresource {
    Subresource::Action(ActionDef {
        name,
        input: Gvk::new(GROUP, VERSION, input),
        output: Gvk::new(GROUP, VERSION, "Sandbox"),
        parameters,
        dry_run: false,
        handler,
    })
}
