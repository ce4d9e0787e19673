//! The checked command: started, but held until the probes are attached.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use qtap_capture::Pid;

/// Waits for a line on standard input, then becomes the command. The shell is the same process as the command after
/// `exec`, so its pid is known before the command runs. `read` takes no byte beyond the line; the command's own
/// standard input is the terminal or file that the agent was given, passed on as `/proc/PID/fd/0` of the agent.
const HOLD: &str = r#"read -r stdin || exit 125; exec <"$stdin"; exec "$@""#;

/// A command that waits to be let go.
pub(super) struct Held {
    child: Child,
    gate: Option<std::io::PipeWriter>,
}

impl Held {
    /// Starts the holder. `quiet_stdout`: what the command prints goes to standard error, so that standard output is
    /// the result alone.
    ///
    /// # Errors
    /// When the program is not found, or the system refuses a process.
    pub(super) fn start(program: &OsStr, arguments: &[OsString], quiet_stdout: bool) -> anyhow::Result<Self> {
        find(program)?;
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(HOLD)
            .arg("qtap-check")
            .arg(program)
            .args(arguments);
        command.stdin(Stdio::from(reader));
        if quiet_stdout {
            command.stdout(std::io::stderr());
        }
        let child = command.spawn().context("cannot start /bin/sh")?;
        Ok(Self {
            child,
            gate: Some(writer),
        })
    }

    pub(super) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// Lets the command go.
    ///
    /// # Errors
    /// When the holder is gone.
    pub(super) fn release(&mut self) -> anyhow::Result<()> {
        if let Some(mut gate) = self.gate.take() {
            let stdin = format!("/proc/{}/fd/0\n", std::process::id());
            gate.write_all(stdin.as_bytes())
                .context("the command ended before it was let go")?;
        }
        Ok(())
    }

    /// The exit code, if it has ended: `None` inside when a signal ended it.
    pub(super) fn try_wait(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().ok().flatten().map(|status| status.code())
    }

    /// Ends it.
    pub(super) fn stop(&mut self) {
        // It may have ended by itself in the meantime; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that is not there is a fault of the request, not of the capture.
fn find(program: &OsStr) -> anyhow::Result<()> {
    let path = Path::new(program);
    let found = if path.components().count() > 1 {
        path.is_file()
    } else {
        std::env::var_os("PATH")
            .is_some_and(|paths| std::env::split_paths(&paths).any(|folder| folder.join(path).is_file()))
    };
    if found {
        Ok(())
    } else {
        bail!("the program {} is not found", path.display())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            self.stop();
        }
    }
}
