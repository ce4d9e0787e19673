//! The checked command: started, but held until the probes are attached.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use qtap_capture::Pid;

/// Waits for a line on standard input, then becomes the command. The shell is the same process as the command after
/// `exec`, so its pid is known before the command runs. `read` takes no byte beyond the line; the command's own
/// standard input is the terminal or file that the agent was given, passed on as `/proc/PID/fd/0` of the agent.
const HOLD: &str = r#"read -r stdin || exit 125; exec <"$stdin"; exec "$@""#;

/// A command that waits to be let go.
pub(super) struct Held {
    child: Child,
    gate: Option<std::io::PipeWriter>,
    files: Vec<PathBuf>,
}

impl Held {
    /// Starts the holder. `quiet_stdout`: what the command prints goes to standard error, so that standard output is
    /// the result alone.
    ///
    /// # Errors
    /// When the program is not found, or the system refuses a process.
    pub(super) fn start(program: &OsStr, arguments: &[OsString], quiet_stdout: bool) -> anyhow::Result<Self> {
        let files = files_of(find(program)?);
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
            files,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// The files whose code will run.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
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
fn find(program: &OsStr) -> anyhow::Result<PathBuf> {
    locate(program).with_context(|| format!("the program {} is not found", program.display()))
}

/// Where a program is, by the rules of a shell.
fn locate(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(path))
        .find(|path| path.is_file())
}

/// Interpreters of interpreters that are followed, as the kernel does.
const MAX_INTERPRETERS: usize = 4;

/// The files whose code runs when `program` is executed: itself, and the interpreters of a script, that which `env` starts among them.
fn files_of(program: PathBuf) -> Vec<PathBuf> {
    let mut files = vec![program];
    for _ in 0..MAX_INTERPRETERS {
        let Some(interpreters) = files.last().and_then(|file| interpreters_of(file)) else {
            break;
        };
        files.extend(interpreters);
    }
    files
}

/// What the first line of a script names: `#!/bin/sh -e`, `#!/usr/bin/env -S node --flag`.
fn interpreters_of(script: &Path) -> Option<Vec<PathBuf>> {
    const LINE_BYTES: u64 = 256;
    let mut start = Vec::new();
    std::fs::File::open(script)
        .ok()?
        .take(LINE_BYTES)
        .read_to_end(&mut start)
        .ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(OsStr::from_bytes);
    let interpreter = PathBuf::from(words.next()?);
    let started = (interpreter.file_name() == Some(OsStr::new("env")))
        .then(|| words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'=')))
        .flatten()
        .and_then(locate);
    Some([interpreter].into_iter().chain(started).collect())
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.try_wait().is_none() {
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreters_of_a_script_are_found() {
        let folder = std::env::temp_dir().join(format!("qtap-interpreters-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let sh = locate(OsStr::new("sh")).unwrap();
        let env = PathBuf::from("/usr/bin/env");
        let plain = script("plain", "#! /bin/sh -e\necho");
        assert_eq!(files_of(plain.clone()), [plain, PathBuf::from("/bin/sh")]);
        let by_env = script("by-env", "#!/usr/bin/env -S A=1 sh -e\n");
        assert_eq!(files_of(by_env.clone()), [by_env, env, sh]);
        let itself = script("itself", &format!("#!{}/itself\n", folder.display()));
        assert_eq!(files_of(itself).len(), 1 + MAX_INTERPRETERS);
        assert_eq!(files_of(PathBuf::from("/bin/true")), [PathBuf::from("/bin/true")]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
