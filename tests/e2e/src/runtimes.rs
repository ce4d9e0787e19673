//! Going through a list of runtimes with one agent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::guest::{GRPC_PATHS, HTTP_PATHS};
use crate::{
    Agent, Capture, Certificates, Column, Config, Events, Expected, Found, Front, Guest, Matter, Runtime,
    Side, Zoo, assert_exchange, assert_implementation, assert_rounds, guest, is_flagged, run_ok, runtime,
    scratch,
};

/// What the programs of a test share.
pub struct Bench {
    folder: TempDir,
    /// For servers and clients.
    pub certificates: Certificates,
    /// What is exchanged.
    pub matter: Matter,
    /// The server of clients that bring none.
    pub front: Front,
}

impl Bench {
    /// Makes the files and starts the server.
    #[must_use]
    pub fn start() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        Self {
            matter: Matter::make(folder.path()),
            front: Front::start(folder.path(), &certificates),
            certificates,
            folder,
        }
    }

    /// A folder for what a program writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client of `programs/runtimes`.
    #[must_use]
    pub fn client(&self, interpreter: impl AsRef<Path>, program: &str, mode: &str, address: &str) -> Command {
        let mut command = guest(interpreter, program, mode);
        command
            .arg(address)
            .arg(&self.certificates.authority)
            .arg(&self.matter.posted);
        command.env("NODE_EXTRA_CA_CERTS", &self.certificates.authority);
        command.env("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", &self.certificates.authority);
        command
    }

    /// A server of `programs/runtimes`.
    #[must_use]
    pub fn server(&self, interpreter: impl AsRef<Path>, program: &str, mode: &str) -> Command {
        let mut command = guest(interpreter, program, mode);
        command
            .arg(&self.certificates.certificate)
            .arg(&self.certificates.key)
            .arg(&self.matter.document);
        command
    }
}

/// What is to be seen of a connection that is older than the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The next round, by calls.
    Calls,
    /// The next round, by secrets that are in the memory of the process.
    Secrets,
    /// Nothing, and the agent says so with this code: the calls have no names in this build.
    Blind(&'static str),
    /// Not tried, and why.
    Not(&'static str),
}

/// One program in one role.
pub struct Row {
    /// As [`Runtime::name`].
    pub name: &'static str,
    /// As [`Runtime::build`].
    pub build: &'static str,
    /// The end of the connection that is looked at.
    pub side: Side,
    /// `http1` or `http2`.
    pub protocol: &'static str,
    /// What its process has among `tlsProbeTypesDetected`.
    pub implementation: &'static str,
    /// Starts the client, to an address.
    pub client: fn(&Bench, &str) -> Command,
    /// Starts the server, and need not wait for it; [`Bench::front`] where there is none.
    pub server: Option<fn(&Bench) -> Guest>,
    /// What is expected of older connections.
    pub late: Late,
}

/// A row whose programs run.
struct Running<'a> {
    row: &'a Row,
    client: Guest,
    server: Option<Guest>,
    runtime: Runtime,
    /// The program whose end is looked at.
    exe: PathBuf,
}

impl Row {
    fn paths(&self) -> [&'static str; 2] {
        if self.name.starts_with("gRPC") {
            GRPC_PATHS
        } else {
            HTTP_PATHS
        }
    }

    fn expected(&self, rounds: usize) -> Expected<'static> {
        Expected {
            protocol: self.protocol,
            rounds,
            implementation: self.implementation,
            paths: self.paths(),
        }
    }

    fn is_http1(&self) -> bool {
        self.protocol == "http1"
    }
}

impl Running<'_> {
    /// What the agent said of the end that is looked at.
    fn captures(&self, events: &Events) -> Vec<Capture> {
        match (self.row.side, &self.server) {
            // What tells a browser what to do connects to it.
            (Side::Client, _) => (events.of_pid(self.client.pid()).into_iter())
                .filter(|capture| capture.connection["direction"] != "ingress")
                .collect(),
            (Side::Server, Some(server)) => events.of_port(server.port(), Side::Server),
            (Side::Server, None) => panic!(
                "{}: a server is to be looked at, and there is none",
                self.row.name
            ),
        }
    }

    /// Whether it has had a connection and has none any more.
    fn is_over(&self, events: &Events) -> bool {
        let pid = self.client.pid();
        let open: BTreeSet<String> = events
            .of_type("connection")
            .filter(|event| event["finalized"] != true && event["source"]["pid"] == pid)
            .map(|event| event["meta"]["connectionId"].to_string())
            .collect();
        let ended: BTreeSet<String> = events
            .finished_connections(pid)
            .iter()
            .map(|event| event["meta"]["connectionId"].to_string())
            .collect();
        !ended.is_empty() && open.is_subset(&ended) && !self.captures(events).is_empty()
    }

    /// The events name the process that has the connection.
    fn assert_process(&self, captures: &[Capture]) {
        let local = match self.row.side {
            Side::Client => "source",
            Side::Server => "destination",
        };
        for capture in captures {
            assert_eq!(
                capture.connection[local]["exe"],
                *self.exe.to_string_lossy(),
                "{:#}",
                capture.connection
            );
        }
    }
}

fn start<'a>(bench: &Bench, rows: &'a [Row]) -> Vec<Running<'a>> {
    // Many start at a time: most of it is waiting for the disk.
    let mut servers: Vec<Option<Guest>> = rows
        .iter()
        .map(|row| row.server.map(|server| server(bench)))
        .collect();
    for server in servers
        .iter_mut()
        .flatten()
        .filter(|server| server.facts.is_null())
    {
        server.welcome();
    }
    let mut started: Vec<(&Row, Guest, Option<Guest>)> = Vec::new();
    for (row, server) in rows.iter().zip(servers) {
        let port = server.as_ref().map_or(bench.front.port, Guest::port);
        let client = Guest::spawn(&mut (row.client)(bench, &format!("https://localhost:{port}")));
        started.push((row, client, server));
    }
    let running = started.into_iter().map(|(row, mut client, server)| {
        client.welcome();
        let looked_at = match row.side {
            Side::Client => &client,
            Side::Server => server.as_ref().expect("a server to look at"),
        };
        let text = |key: &str| looked_at.facts[key].as_str().unwrap_or_default().to_owned();
        let runtime = Runtime {
            name: row.name.to_owned(),
            version: text("version"),
            library: text("library"),
            build: row.build.to_owned(),
            side: row.side,
        };
        let exe =
            std::fs::read_link(format!("/proc/{}/exe", looked_at.pid())).expect("the program of a process");
        Running {
            row,
            client,
            server,
            runtime,
            exe,
        }
    });
    running.collect()
}

/// Waits for the end of every connection that is looked at, then ends the agent. One that does not end is missed by the check.
fn end(agent: Agent, running: &[Running<'_>]) -> Events {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let events = agent.events();
        if running.iter().all(|one| one.is_over(&events)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    agent.stop()
}

/// Connections that begin after the agent, in programs that began before it: two rounds, whole and exact, by secrets.
pub fn read_by_secrets(zoo: &mut Zoo, rows: &[Row]) {
    let bench = Bench::start();
    let mut running = start(&bench, rows);
    let agent = Agent::start(&Config::default());
    for one in &mut running {
        one.client.round(&bench.matter);
        one.client.round(&bench.matter);
        one.client.close_input();
    }
    let events = end(agent, &running);
    for one in &running {
        let column = if one.row.is_http1() {
            Column::Http1
        } else {
            Column::Http2
        };
        zoo.check(&one.runtime, column, || {
            let captures = one.captures(&events);
            one.assert_process(&captures);
            assert_rounds(&captures, &bench.matter, &one.row.expected(2));
            Found::Read("secrets".to_owned())
        });
    }
}

/// Connections that are older than the agent: from the next call on by calls, or blind with a reason.
pub fn read_late(zoo: &mut Zoo, rows: &[Row]) {
    let bench = Bench::start();
    let mut running = start(&bench, rows);
    for one in &mut running {
        one.client.round(&bench.matter);
    }
    let agent = Agent::start(&Config::default());
    // The first may be what tells the agent that the process needs its calls probed.
    for _ in 0..2 {
        for one in &mut running {
            one.client.round(&bench.matter);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    for one in &mut running {
        one.client.round(&bench.matter);
        one.client.close_input();
    }
    let events = end(agent, &running);
    for one in &running {
        let column = if one.row.is_http1() {
            Column::LateHttp1
        } else {
            Column::LateHttp2
        };
        let captures = one.captures(&events);
        zoo.check(&one.runtime, column, || {
            one.assert_process(&captures);
            match one.row.late {
                Late::Calls => assert_late(&captures, &bench.matter, &one.row.expected(1), "calls"),
                Late::Secrets => assert_late(&captures, &bench.matter, &one.row.expected(1), "secrets"),
                Late::Blind(code) => assert_blind(&captures, code),
                Late::Not(why) => Found::NotApplicable(why.to_owned()),
            }
        });
    }
}

/// A later round was read by `source`, and nothing that calls itself whole is wrong. Of HTTP/2 the tables that the first heads
/// filled are unknown, so heads may be partial there, which is said; bodies are whole.
pub fn assert_late(captures: &[Capture], matter: &Matter, expected: &Expected<'_>, source: &str) -> Found {
    let mut exact: BTreeSet<&str> = BTreeSet::new();
    for capture in captures {
        let connection = &capture.connection;
        assert_implementation(capture, expected.implementation);
        assert!(capture.reasons().contains(&"joined_midstream"), "{connection:#}");
        assert_eq!(connection["meta"]["tlsSource"], source, "{connection:#}");
        for transaction in &capture.transactions {
            if !is_flagged(transaction) {
                assert_exchange(transaction, matter, expected);
            } else if transaction["incomplete"] == true || transaction["outcome"] != "complete" {
                continue;
            }
            exact.insert(matter.assert_bodies(transaction, expected));
        }
    }
    assert_eq!(exact.len(), 2, "exact: {exact:?}; {captures:#?}");
    Found::Read(source.to_owned())
}

/// Nothing of the one connection was read, and the agent says so.
#[must_use]
pub fn assert_blind(captures: &[Capture], code: &str) -> Found {
    let [capture] = captures else {
        panic!("one connection expected: {captures:#?}");
    };
    assert_eq!(capture.status(), "blind", "{:#}", capture.connection);
    assert!(capture.reasons().contains(&code), "{:#}", capture.connection);
    assert!(capture.transactions.is_empty(), "{capture:#?}");
    Found::Told(format!("blind, `{code}`"))
}

/// An interpreter in the virtual environment with the wheels.
#[must_use]
pub fn wheels_python() -> PathBuf {
    // Not resolved: the interpreter finds the wheels by the path it was called by.
    runtime("venv").join("bin/python")
}

/// What `scripts/setup tests` builds of `fixtures/rustls` (`release`, `lto`), or a copy in `folder` of the former without symbols
/// (`stripped`).
#[must_use]
pub fn rustls_exchange_program(folder: &Path, profile: &str, provider: &str) -> PathBuf {
    let target = std::env::var_os("QTAP_E2E_RUSTLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-rustls"),
        PathBuf::from,
    );
    let name = format!("exchange-{provider}");
    let (built, strip) = match profile {
        "stripped" => ("release", true),
        other => (other, false),
    };
    let program = target.join(built).join(&name);
    let program = program
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", program.display()));
    if !strip {
        return program;
    }
    let stripped = folder.join(name);
    run_ok(Command::new("strip").arg("-o").arg(&stripped).arg(&program));
    stripped
}
