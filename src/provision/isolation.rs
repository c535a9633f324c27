//! From an isolation level to a RuntimeClass. Never weaker than asked.

use sandbox_api::{IsolationLevel, Sandbox};

use super::plan::Policy;
use crate::cluster::RuntimeClassView;

/// The RuntimeClass to put on the Pod: `None` leaves the template's. The error is for the user.
pub(super) fn runtime_class<'a>(
    sandbox: &Sandbox,
    classes: &'a [RuntimeClassView],
    policy: &Policy,
) -> Result<Option<&'a str>, String> {
    let level = sandbox.spec.isolation_level();
    if level == IsolationLevel::Standard {
        return Ok(None);
    }
    let named = policy.runtime_classes.get(&level);
    let fits = |class: &RuntimeClassView| match named {
        Some(name) => class.name == *name,
        None => handles(level, &class.handler),
    };
    let asked = sandbox.spec.pod_template.spec.runtime_class_name.as_deref();
    let mut fitting = classes.iter().filter(|class| fits(class));
    let found = match asked {
        // Any class of the level will do, so the template may choose among them.
        Some(asked) => fitting.find(|class| class.name == asked),
        None => fitting.next(),
    };
    match (found, asked, named) {
        (Some(class), ..) => Ok(Some(&class.name)),
        (None, Some(asked), _) => Err(format!(
            "the RuntimeClass {asked:?} of the Pod template does not give the isolation level {level:?}"
        )),
        (None, None, Some(name)) => Err(format!(
            "the RuntimeClass {name:?} for the isolation level {level:?} does not exist"
        )),
        (None, None, None) => {
            Err(format!("the cluster has no RuntimeClass for the isolation level {level:?}"))
        }
    }
}

/// Handler names that runtimes are installed under by convention.
fn handles(level: IsolationLevel, handler: &str) -> bool {
    match level {
        IsolationLevel::Standard => true,
        IsolationLevel::UserKernel => handler == "runsc" || handler == "gvisor",
        IsolationLevel::VirtualMachine => handler == "kata" || handler.starts_with("kata-"),
    }
}
