//! A child process that does not outlive us.

use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};

/// Killed with its value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().with_context(|| format!("cannot start {program}"))?))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status()?;
        ensure!(status.success(), "kill -{name} {id}: {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("cannot end process {}: {error}", self.0.id());
        }
    }
}
