//! Functions that are found by inference prove themselves.
//!
//! Required: "A point found by inference proves itself: the first hit must look as the recipe says, and the first record must authenticate;
//! otherwise it is detached and reported." `programs/decoy.c` looks as the recipe says, and is handed whatever its caller likes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Program, PythonServer, Transport, assert_healthy, programs, run_ok,
    scratch, until, venv,
};
use serde_json::Value;

const LINE: Duration = Duration::from_secs(60);

fn build_decoy(folder: &Path, name: &str) -> PathBuf {
    let library = folder.join(name);
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O2", "-shared", "-fPIC", "-s", "-o"])
        .arg(&library);
    run_ok(compiler.arg(programs().join("decoy.c")));
    library
}

/// A program with its own TLS, and the library that it hands its secrets to.
struct Client {
    program: Program,
    asked: usize,
}

impl Client {
    /// One whose library the agent has looked at.
    fn start(agent: &Agent, library: &Path, port: u16) -> Self {
        let mut command = Command::new(venv().join("bin/python"));
        command.arg(programs().join("decoy_client.py")).arg(library);
        command
            .args([&port.to_string(), "/bytes/30000"])
            .stdin(Stdio::piped());
        let mut program = Program::start(&mut command);
        assert_eq!(program.line(LINE), r#"{"ready": true}"#);
        let pid = program.pid();
        until(LINE, "the library in the status", || {
            library_status(agent, pid, library).is_some()
        });
        Self { program, asked: 0 }
    }

    fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// One connection, whose secrets the library gets, or others; returns what the agent says of it at its end.
    fn connect(&mut self, agent: &Agent, secrets: &str) -> Capture {
        self.program.say(secrets);
        self.program.line(LINE);
        self.asked += 1;
        let (pid, count) = (self.pid(), self.asked);
        agent.wait_for("the end of a connection", LINE, |events| {
            events.of_pid(pid).len() >= count
        });
        agent.events().of_pid(pid).pop().expect("a connection")
    }
}

fn assert_blind(capture: &Capture) {
    assert_eq!(capture.status(), "blind", "{:#}", capture.connection);
    assert!(capture.transactions.is_empty(), "{capture:#?}");
}

fn refuted(agent: &Agent) -> f64 {
    agent.system_metric("qtap_probe_refuted_total", &[])
}

/// What `/status` says of the library in a process.
fn library_status(agent: &Agent, pid: u32, library: &Path) -> Option<Value> {
    let mut found = agent.libraries_of(pid).into_iter();
    found.rfind(|found| found["path"] == *library.to_string_lossy())
}

#[test]
fn a_function_whose_secrets_open_nothing_is_let_go_of_and_reported() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let library = build_decoy(folder.path(), "libwrong.so");
    let agent = Agent::start(&Config::default());
    let mut client = Client::start(&agent, &library, server.port);
    let before = library_status(&agent, client.pid(), &library).expect("it is mapped");
    assert_eq!(before["secrets"], true, "it is found by inference: {before:#}");

    assert_blind(&client.connect(&agent, "wrong"));
    assert_blind(&client.connect(&agent, "wrong"));

    until(LINE, "end of the probes", || refuted(&agent) == 1.0);
    let line = agent.wait_for_log(
        &["inferred is another one", "libwrong.so"],
        Duration::from_secs(5),
    );
    assert!(line.contains("ssl_log_secret"), "{line}");
    let after = library_status(&agent, client.pid(), &library).expect("it is mapped");
    assert_eq!(after["secrets"], false, "{after:#}");
    let reason = after["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("open no record"), "{after:#}");
    // Nothing is seen of it any more, in this process and in others.
    assert_blind(&client.connect(&agent, "right"));
    let mut other = Client::start(&agent, &library, server.port);
    assert_blind(&other.connect(&agent, "right"));
    assert_eq!(refuted(&agent), 1.0);
    let _ = agent.stop();
}

#[test]
fn a_function_whose_secret_opened_a_record_once_is_never_let_go_of() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let library = build_decoy(folder.path(), "libright.so");
    let agent = Agent::start(&Config::default());
    let mut client = Client::start(&agent, &library, server.port);

    // One failure may be a mistake.
    assert_blind(&client.connect(&agent, "wrong"));
    assert_eq!(refuted(&agent), 0.0);
    assert_healthy(&client.connect(&agent, "right"), Transport::Tls);
    for _ in 0..3 {
        assert_blind(&client.connect(&agent, "wrong"));
    }
    let read = client.connect(&agent, "right");

    assert_healthy(&read, Transport::Tls);
    assert_eq!(read.connection["meta"]["tlsSource"], "secrets");
    assert_eq!(refuted(&agent), 0.0);
    let status = library_status(&agent, client.pid(), &library).expect("it is mapped");
    assert_eq!(
        (&status["secrets"], &status["reason"]),
        (&Value::Bool(true), &Value::Null),
        "{status:#}"
    );
    let _ = agent.stop();
}
