//! Connections that are older than the agent.
//!
//! Required: "The agent started in the middle of keep-alive TLS connections (HTTP/1.1 and 2):
//! captured from the next request, marked `joined_midstream`."

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Nginx, Program, PythonServer, Side, assert_truth, client,
    deterministic_bytes, free_port, headers_of, hex_sha256, one, programs, scratch, until, venv,
    wait_for_both_ends,
};

const LINE: Duration = Duration::from_secs(20);

/// Flag, reason and verdict of a connection that was joined.
fn assert_joined(capture: &Capture) {
    assert_eq!(
        capture.connection["joinedMidstream"], true,
        "{:#}",
        capture.connection
    );
    assert!(
        capture.reasons().contains(&"joined_midstream"),
        "{:#}",
        capture.connection
    );
    assert_eq!(capture.status(), "degraded", "{:#}", capture.connection);
}

/// HTTP/1.1 in cleartext or over TLS: one request before the agent starts, three after.
fn http1(scheme: &str) {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = match scheme {
        "https" => PythonServer::https(folder.path(), &certificates, &[]),
        _ => PythonServer::http(folder.path()),
    };
    let url = format!("{scheme}://joined.qtap.test:{}/bytes/30721", server.port);
    let mut command = client("http-client");
    command
        .arg(&url)
        .args(["--gate", "--count", "4", "--ca"])
        .arg(&certificates.authority)
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    let pid = program.pid();
    assert_eq!(program.line(LINE), "done 1");
    let agent = Agent::start(&Config::default());
    for number in 2..=3 {
        program.say("go");
        assert_eq!(program.line(LINE), format!("done {number}"));
    }
    program.say("go");
    assert!(program.finish(LINE).status.success());
    wait_for_both_ends(&agent, server.port, 1);
    let truths = server.truths("transaction", 4);
    let events = agent.stop();
    for (pid, side) in [(pid, Side::Client), (server.pid(), Side::Server)] {
        let captures = events.of_pid(pid);
        let capture = one(&captures);
        assert_joined(capture);
        assert_eq!(capture.transactions.len(), 3, "{:#?}", capture.transactions);
        for (transaction, truth) in capture.transactions.iter().zip(&truths[1..]) {
            assert_truth(transaction, truth, side);
        }
        if scheme == "https" {
            assert_eq!(capture.connection["meta"]["tlsSource"], "calls");
        }
    }
}

/// "keep-alive TLS connections (HTTP/1.1 …)".
#[test]
fn http1_over_tls_is_captured_from_the_next_request() {
    http1("https");
}

/// The same in cleartext, known from the "`task_file` iterator pass for sockets that exist at start".
#[test]
fn http1_in_cleartext_is_captured_from_the_next_request() {
    http1("http");
}

/// "keep-alive TLS connections (… 2)": OpenSSL 1.1.1 at the client, 3 at the server; P-2a and protocols.md 4.4.
#[test]
fn http2_over_tls_is_captured_from_the_next_request() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let server = format!(
        "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {}; }}",
        certificates.certificate.display(),
        certificates.key.display()
    );
    let nginx = Nginx::start(folder.path(), &server, &[port]);
    let document = deterministic_bytes(50_000);
    nginx.put("document", &document);
    let mut command = Command::new(venv().join("bin/python"));
    command
        .arg(programs().join("pycurl_client.py"))
        .arg(format!("https://joined.qtap.test:{port}/document"));
    command
        .args(["--gate", "--count", "4", "--ca"])
        .arg(&certificates.authority)
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    let pid = program.pid();
    assert_eq!(program.line(LINE), "done 0");
    program.say("go");
    assert_eq!(program.line(LINE), "done 1");
    let agent = Agent::start(&Config::default());
    for number in 2..=3 {
        program.say("go");
        assert_eq!(program.line(LINE), format!("done {number}"));
    }
    program.say("go");
    let finished = program.finish(LINE);
    let answers = finished.json()["answers"].clone();
    assert_eq!(
        (&answers[0]["connects"], &answers[3]["connects"]),
        (&1.into(), &0.into()),
        "one connection: {answers}"
    );
    wait_for_both_ends(&agent, port, 1);
    let events = agent.stop();
    let clients = events.of_pid(pid);
    let servers = events.of_port(port, Side::Server);
    for capture in [one(&clients), one(&servers)] {
        assert_joined(capture);
        assert_eq!(capture.connection["l7Protocol"], "http2");
        assert_eq!(capture.transactions.len(), 3, "{:#?}", capture.transactions);
        for (number, transaction) in (1..).zip(&capture.transactions) {
            assert_eq!(transaction["outcome"], "complete");
            assert_eq!(transaction["response"]["status"], 200);
            let body = transaction["response"]["body"].as_str().unwrap();
            assert_eq!(hex_sha256(&decode(body)), hex_sha256(&document));
            // A field whose name is in a table from before the capture is left out, and its lack is told.
            match headers_of(&transaction["request"]).get("x-number") {
                Some(value) => assert_eq!(*value, [number.to_string()]),
                None => assert_eq!(transaction["headers_partial"], true),
            }
            assert_eq!(transaction["request"]["path"], format!("/document?n={number}"));
            assert_eq!(transaction["request"]["method"], "GET");
        }
    }
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// "says why": a joined TLS connection that only secrets could have served is blind, with its reason.
#[test]
fn without_calls_a_joined_connection_is_blind_and_says_so() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let url = format!("https://joined.qtap.test:{}/bytes/100", server.port);
    let mut command = client("http-client");
    command
        .arg(&url)
        .args(["--gate", "--count", "2", "--ca"])
        .arg(&certificates.authority)
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    let pid = program.pid();
    assert_eq!(program.line(LINE), "done 1");
    let agent = Agent::start(&Config {
        tls_source: "secrets",
        ..Config::default()
    });
    program.say("go");
    assert!(program.finish(LINE).status.success());
    agent.wait_for_connections(&[pid, server.pid()], 2);
    let events = agent.stop();
    for pid in [pid, server.pid()] {
        let captures = events.of_pid(pid);
        let capture = one(&captures);
        assert_eq!(capture.status(), "blind", "{:#}", capture.connection);
        assert!(
            capture.reasons().contains(&"joined_midstream"),
            "{:#}",
            capture.connection
        );
        assert_eq!(capture.connection["health"]["checks"]["tls_probe"], "missing");
        assert!(capture.transactions.is_empty());
    }
}

/// More idle connections than the control ring has room for, which nothing but a look at all descriptors can tell.
#[test]
fn idle_connections_are_all_known_though_the_control_ring_is_small() {
    const PAIRS: usize = 300;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _idle: Vec<_> = (0..PAIRS)
        .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap()))
        .collect();
    let agent = Agent::start(&Config {
        limits: "control_ring: 32kb, body: 1mb".to_owned(),
        ..Config::default()
    });
    until(LINE, "both ends of every connection", || {
        agent.system_metric("qtap_engine_connections", &[]) >= 2.0 * PAIRS as f64
    });
    let without_room = ["reason=\"opened_retried_ring_full\""];
    assert!(
        agent.system_metric("qtap_capture_lost_total", &without_room) > 0.0,
        "the first look had room for them"
    );
    drop(agent.stop());
}
