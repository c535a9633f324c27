//! A child process that does not outlive us.

use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};

/// One place for a process: at times nothing runs in it. What does is killed with the value.
#[derive(Default)]
pub(crate) struct Process(Option<Child>);

impl Process {
    /// Whatever ran here before is killed.
    pub(super) fn start(&mut self, command: &mut Command) -> Result<()> {
        self.kill();
        let program = command.get_program().to_string_lossy().into_owned();
        self.0 = Some(command.spawn().with_context(|| format!("cannot start {program}"))?);
        Ok(())
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.0.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            eprintln!("cannot end process {}: {error}", child.id());
        }
    }

    /// Stops its work without closing its connections, as a hung machine does.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let Some(child) = &self.0 else { return Ok(()) };
        let id = child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status()?;
        ensure!(status.success(), "kill -{name} {id}: {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
