//! Running other programs to their end.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program and returns its stdout; on failure the error is its last line of stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    finish(command, None)
}

/// The same, with `input` on its stdin.
pub(crate) fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    finish(command, Some(input))
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(crate) fn cmd<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn finish(command: &mut Command, input: Option<&[u8]>) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A program that fails early closes its stdin; its own message is the better one.
        if let Err(error) = stdin.write_all(input)
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(error).with_context(|| format!("cannot write to {name}"));
        }
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let cause = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
        bail!("{} failed: {}", command_line(command), cause.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command_line(command: &Command) -> String {
    let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut line = format!("{} {}", program.to_string_lossy(), args.join(" "));
    if line.len() > 160 {
        line.truncate(line.floor_char_boundary(160));
        line.push_str("...");
    }
    line
}

/// A nested cargo must not see what `cargo run` set for xtask: build scripts that watch these
/// variables (ring's does) would run again, each time from the other side.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_BIN_")
        {
            command.env_remove(&name);
        }
    }
    command
}
