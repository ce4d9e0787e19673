//! The Python programs: a server that says what it saw, and clients that say what they got.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{Certificates, Program, programs, until};

/// Debian's interpreter with one of the programs; reads nothing of the user's site packages.
#[must_use]
pub fn python(script: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-s").arg("-u").arg(programs().join(script));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    for variable in [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "REQUESTS_CA_BUNDLE",
    ] {
        command.env_remove(variable);
    }
    command
}

/// `programs/client.py MODE`.
#[must_use]
pub fn client(mode: &str) -> Command {
    let mut command = python("client.py");
    command.arg(mode);
    command
}

/// What the server says of one transaction, or of a connection's end.
#[derive(Clone, Debug)]
pub struct Truth(pub Value);

impl Truth {
    /// A number.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.0[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} of {} is not a number", self.0))
    }

    /// A text, if there.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0[key].as_str()
    }
}

/// A running `programs/server.py`; ended when dropped.
pub struct PythonServer {
    program: Program,
    log: PathBuf,
    /// Port it listens on.
    pub port: u16,
}

impl PythonServer {
    /// HTTP on 127.0.0.1.
    #[must_use]
    pub fn http(folder: &Path) -> Self {
        Self::start(folder, &[])
    }

    /// HTTPS on 127.0.0.1.
    #[must_use]
    pub fn https(folder: &Path, certificates: &Certificates, arguments: &[&str]) -> Self {
        let (certificate, key) = (
            certificates.certificate.to_string_lossy(),
            certificates.key.to_string_lossy(),
        );
        let mut all = vec!["--cert", &*certificate, "--key", &*key];
        all.extend_from_slice(arguments);
        Self::start(folder, &all)
    }

    /// With any arguments.
    #[must_use]
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = python("server.py");
        command.args(arguments);
        Self::start_command(folder, command)
    }

    /// By a command that runs `server.py`.
    #[must_use]
    pub fn start_command(folder: &Path, mut command: Command) -> Self {
        let log = tempfile::Builder::new()
            .prefix("truth-")
            .tempfile_in(folder)
            .expect("create a file");
        let log = log.into_temp_path().keep().expect("keep a file");
        command.arg("--log").arg(&log).stdin(Stdio::piped());
        let mut program = Program::start(&mut command);
        let port = program
            .line(Duration::from_secs(20))
            .parse()
            .expect("the server says its port");
        Self { program, log, port }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Waits until it has said `count` things of this kind (`transaction` or `connection`), and returns them.
    #[must_use]
    pub fn truths(&self, kind: &str, count: usize) -> Vec<Truth> {
        let mut truths = Vec::new();
        until(
            Duration::from_secs(20),
            &format!("{count} of {kind} in the server's log"),
            || {
                truths = fs::read_to_string(&self.log)
                    .unwrap_or_default()
                    .lines()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                    .filter(|truth| truth["kind"] == kind)
                    .map(Truth)
                    .collect();
                truths.len() >= count
            },
        );
        truths
    }
}
