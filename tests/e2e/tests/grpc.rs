//! gRPC between real clients and servers, plain and TLS, as both ends see it; every count and every message is compared with what the
//! programs themselves saw.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qtap_e2e::{
    Agent, Capture, Certificates, Config, Events, Nginx, Program, Side, Transport, assert_healthy, free_port,
    hex_sha256, programs, run_ok, runtime, scratch, until, wheels_python,
};
use serde_json::{Value, json};

/// Longest until a server is up on a busy machine.
const START: Duration = Duration::from_secs(60);
const FAILURE: &str = "no such thing: 100% of grüße";
/// Kind of each call, by its method.
const TYPES: [(&str, &str); 9] = [
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
enum Library {
    /// C core under Python, with BoringSSL linked in.
    Python,
    /// `@grpc/grpc-js` on the HTTP/2 and OpenSSL of Node.js.
    Node,
}

impl Library {
    fn command(self, mode: &str) -> Command {
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

struct Server {
    program: Program,
    plain: u16,
    tls: u16,
}

impl Server {
    fn start(library: Library, certificates: &Certificates) -> Self {
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

    fn port(&self, transport: Transport) -> u16 {
        match transport {
            Transport::Plain => self.plain,
            Transport::Tls => self.tls,
        }
    }

    /// What it saw, in the order in which its calls ended.
    fn stop(self) -> Vec<Value> {
        let finished = self.program.finish(Duration::from_secs(20));
        assert!(finished.status.success(), "{}", finished.errors());
        finished.json().as_array().unwrap().clone()
    }
}

/// A client that waits for the word to go.
struct Client {
    program: Program,
    what: String,
    transport: Transport,
    server: Library,
    port: u16,
}

impl Client {
    /// Started, and not waited for: most of the time goes into reading its library.
    fn spawn(mut command: Command, library: Library, to: (Library, u16), authority: Option<&Path>) -> Self {
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

    fn welcome(&mut self) {
        assert_eq!(self.program.line(START), "ready", "{}", self.what);
    }

    /// Makes its calls, to the end.
    fn go(mut self) -> Run {
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
struct Run {
    what: String,
    transport: Transport,
    server: Library,
    pid: u32,
    port: u16,
    /// What it saw, by method.
    seen: BTreeMap<String, Value>,
}

fn by_method(seen: &[Value]) -> BTreeMap<String, Value> {
    seen.iter()
        .map(|call| (call["method"].as_str().unwrap().to_owned(), call.clone()))
        .collect()
}

/// An agent that says of every call all that it can.
fn agent() -> Agent {
    let plugins = "      - type: report_usage\n      - type: access_logs\n        config: {mode: summary, format: json}\n";
    let config = Config::default().to_string();
    Agent::start_with(&config.replace("      - type: report_usage\n", plugins), &[])
}

fn client_end(events: &Events, run: &Run) -> Vec<Capture> {
    events
        .of_pid(run.pid)
        .into_iter()
        .filter(|capture| capture.connection["destination"]["address"]["port"] == run.port)
        .collect()
}

/// The other ends of these connections.
fn server_end(events: &Events, run: &Run) -> Vec<Capture> {
    let ports: BTreeSet<u64> = client_end(events, run)
        .iter()
        .map(|capture| capture.connection["source"]["address"]["port"].as_u64().unwrap())
        .collect();
    events
        .of_port(run.port, Side::Server)
        .into_iter()
        .filter(|capture| {
            let port = &capture.connection["source"]["address"]["port"];
            port.as_u64().is_some_and(|port| ports.contains(&port))
        })
        .collect()
}

/// Waits until every connection of these runs is over at both ends, and ends the agent.
fn end(agent: Agent, runs: &[Run]) -> Events {
    until(Duration::from_secs(30), "both ends of every connection", || {
        let events = agent.events();
        runs.iter().all(|run| {
            let (clients, servers) = (client_end(&events, run), server_end(&events, run));
            !clients.is_empty() && clients.len() == servers.len()
        })
    });
    agent.stop()
}

/// Event and artifact of the one call of a method.
fn of_method<'a>(captures: &'a [Capture], method: &str) -> (&'a Value, &'a Value) {
    let is_it = |event: &&Value, key: &str| event[key] == method;
    let events: Vec<_> = captures
        .iter()
        .flat_map(|capture| &capture.requests)
        .filter(|event| is_it(event, "grpcMethod"))
        .collect();
    let artifacts: Vec<_> = captures
        .iter()
        .flat_map(|capture| &capture.transactions)
        .filter(|artifact| is_it(artifact, "method"))
        .collect();
    assert_eq!((events.len(), artifacts.len()), (1, 1), "{method}: {captures:#?}");
    assert_eq!(events[0]["requestId"], artifacts[0]["metadata"]["request_id"]);
    (events[0], artifacts[0])
}

/// Sizes and SHA-256 of the messages of a part of an artifact, as the programs write them.
fn shown(part: &Value) -> Vec<Value> {
    let messages = part["messages"].as_array().cloned().unwrap_or_default();
    messages
        .iter()
        .map(|message| {
            assert!(
                message["truncated"].is_null() && message["decode_error"].is_null(),
                "{message}"
            );
            let data = STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
            json!({"size": data.len(), "sha256": hex_sha256(&data)})
        })
        .collect()
}

fn sum(messages: &[Value]) -> u64 {
    messages
        .iter()
        .map(|message| message["size"].as_u64().unwrap())
        .sum()
}

/// What the agent says of one direction is what the program saw of it.
fn assert_messages(method: &str, told: &Value, shown: &[Value], seen: &[Value], what: &str) {
    if method == "Cancelled" && seen.len() > 1 {
        // How many were on their way when the client gave up is not the client's to know.
        assert!(told["count"].as_u64().unwrap() >= 2, "{what}: {told}");
        assert_eq!(shown.len() as u64, told["count"].as_u64().unwrap(), "{what}");
        assert!(shown.iter().all(|message| *message == seen[0]), "{what}");
        return;
    }
    assert_eq!(told["count"], seen.len(), "{what}: {told}");
    assert_eq!(shown, seen, "{what}");
    for flag in ["unfinished", "incomplete"] {
        assert!(told[flag].is_null(), "{what}: {told}");
    }
    if told["compressed"].is_null() {
        assert_eq!(told["bytes"], sum(seen), "{what}: {told}");
    } else {
        assert_eq!(
            (&told["compressed"], &told["encoding"]),
            (&json!(1), &json!("gzip")),
            "{what}"
        );
        let bytes = told["bytes"].as_u64().unwrap();
        assert!((1..sum(seen)).contains(&bytes), "{what}: {told}");
    }
}

/// What the agent says of a call is what its client saw of it.
fn assert_call(captures: &[Capture], method: &str, call_type: &str, run: &Run) {
    let (event, artifact) = of_method(captures, method);
    let what = format!("{method} of {}: {event:#}", run.what);
    let seen = &run.seen[method];
    let list = |key: &str| seen[key].as_array().unwrap().clone();
    assert_eq!(
        (&event["type"], &event["grpcService"]),
        (&json!("grpc_request"), &json!("e2e.Calls"))
    );
    assert_eq!(event["call_type"], call_type, "{what}");
    assert_eq!(event["grpcStatus"], seen["status"].to_string(), "{what}");
    let (name, status) = match seen["status"].as_u64().unwrap() {
        0 => ("OK", 200),
        1 => ("CANCELLED", 499),
        4 => ("DEADLINE_EXCEEDED", 504),
        5 => ("NOT_FOUND", 404),
        12 => ("UNIMPLEMENTED", 501),
        other => panic!("status {other}"),
    };
    assert_eq!(
        (&event["grpcStatusName"], &event["status"]),
        (&json!(name), &json!(status)),
        "{what}"
    );
    for key in ["grpc_status", "grpc_status_name", "grpc_message"] {
        assert_eq!(artifact[key], artifact["response"][key], "{what}");
    }
    assert_eq!(
        (&artifact["grpc_status_name"], &artifact["service"]),
        (&json!(name), &json!("e2e.Calls"))
    );
    let is_sent = |source: &Value| source == "trailers" || source == "head";
    match method {
        "Cancelled" => {
            assert_eq!(
                (&event["outcome"], &event["error_code"]),
                (&json!("reset"), &json!(8)),
                "{what}"
            );
            assert_eq!(event["grpc_status_source"], "reset", "{what}");
        }
        "Slow" => {
            let timeout = event["timeout_ms"].as_f64().unwrap();
            assert!((250.0..=310.0).contains(&timeout), "{what}");
            // Whichever end counts faster says so first.
            let source = &event["grpc_status_source"];
            assert!(is_sent(source) || source == "deadline", "{what}");
        }
        _ => {
            assert!(is_sent(&event["grpc_status_source"]), "{what}");
            assert_eq!(
                (&event["timeout_ms"], &event["http_status"]),
                (&Value::Null, &json!(200)),
                "{what}"
            );
            // A client does not tell what came with OK.
            if seen["status"] != 0 {
                assert_eq!(event["grpcMessage"], seen["message"], "{what}");
            }
        }
    }
    if method == "Fail" {
        assert_eq!(
            (&event["grpcMessage"], &event["grpc_status_details"]),
            (&json!(FAILURE), &json!(true))
        );
    }
    let told = &event["messages"];
    assert_messages(
        method,
        &told["request"],
        &shown(&artifact["request"]),
        &list("sent"),
        &what,
    );
    assert_messages(
        method,
        &told["response"],
        &shown(&artifact["response"]),
        &list("received"),
        &what,
    );
    if method == "Packed" {
        assert_eq!(told["request"]["compressed"], 1, "{what}");
        // grpc-js does not compress what it answers.
        let answers = u64::from(run.server == Library::Python);
        assert_eq!(
            told["response"]["compressed"].as_u64().unwrap_or(0),
            answers,
            "{what}"
        );
    }
}

/// "All four call kinds, statuses, messages counted and sized, gzip, deadlines, cancellation", grpcio and grpc-js, each with each.
#[test]
fn every_call_of_every_library_is_told_as_the_programs_saw_it() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let libraries = [Library::Python, Library::Node];
    let servers = libraries.map(|library| (library, Server::start(library, &certificates)));
    let mut clients = Vec::new();
    for (server, started) in &servers {
        for library in libraries {
            for transport in [Transport::Plain, Transport::Tls] {
                let authority = (transport == Transport::Tls).then_some(&*certificates.authority);
                let to = (*server, started.port(transport));
                clients.push(Client::spawn(library.command("client"), library, to, authority));
            }
        }
    }
    clients.iter_mut().for_each(Client::welcome);
    let agent = agent();
    let runs: Vec<Run> = clients.into_iter().map(Client::go).collect();
    let events = end(agent, &runs);
    for run in &runs {
        for captures in [client_end(&events, run), server_end(&events, run)] {
            for capture in &captures {
                assert_healthy(capture, run.transport);
                assert_eq!(capture.connection["l7Protocol"], "grpc", "{}", run.what);
                assert!(
                    capture
                        .requests
                        .iter()
                        .all(|event| event["type"] == "grpc_request")
                );
            }
            let calls: usize = captures.iter().map(|capture| capture.requests.len()).sum();
            assert_eq!(calls, TYPES.len(), "{}", run.what);
            for (method, call_type) in TYPES {
                assert_call(&captures, method, call_type, run);
            }
            assert_access_log(&events, &captures, &run.what);
        }
    }
    for (library, server) in servers {
        let seen = server.stop();
        assert_server(&seen, &runs, library);
    }
}

/// One line of the access log for each call.
fn assert_access_log(events: &Events, captures: &[Capture], what: &str) {
    for event in captures.iter().flat_map(|capture| &capture.requests) {
        let lines: Vec<&Value> = events
            .iter()
            .filter(|line| line["msg"] == "gRPC transaction" && line["request_id"] == event["requestId"])
            .collect();
        assert_eq!(lines.len(), 1, "{what}: {event:#}");
        for (key, of_event) in [
            ("service", "grpcService"),
            ("method", "grpcMethod"),
            ("grpc_status", "grpcStatus"),
            ("grpc_status_name", "grpcStatusName"),
            ("messages", "messages"),
        ] {
            assert_eq!(lines[0][key], event[of_event], "{what}");
        }
    }
}

/// The server saw what the clients say, and so what the agent says: but for calls that were given up, of which it saw as much.
fn assert_server(seen: &[Value], runs: &[Run], library: Library) {
    let clients: Vec<&Run> = runs.iter().filter(|run| run.server == library).collect();
    for (method, _) in TYPES.iter().filter(|(method, _)| *method != "Missing") {
        let calls: Vec<&Value> = seen.iter().filter(|call| call["method"] == *method).collect();
        assert_eq!(calls.len(), clients.len(), "{method} at {library:?}");
        for (call, run) in calls.iter().zip(&clients) {
            let of_client = &run.seen[*method];
            assert_eq!(call["received"], of_client["sent"], "{method} at {library:?}");
            if *method == "Cancelled" {
                let sent = call["sent"].as_array().unwrap();
                assert!(sent.len() >= of_client["received"].as_array().unwrap().len());
            } else {
                assert_eq!(call["sent"], of_client["received"], "{method} at {library:?}");
            }
        }
    }
}

/// P-G7: the agent comes while the connection is under way, so the tables that its first heads filled are unknown. Every later call is
/// told, its messages are counted exactly, and what is not known is not made up.
#[test]
fn calls_on_a_connection_older_than_the_agent_are_counted_and_nothing_is_made_up() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    for library in [Library::Python, Library::Node] {
        let server = Server::start(library, &certificates);
        let mut command = library.command("client");
        command.env("HOLD", "1");
        let mut client = Client::spawn(command, library, (library, server.plain), None);
        client.welcome();
        let agent = agent();
        let run = client.go();
        let runs = [run];
        let events = end(agent, &runs);
        server.stop();
        for captures in [client_end(&events, &runs[0]), server_end(&events, &runs[0])] {
            let older = captures
                .iter()
                .find(|capture| capture.connection["joinedMidstream"] == true);
            let older = older.unwrap_or_else(|| panic!("no older connection: {captures:#?}"));
            let calls: Vec<&Value> = captures.iter().flat_map(|capture| &capture.requests).collect();
            let told: Vec<String> = calls.iter().map(|call| call.to_string()).collect();
            for call in &calls {
                let (method, status) = (call["grpcMethod"].as_str(), call["grpcStatus"].as_str());
                let Some(method) = method.filter(|method| *method != "*") else {
                    assert_eq!(call["headers_partial"], true, "{call:#}");
                    continue;
                };
                let seen = &runs[0].seen[method];
                if call["grpc_status_unknown"] == true {
                    assert_eq!(
                        (status, &call["headers_partial"]),
                        (Some(""), &json!(true)),
                        "{call:#}"
                    );
                } else {
                    assert_eq!(status, Some(&*seen["status"].to_string()), "{call:#}");
                }
            }
            // Both ways, told by nothing but their own bytes where the heads say nothing.
            for method in ["Up", "Down", "Both"] {
                let seen = &runs[0].seen[method];
                let count = |key: &str| seen[key].as_array().unwrap().len();
                let is_it = |call: &&&Value| {
                    let messages = &call["messages"];
                    messages["request"]["count"] == count("sent")
                        && messages["response"]["count"] == count("received")
                        && messages["request"]["bytes"] == sum(seen["sent"].as_array().unwrap())
                        && messages["response"]["bytes"] == sum(seen["received"].as_array().unwrap())
                };
                assert_eq!(calls.iter().filter(is_it).count(), 1, "{method}: {told:#?}");
            }
            assert_eq!(older.connection["l7Protocol"], "grpc");
        }
    }
}

/// gRPC-Web in its binary and its text form over HTTP/1.1, and over HTTP/2 and TLS behind nginx: the status is in the body.
#[test]
fn grpc_web_is_read_over_either_http() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let python = |mode: &str| {
        let mut command = Command::new(wheels_python());
        command
            .arg(programs().join("grpc/web.py"))
            .arg(mode)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let mut server = Program::start(python("server").stdin(Stdio::piped()));
    let line = server.line(START);
    let facts: Value = serde_json::from_str(line.strip_prefix("ready ").unwrap()).unwrap();
    let port = u16::try_from(facts["port"].as_u64().unwrap()).unwrap();
    let front = free_port();
    let proxy = format!(
        "server {{ listen 127.0.0.1:{front} ssl http2; ssl_certificate {}; ssl_certificate_key {}; \
         location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; }} }}",
        certificates.certificate.display(),
        certificates.key.display(),
    );
    let _nginx = Nginx::start(folder.path(), &proxy, &[front]);
    let agent = agent();
    let binary = run_ok(python("client").arg(format!("http://127.0.0.1:{port}")));
    let text = run_ok(python("text").args(["127.0.0.1", &port.to_string()]));
    let request = folder.path().join("request");
    std::fs::write(&request, b"\0\0\0\0\x03abc").unwrap();
    let curl = run_ok(
        Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--http2",
                "--noproxy",
                "*",
                "--cacert",
            ])
            .arg(&certificates.authority)
            .args([
                "-H",
                "Content-Type: application/grpc-web+proto",
                "-H",
                "Accept: application/grpc-web+proto",
            ])
            .arg("--data-binary")
            .arg(format!("@{}", request.display()))
            .arg(format!("https://localhost:{front}/e2e.Web/Unary")),
    );
    assert!(
        curl.stdout.starts_with(b"\0\0\0\0\x03abc\x80"),
        "{:?}",
        curl.stdout
    );
    let runs = [(&binary, 3), (&text, 1), (&curl, 1)];
    until(Duration::from_secs(20), "every call", || {
        let events = agent.events();
        runs.iter().all(|(client, calls)| {
            let captures = events.of_pid(client.pid);
            captures
                .iter()
                .map(|capture| capture.requests.len())
                .sum::<usize>()
                == *calls
        })
    });
    let events = agent.stop();
    for (client, web, protocol) in [(&binary, "binary", "http1"), (&text, "text", "http1")] {
        let captures = events.of_pid(client.pid);
        for capture in &captures {
            assert_eq!(capture.connection["l7Protocol"], protocol);
        }
        for seen in client.json().as_array().unwrap() {
            let method = seen["method"].as_str().unwrap();
            let (event, artifact) = of_method(&captures, method);
            let what = format!("{method}, {web}: {event:#}");
            assert_eq!(
                (&event["grpc_web"], &event["grpcService"]),
                (&json!(web), &json!("e2e.Web")),
                "{what}"
            );
            assert_eq!(event["grpcStatus"], seen["status"].to_string(), "{what}");
            assert_eq!(
                (&event["grpcMessage"], &event["http_status"]),
                (&seen["message"], &json!(200)),
                "{what}"
            );
            let told = &event["messages"];
            let list = |key: &str| seen[key].as_array().unwrap().clone();
            assert_messages(
                method,
                &told["request"],
                &shown(&artifact["request"]),
                &list("sent"),
                &what,
            );
            assert_messages(
                method,
                &told["response"],
                &shown(&artifact["response"]),
                &list("received"),
                &what,
            );
        }
    }
    let captures = events.of_pid(curl.pid);
    let (event, artifact) = of_method(&captures, "Unary");
    assert_eq!(
        (&event["grpc_web"], &event["grpcStatusName"]),
        (&json!("binary"), &json!("OK"))
    );
    assert_eq!(artifact["request"]["protocol"], "http2");
    assert_eq!(
        artifact["response"]["messages"],
        json!([{"size": 3, "data": STANDARD.encode("abc")}])
    );
    assert_eq!(captures[0].connection["l7Protocol"], "http2");
    assert_healthy(&captures[0], Transport::Tls);
}

/// `tap.grpc.stack` decides for calls alone, by what they are and not by their port.
#[test]
fn calls_go_to_the_stack_of_grpc_and_requests_to_that_of_http() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = Server::start(Library::Python, &certificates);
    let config = Config {
        tap: "  grpc: {stack: none}\n".to_owned(),
        ..Config::default()
    };
    let python = Library::Python;
    let mut client = Client::spawn(python.command("client"), python, (python, server.plain), None);
    client.welcome();
    let agent = Agent::start(&config);
    let runs = [client.go()];
    let events = end(agent, &runs);
    server.stop();
    for capture in [client_end(&events, &runs[0]), server_end(&events, &runs[0])].concat() {
        assert_eq!(
            (capture.requests.len(), capture.transactions.len()),
            (0, 0),
            "{capture:#?}"
        );
        assert_eq!(capture.connection["l7Protocol"], "grpc");
    }
}
