//! Programs that speak QUIC (`programs/quic`), with what `scripts/setup tests` installs for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{Certificates, Finished, Program, programs};

/// One of the programs on aioquic.
#[must_use]
pub fn quic(program: &str) -> Command {
    with("e2e-quic/venv", program)
}

/// The client on curl.
#[must_use]
pub fn quic_curl(port: u16) -> Command {
    let mut command = with("e2e-runtimes/venv", "curl_client.py");
    command.arg(port.to_string());
    command
}

fn with(venv: &str, program: &str) -> Command {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target")
        .join(venv)
        .join("bin/python");
    assert!(
        path.exists(),
        "nothing at {}; run scripts/setup tests",
        path.display()
    );
    let mut command = Command::new(path);
    command.arg(programs().join("quic").join(program));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A server of HTTP/3 on 127.0.0.1; ended when dropped.
pub struct QuicServer {
    program: Program,
    /// Its port.
    pub port: u16,
}

impl QuicServer {
    /// Starts it and waits for its port.
    #[must_use]
    pub fn start(certificates: &Certificates, arguments: &[&str]) -> Self {
        let mut command = quic("server.py");
        command.arg("--cert").arg(&certificates.certificate);
        command.arg("--key").arg(&certificates.key);
        command.args(arguments).stdin(Stdio::piped());
        let mut program = Program::start(&mut command);
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

    /// Ends it: how many bytes it sent to which port.
    #[must_use]
    pub fn finish(self) -> Vec<(u16, u64)> {
        let Finished { stdout, .. } = self.program.finish(Duration::from_secs(20));
        let text = String::from_utf8_lossy(&stdout).into_owned();
        let line = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
        text.lines()
            .map(line)
            .map(|peer| {
                let port = peer["peer"].as_u64().and_then(|port| u16::try_from(port).ok());
                (port.expect("a port"), peer["sent"].as_u64().expect("a number"))
            })
            .collect()
    }
}
