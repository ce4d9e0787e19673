//! WebSocket and event stream programs (`programs/web`), with what `scripts/setup tests` installs for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Program, programs};

/// Folder with the Python environment and the packages of Node.js.
fn installed() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-web");
    path.canonicalize()
        .unwrap_or_else(|error| panic!("nothing at {}: {error}; run scripts/setup tests", path.display()))
}

/// One of the programs, by its interpreter.
#[must_use]
pub fn web(program: &str) -> Command {
    let interpreter = if Path::new(program).extension().is_some_and(|kind| kind == "js") {
        PathBuf::from("node")
    } else {
        installed().join("venv/bin/python")
    };
    let mut command = Command::new(interpreter);
    command.arg(programs().join("web").join(program));
    command.env("NODE_PATH", installed().join("node_modules"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A server among them; ended when dropped.
pub struct WebServer {
    program: Program,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl WebServer {
    /// Starts it and waits for its port.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut program = Program::start(command.stdin(Stdio::piped()));
        let port = program
            .line(Duration::from_secs(20))
            .parse()
            .expect("the server says its port");
        Self { program, port }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}
