//! Go programs, whose TLS is Go's own.
//!
//! Required: "Go | 1.17 to newest: normal, `-ldflags "-s -w"`, `-buildmode=pie`, cgo; client, server, reverse proxy. Function
//! addresses from pclntab of every header version."
//!
//! The programs are built by `scripts/go-programs` (`programs/go`). Header versions: 1.16 in what Go 1.17.8 built, 1.20 in the
//! others, of which 1.27 no longer says where the code starts; 1.18 is in a unit test of `qtap-probe`.

#[path = "runtimes_go/turbo.rs"]
mod turbo;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Agent, Capture, Certificates, Column, Config, Found, Program, Runtime, Side, Transport, Zoo,
    assert_complete, assert_healthy, hex_sha256, is_flagged, one, outline, scratch, wait_for_both_ends,
};
use serde_json::{Value, json};

const LINE: Duration = Duration::from_secs(20);
const VERSIONS: [&str; 3] = ["1.21.13", "1.24.11", "1.27.3"];
const KINDS: [&str; 5] = ["normal", "stripped", "pie", "cgo", "cgo-pie"];
/// What a new program is given to be found and probed.
const PROBED: Duration = Duration::from_secs(1);
/// Bytes of a response: some records.
const SIZE: &str = "/bytes/50001";

fn built(version: &str, kind: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/e2e-go/{version}/{kind}"));
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", path.display()))
}

/// A Go program in one of its modes, waiting for its standard input.
fn start(program: &Path, mode: &str, certificates: &Certificates, arguments: &[&str]) -> Program {
    let mut command = Command::new(program);
    command.arg(mode);
    if mode != "client" {
        command.arg("-cert").arg(&certificates.certificate);
        command.arg("-key").arg(&certificates.key);
    }
    if mode != "server" {
        command.arg("-ca").arg(&certificates.authority);
    }
    command.args(arguments).stdin(Stdio::piped());
    Program::start(&mut command)
}

/// A server and the port that it said.
struct Server {
    program: Program,
    port: u16,
}

impl Server {
    fn start(program: &Path, mode: &str, certificates: &Certificates, arguments: &[&str]) -> Self {
        let mut program = start(program, mode, certificates, arguments);
        let port = program.line(LINE).parse().expect("a server says its port");
        Self { program, port }
    }

    fn pid(&self) -> u32 {
        self.program.pid()
    }
}

fn client(program: &Path, certificates: &Certificates, port: u16, arguments: &[&str]) -> Program {
    let url = format!("https://go.qtap.test:{port}{SIZE}");
    let mut arguments = arguments.to_vec();
    arguments.push(&url);
    start(program, "client", certificates, &arguments)
}

/// One request, and what the program says of it.
fn request(client: &mut Program) -> Value {
    client.say("go");
    let line = client.line(LINE);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

/// One end of a connection was read by secrets, whole, and has what the client says.
fn assert_read(capture: &Capture, version: &str, said: &[Value]) {
    assert_healthy(capture, Transport::Tls);
    let connection = &capture.connection;
    let meta = &connection["meta"];
    assert_eq!(meta["tlsProbeTypesDetected"], json!(["gotls"]), "{connection:#}");
    assert_eq!(meta["tlsSource"], "secrets", "{connection:#}");
    assert_eq!(
        connection["tlsVersion"],
        format!("TLS {version}"),
        "{connection:#}"
    );
    assert_eq!(capture.transactions.len(), said.len(), "{connection:#}");
    for (transaction, said) in capture.transactions.iter().zip(said) {
        assert_complete(transaction, said["sent"].as_str(), said["received"].as_str());
        assert_eq!(transaction["request"]["method"], "POST");
        assert_eq!(transaction["request"]["path"], SIZE);
        assert_eq!(transaction["response"]["status"], said["status"]);
        let protocol = match said["protocol"].as_str() {
            Some("HTTP/2.0") => "http2",
            _ => "http1",
        };
        assert_eq!(connection["l7Protocol"], protocol, "{connection:#}");
    }
}

/// Client and server of every version and build, HTTP/1.1 over TLS 1.2 and HTTP/2 over TLS 1.3, all under one agent.
#[test]
fn every_version_and_build_is_read_at_both_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let agent = Agent::start(&Config::default());
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for version in VERSIONS {
        for kind in KINDS {
            let program = built(version, kind);
            let server = Server::start(&program, "server", &certificates, &[]);
            for (tls, arguments) in [
                ("1.2", &["-count", "2", "-tls", "1.2", "-http1"][..]),
                ("1.3", &["-count", "2", "-tls", "1.3"][..]),
            ] {
                let client = client(&program, &certificates, server.port, arguments);
                clients.push((client, tls, server.pid(), server.port, (version, kind)));
            }
            servers.push(server);
        }
    }
    std::thread::sleep(PROBED);
    let mut ends = Vec::new();
    for (mut client, tls, server, port, build) in clients {
        let said = [request(&mut client), request(&mut client)];
        let protocol = if tls == "1.2" { "HTTP/1.1" } else { "HTTP/2.0" };
        assert_eq!(said[0]["protocol"], protocol);
        let pid = client.pid();
        let finished = client.finish(LINE);
        assert!(finished.status.success(), "{}", finished.errors());
        ends.push((pid, server, port, tls, said, build));
    }
    for server in &servers {
        wait_for_both_ends(&agent, server.port, 2);
    }
    let events = agent.stop();
    let mut zoo = Zoo::open("go");
    for (client, server, port, tls, said, (version, kind)) in ends {
        let at_client = events.of_pid(client);
        assert_read(one(&at_client), tls, &said);
        let source_port = &one(&at_client).connection["source"]["address"]["port"];
        let at_server: Vec<Capture> = (events.of_pid(server).into_iter())
            .filter(|capture| capture.connection["source"]["address"]["port"] == *source_port)
            .collect();
        let at_server = one(&at_server);
        assert_read(at_server, tls, &said);
        assert_eq!(at_server.connection["destination"]["address"]["port"], port);
        assert_eq!(at_server.connection["direction"], "ingress");
        let column = if tls == "1.2" {
            Column::Http1
        } else {
            Column::Http2
        };
        for side in [Side::Client, Side::Server] {
            zoo.check(&row(version, kind, side), column, read);
        }
    }
    zoo.finish();
}

fn row(version: &str, kind: &str, side: Side) -> Runtime {
    let build = match kind {
        "normal" => "with symbols",
        "stripped" => "`-s -w`",
        "pie" => "`-buildmode=pie -s -w`",
        "cgo-pie" => "cgo, `-buildmode=pie -s -w`",
        other => other,
    };
    Runtime {
        name: "Go net/http".to_owned(),
        version: version.to_owned(),
        library: "crypto/tls".to_owned(),
        build: build.to_owned(),
        side,
    }
}

/// What all checks before have found.
fn read() -> Found {
    Found::Read("secrets".to_owned())
}

/// "reverse proxy": `httputil.ReverseProxy`, one process that is server and client, on connections of different protocols.
#[test]
fn a_reverse_proxy_is_read_on_both_sides() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let agent = Agent::start(&Config::default());
    let mut chains = Vec::new();
    for (version, kind) in [("1.21.13", "stripped"), ("1.27.3", "pie")] {
        let program = built(version, kind);
        let server = Server::start(&program, "server", &certificates, &["-http1"]);
        let target = format!("https://origin.qtap.test:{}", server.port);
        let proxy = Server::start(&program, "proxy", &certificates, &["-target", &target]);
        let client = client(&program, &certificates, proxy.port, &["-count", "3"]);
        chains.push((server, proxy, client));
    }
    std::thread::sleep(PROBED);
    let mut ends = Vec::new();
    for (server, proxy, mut client) in chains {
        let said: Vec<Value> = (0..3).map(|_| request(&mut client)).collect();
        assert_eq!(said[0]["protocol"], "HTTP/2.0");
        assert!(client.finish(LINE).status.success());
        let pids = [server.pid(), proxy.pid()];
        let ports = [server.port, proxy.port];
        // The proxy keeps its connection until it ends.
        drop(proxy);
        drop(server);
        for port in ports {
            wait_for_both_ends(&agent, port, 1);
        }
        ends.push((pids, ports, said));
    }
    let events = agent.stop();
    for ([server, proxy], [server_port, proxy_port], said) in ends {
        let http1: Vec<Value> = (said.iter().cloned())
            .map(|mut said| {
                said["protocol"] = json!("HTTP/1.1");
                said
            })
            .collect();
        let both = events.of_pid(proxy);
        assert_eq!(both.len(), 2, "{both:#?}");
        for capture in &both {
            if capture.connection["direction"] == "ingress" {
                assert_eq!(capture.connection["destination"]["address"]["port"], proxy_port);
                assert_read(capture, "1.3", &said);
            } else {
                assert_eq!(capture.connection["destination"]["address"]["port"], server_port);
                assert_read(capture, "1.3", &http1);
            }
        }
        assert_read(one(&events.of_pid(server)), "1.3", &http1);
        assert_read(one(&events.of_port(proxy_port, Side::Client)), "1.3", &said);
    }
}

/// A resumed session of TLS 1.2 derives its keys from the secret of the first, which Go does not hand out again.
#[test]
fn resumed_sessions_are_read() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let agent = Agent::start(&Config::default());
    let program = built("1.24.11", "stripped");
    for tls in ["1.2", "1.3"] {
        let server = Server::start(&program, "server", &certificates, &["-tls", tls]);
        let mut client = client(&program, &certificates, server.port, &["-fresh", "-count", "3"]);
        std::thread::sleep(PROBED);
        let said: Vec<Value> = (0..3).map(|_| request(&mut client)).collect();
        let resumed: Vec<&Value> = said.iter().map(|said| &said["resumed"]).collect();
        assert_eq!(resumed, [false, true, true]);
        assert!(client.finish(LINE).status.success());
        wait_for_both_ends(&agent, server.port, 3);
        for side in [Side::Client, Side::Server] {
            let captures = agent.events().of_port(server.port, side);
            assert_eq!(captures.len(), 3);
            for (capture, said) in captures.iter().zip(&said) {
                assert_read(capture, tls, std::slice::from_ref(said));
            }
        }
    }
    let _ = agent.stop();
}

/// Both ends of each connection in one process: the secrets of one are those of the other, and goroutines of both share threads.
#[test]
fn a_program_that_talks_to_itself_is_read_at_both_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let agent = Agent::start(&Config::default());
    for (tls, count) in [("1.2", "10"), ("1.3", "10")] {
        let arguments = ["-tls", tls, "-http1", "-fresh", "-count", count, SIZE];
        let mut program = Server::start(&built("1.27.3", "normal"), "self", &certificates, &arguments);
        std::thread::sleep(PROBED);
        let said: Vec<Value> = (0..10).map(|_| request(&mut program.program)).collect();
        let port = program.port;
        assert!(program.program.finish(LINE).status.success());
        wait_for_both_ends(&agent, port, 10);
        for side in [Side::Client, Side::Server] {
            let captures = agent.events().of_port(port, side);
            assert_eq!(captures.len(), 10);
            for (capture, said) in captures.iter().zip(&said) {
                assert_read(capture, tls, std::slice::from_ref(said));
            }
        }
    }
    let _ = agent.stop();
}

/// Requests of a late client: one before the agent, one that tells it that calls are needed, two that have to be read.
const LATE_REQUESTS: usize = 4;

/// A client whose connection is older than the agent, what it says, and which of the responses is asked of it: their sizes tell clients
/// apart.
struct LateClient {
    program: Program,
    said: Vec<Value>,
    tls: &'static str,
    path: String,
    server: u32,
    port: u16,
    build: (&'static str, &'static str),
}

/// "Calls serve connections older than the agent": every version and build, both ends, HTTP/1.1 over TLS 1.2 and HTTP/2 over TLS 1.3.
#[test]
fn connections_older_than_the_agent_are_read_by_calls_at_both_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for version in VERSIONS {
        for kind in KINDS {
            let program = built(version, kind);
            let server = Server::start(&program, "server", &certificates, &[]);
            let count = LATE_REQUESTS.to_string();
            for (tls, arguments) in [
                ("1.2", &["-count", &count, "-tls", "1.2", "-http1"][..]),
                ("1.3", &["-count", &count, "-tls", "1.3"][..]),
            ] {
                let path = format!("/bytes/{}", 50_001 + clients.len());
                let url = format!("https://go.qtap.test:{}{path}", server.port);
                let arguments: Vec<&str> = arguments.iter().copied().chain([url.as_str()]).collect();
                clients.push(LateClient {
                    program: start(&program, "client", &certificates, &arguments),
                    said: Vec::new(),
                    tls,
                    path,
                    server: server.pid(),
                    port: server.port,
                    build: (version, kind),
                });
            }
            servers.push(server);
        }
    }
    for client in &mut clients {
        client.said.push(request(&mut client.program));
    }
    let agent = Agent::start(&Config::default());
    for client in &clients {
        agent.wait_until_found(client.program.pid(), "gotls");
        agent.wait_until_found(client.server, "gotls");
    }
    for wait in [3 * PROBED, PROBED, Duration::ZERO] {
        for client in &mut clients {
            client.said.push(request(&mut client.program));
        }
        std::thread::sleep(wait);
    }
    let mut ends = Vec::new();
    for client in clients {
        let pid = client.program.pid();
        let finished = client.program.finish(LINE);
        assert!(finished.status.success(), "{}", finished.errors());
        ends.push((
            pid,
            client.said,
            client.tls,
            client.path,
            client.server,
            client.port,
            client.build,
        ));
    }
    for server in &servers {
        wait_for_both_ends(&agent, server.port, 2);
    }
    assert_eq!(lost_calls(&agent), 0.0, "every socket was found");
    let events = agent.stop();
    let mut zoo = Zoo::open("go-late");
    for (client, said, tls, path, server, port, (version, kind)) in ends {
        let at_client = events.of_pid(client);
        let column = if tls == "1.2" {
            Column::LateHttp1
        } else {
            Column::LateHttp2
        };
        let source_port = &one(&at_client).connection["source"]["address"]["port"];
        let at_server: Vec<Capture> = (events.of_port(port, Side::Server).into_iter())
            .filter(|capture| capture.connection["source"]["address"]["port"] == *source_port)
            .collect();
        zoo.check(&row(version, kind, Side::Client), column, || {
            assert_late(one(&at_client), &path, &said)
        });
        zoo.check(&row(version, kind, Side::Server), column, || {
            let capture = one(&at_server);
            assert_eq!(
                capture.connection["destination"]["pid"], server,
                "{:#}",
                capture.connection
            );
            assert_late(capture, &path, &said)
        });
    }
    zoo.finish();
}

fn lost_calls(agent: &Agent) -> f64 {
    agent.system_metric("qtap_capture_lost_total", &["tls_call_bytes_lost_unattributed"])
}

/// The last two requests were read by calls, and nothing that calls itself whole is another's or wrong. Of HTTP/2 the tables that the first
/// heads filled are unknown, so heads may be partial, which is said; bodies are whole.
fn assert_late(capture: &Capture, path: &str, said: &[Value]) -> Found {
    let connection = &capture.connection;
    assert!(capture.reasons().contains(&"joined_midstream"), "{connection:#}");
    assert_eq!(
        connection["meta"]["tlsProbeTypesDetected"],
        json!(["gotls"]),
        "{connection:#}"
    );
    assert_eq!(connection["meta"]["tlsSource"], "calls", "{connection:#}");
    let mut read = Vec::new();
    for transaction in &capture.transactions {
        if transaction["incomplete"] == true || transaction["outcome"] != "complete" {
            continue;
        }
        let bodies = ["request", "response"].map(|part| body_digest(&transaction[part]));
        let number = said
            .iter()
            .position(|said| json!(bodies) == json!([said["sent"], said["received"]]))
            .unwrap_or_else(|| panic!("no such request was made: {}", outline(transaction)));
        if !is_flagged(transaction) {
            assert_eq!(transaction["request"]["method"], "POST");
            assert_eq!(transaction["request"]["path"], *path, "{}", outline(transaction));
            assert_eq!(transaction["response"]["status"], said[number]["status"]);
        }
        read.push(number);
    }
    let wanted: Vec<usize> = (LATE_REQUESTS - 2..LATE_REQUESTS).collect();
    let last: Vec<usize> = read
        .iter()
        .copied()
        .filter(|number| wanted.contains(number))
        .collect();
    assert_eq!(last, wanted, "of {read:?}: {connection:#}");
    Found::Read("calls".to_owned())
}

fn body_digest(part: &Value) -> String {
    let body = STANDARD.decode(part["body"].as_str().unwrap_or_default());
    hex_sha256(&body.expect("a body in base64"))
}
