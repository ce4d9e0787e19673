//! The programs: clients and servers of two libraries.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{Agent, Certificates, Config, Program, Transport, programs, runtime, wheels_python};
use serde_json::Value;

/// Longest until a server is up on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(60);

pub(crate) const FAILURE: &str = "no such thing: 100% of grüße";

/// Kind of each call, by its method.
pub(crate) const TYPES: [(&str, &str); 9] = [
    ("Unary", "unary"),
    ("Packed", "unary"),
    ("Up", "client_streaming"),
    ("Down", "server_streaming"),
    ("Both", "bidi_streaming"),
    ("Fail", "unary"),
    ("Missing", "unary"),
    ("Slow", "unary"),
    ("Cancelled", "server_streaming"),
];

/// A library for gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// C core under Python, with BoringSSL linked in.
    Python,
    /// `@grpc/grpc-js` on the HTTP/2 and OpenSSL of Node.js.
    Node,
}

impl Library {
    pub(crate) fn command(self, mode: &str) -> Command {
        let mut command = match self {
            Self::Python => {
                let mut command = Command::new(wheels_python());
                command.arg(programs().join("grpc/calls.py"));
                command
            }
            Self::Node => {
                let mut command = Command::new(runtime("node-24/bin/node"));
                command.arg(programs().join("grpc/calls.js"));
                command.env("NODE_PATH", runtime("grpc-js/node_modules"));
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("NODE_OPTIONS")
            .arg(mode);
        command
    }
}

pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) plain: u16,
    pub(crate) tls: u16,
}

impl Server {
    pub(crate) fn start(library: Library, certificates: &Certificates) -> Self {
        let mut command = library.command("server");
        command
            .arg(&certificates.certificate)
            .arg(&certificates.key)
            .stdin(Stdio::piped());
        let mut program = Program::start(&mut command);
        let line = program.line(START);
        let facts: Value = line
            .strip_prefix("ready ")
            .and_then(|facts| serde_json::from_str(facts).ok())
            .unwrap_or_else(|| panic!("not ready: {line}"));
        let port = |key: &str| u16::try_from(facts[key].as_u64().unwrap()).unwrap();
        Self {
            plain: port("plain"),
            tls: port("tls"),
            program,
        }
    }

    pub(crate) fn port(&self, transport: Transport) -> u16 {
        match transport {
            Transport::Plain => self.plain,
            Transport::Tls => self.tls,
        }
    }

    /// What it saw, in the order in which its calls ended.
    pub(crate) fn stop(self) -> Vec<Value> {
        let finished = self.program.finish(Duration::from_secs(20));
        assert!(finished.status.success(), "{}", finished.errors());
        finished.json().as_array().unwrap().clone()
    }
}

/// A client that waits for the word to go.
pub(crate) struct Client {
    pub(crate) program: Program,
    pub(crate) what: String,
    pub(crate) transport: Transport,
    pub(crate) server: Library,
    pub(crate) port: u16,
}

impl Client {
    /// Started, and not waited for: most of the time goes into reading its library.
    pub(crate) fn spawn(
        mut command: Command,
        library: Library,
        to: (Library, u16),
        authority: Option<&Path>,
    ) -> Self {
        let (server, port) = to;
        command
            .arg(format!("127.0.0.1:{port}"))
            .args(authority)
            .stdin(Stdio::piped());
        Self {
            program: Program::start(&mut command),
            what: format!("{library:?} to {server:?}, TLS {}", authority.is_some()),
            transport: if authority.is_some() {
                Transport::Tls
            } else {
                Transport::Plain
            },
            server,
            port,
        }
    }

    pub(crate) fn welcome(&mut self) {
        assert_eq!(self.program.line(START), "ready", "{}", self.what);
    }

    /// Makes its calls, to the end.
    pub(crate) fn go(mut self) -> Run {
        self.program.say("go");
        let finished = self.program.finish(START);
        assert!(finished.status.success(), "{}", finished.errors());
        Run {
            what: self.what,
            transport: self.transport,
            server: self.server,
            pid: finished.pid,
            port: self.port,
            seen: by_method(finished.json().as_array().unwrap()),
        }
    }
}

/// A client that ran to its end.
pub(crate) struct Run {
    pub(crate) what: String,
    pub(crate) transport: Transport,
    pub(crate) server: Library,
    pub(crate) pid: u32,
    pub(crate) port: u16,
    /// What it saw, by method.
    pub(crate) seen: BTreeMap<String, Value>,
}

pub(crate) fn by_method(seen: &[Value]) -> BTreeMap<String, Value> {
    seen.iter()
        .map(|call| (call["method"].as_str().unwrap().to_owned(), call.clone()))
        .collect()
}

/// An agent that says of every call all that it can.
pub(crate) fn agent() -> Agent {
    let plugins = "      - type: report_usage\n      - type: access_logs\n        config: {mode: summary, format: json}\n";
    let config = Config::default().to_string();
    Agent::start_with(&config.replace("      - type: report_usage\n", plugins), &[])
}
