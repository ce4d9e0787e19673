//! curl with what every test wants of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Finished, run_ok};

/// A curl command under construction.
pub struct Curl {
    command: Command,
    head: PathBuf,
}

impl Curl {
    /// To `url`; names under qtap.test resolve to 127.0.0.1. Its response heads go to a file in `folder`.
    #[must_use]
    pub fn new(folder: &Path, url: &str) -> Self {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "30"]);
        let authority = url.split('/').nth(2).unwrap_or_default();
        if let Some((name, port)) = authority.rsplit_once(':')
            && name.ends_with("qtap.test")
        {
            command.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
        }
        let head = tempfile::Builder::new()
            .prefix("head-")
            .tempfile_in(folder)
            .expect("create a file");
        let head = head.into_temp_path().keep().expect("keep a file");
        command.arg("--dump-header").arg(&head).arg(url);
        Self { command, head }
    }

    /// With this certificate authority.
    #[must_use]
    pub fn authority(mut self, path: &Path) -> Self {
        self.command.arg("--cacert").arg(path);
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// The command itself.
    #[must_use]
    pub fn command(self) -> Command {
        self.command
    }

    /// Runs it; it must succeed. Standard output is the body.
    #[must_use]
    pub fn run(mut self) -> (Finished, Vec<(String, String)>) {
        let finished = run_ok(&mut self.command);
        let text = std::fs::read(&self.head).expect("the response heads");
        (finished, last_head(&String::from_utf8_lossy(&text)))
    }
}

/// Fields of the last head in curl's dump: interim responses come before it.
fn last_head(text: &str) -> Vec<(String, String)> {
    let last = text.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
    let fields = last.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
