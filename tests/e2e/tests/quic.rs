//! QUIC and HTTP/3: recognised, named and counted (P-Q1).

use std::process::Stdio;
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Program, QuicServer, Side, one, qtap_command, quic, quic_curl, run,
    run_ok, scratch,
};
use serde_json::{Value, json};

/// The one connection of QUIC of a process.
fn single(agent: &Agent, pid: u32) -> Value {
    let events = agent.events();
    let all = events.finished_connections(pid);
    let all: Vec<_> = all
        .into_iter()
        .filter(|event| event["socketProtocol"] == "udp")
        .collect();
    (*one(&all)).clone()
}

fn reasons(connection: &Value) -> Vec<&str> {
    let reasons = connection["health"]["reasons"].as_array().unwrap();
    reasons
        .iter()
        .map(|reason| reason["code"].as_str().unwrap())
        .collect()
}

/// Runs a client and waits for its connection to be over.
fn client(agent: &Agent, command: &mut std::process::Command) -> (Value, Value, u32) {
    let finished = run_ok(command);
    agent.wait_for_connections(&[finished.pid], 1);
    (finished.json(), single(agent, finished.pid), finished.pid)
}

fn aioquic(port: u16, arguments: &[&str]) -> std::process::Command {
    let mut command = quic("client.py");
    command.arg(port.to_string()).args(arguments);
    command
}

#[test]
fn connections_of_http3_are_named_and_their_bytes_counted_at_both_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = QuicServer::start(&certificates, &[]);
    let agent = Agent::start(&Config::default());
    let (got, event, pid) = client(&agent, &mut aioquic(server.port, &[]));
    assert_eq!((&got["status"], &got["body"]), (&json!("200"), &json!(30_000)));

    assert_eq!(event["socketProtocol"], "udp", "{event:#}");
    assert_eq!(event["l7Protocol"], "http3");
    assert_eq!(event["tlsVersion"], "TLS 1.3");
    assert_eq!(event["quic"], json!({"version": 1}));
    let tls = &event["tls"];
    assert_eq!(
        (&tls["sni"], &tls["alpnOffered"]),
        (&json!("quic.qtap.test"), &json!(["h3"]))
    );
    assert!(
        tls["cipher"]
            .as_str()
            .is_some_and(|suite| suite.starts_with("TLS_")),
        "{tls}"
    );
    assert_eq!(event["meta"]["endpointId"], "quic.qtap.test");
    assert_eq!(event["direction"], "egress-internal");
    assert_eq!(event["source"]["pid"], pid);
    assert_eq!(event["source"]["address"]["port"], got["port"]);
    assert_eq!(
        event["destination"]["address"],
        json!({"family": "ipv4", "ip": "127.0.0.1", "port": server.port})
    );
    assert!(event["closedAt"].is_string());
    assert_eq!(
        (&event["bytesSent"], &event["bytesReceived"]),
        (&got["sent"], &got["received"])
    );
    assert_eq!(event["health"]["status"], "blind");
    assert_eq!(reasons(&event), ["quic_unsupported"], "{event:#}");
    assert_eq!(event["health"]["checks"]["tls_hello"], "ok");
    assert_eq!(event["health"]["checks"]["bytes"], "ok");

    // The process that talks QUIC, while the agent runs.
    let mut status = qtap_command();
    let data = agent.config_file().parent().unwrap().join("data");
    status.args(["status", "--json", "--data-dir"]).arg(data);
    let report = run(&mut status).json();
    let all = report["processes"].as_array().unwrap();
    for (pid, open) in [(pid, 0), (server.pid(), 1)] {
        let process = all
            .iter()
            .find(|process| process["pid"] == pid)
            .expect("the process is told");
        assert_eq!(process["state"], "unreadable", "{process:#}");
        assert_eq!(
            (&process["connections"]["quic"], &process["connections"]["open"]),
            (&json!(1), &json!(open))
        );
        assert_eq!(process["reasons"][0]["code"], "quic_unsupported");
    }
    assert!(agent.system_metric("qtap_engine_quic_connections_opened_total", &[]) >= 2.0);
    let unreadable = agent.system_metric("qtap_engine_quic_unreadable_total", &[]);
    assert!(
        unreadable.abs() < f64::EPSILON,
        "{unreadable} datagrams were not understood"
    );

    // Nobody sees that a server's connection is over; the agent's end ends it.
    let port = server.port;
    let events = agent.stop();
    let [accepted]: [Capture; 1] = events
        .of_port(port, Side::Server)
        .try_into()
        .expect("one connection");
    let accepted = accepted.connection;
    assert_eq!(accepted["l7Protocol"], "http3", "{accepted:#}");
    assert_eq!(accepted["tls"]["sni"], "quic.qtap.test");
    assert_eq!(accepted["destination"]["pid"], server.pid());
    assert_eq!(accepted["source"]["address"]["port"], got["port"]);
    assert_eq!(
        (&accepted["bytesSent"], &accepted["bytesReceived"]),
        (&got["received"], &got["sent"])
    );
}

#[test]
fn other_protocols_versions_and_retries_are_told_apart() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let echo = QuicServer::start(&certificates, &["--alpn", "echo", "--retry"]);
    let server = QuicServer::start(&certificates, &[]);
    let agent = Agent::start(&Config::default());

    let (_, event, _) = client(&agent, &mut aioquic(echo.port, &["--alpn", "echo"]));
    assert_eq!(
        (&event["l7Protocol"], &event["quic"]),
        (&json!("quic"), &json!({"version": 1}))
    );
    assert_eq!(
        (&event["tls"]["sni"], &event["tlsVersion"]),
        (&json!("quic.qtap.test"), &json!("TLS 1.3"))
    );
    assert_eq!(event["tls"]["alpnOffered"], json!(["echo"]));

    let (got, event, _) = client(&agent, &mut aioquic(server.port, &["--version", "2"]));
    assert_eq!(
        (&event["l7Protocol"], &event["quic"]),
        (&json!("http3"), &json!({"version": 2}))
    );
    assert_eq!(
        (&event["bytesSent"], &event["bytesReceived"]),
        (&got["sent"], &got["received"])
    );

    // No protocol in common: the server says so, and nothing more passes.
    let (got, event, _) = client(&agent, &mut aioquic(server.port, &["--alpn", "nothing"]));
    assert_eq!(got["status"], "refused");
    assert_eq!(event["l7Protocol"], "quic");
    assert_eq!(event["quic"]["error"], "0x178", "{event:#}");
}

#[test]
fn a_hello_of_a_browser_that_takes_two_datagrams_is_read() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = QuicServer::start(&certificates, &[]);
    let agent = Agent::start(&Config::default());
    let (got, event, _) = client(&agent, &mut quic_curl(server.port));
    assert_eq!((&got["status"], &got["body"]), (&json!(200), &json!(30_000)));
    assert_eq!(event["l7Protocol"], "http3", "{event:#}");
    assert_eq!(event["tls"]["sni"], "curl.qtap.test");
    assert_eq!(event["tlsVersion"], "TLS 1.3");
    assert!(
        event["bytesReceived"]
            .as_u64()
            .is_some_and(|bytes| bytes > 30_000),
        "{event:#}"
    );
    assert_eq!(reasons(&event), ["quic_unsupported"]);
}

#[test]
fn on_a_socket_with_several_peers_what_is_sent_to_each_is_counted() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = QuicServer::start(&certificates, &[]);
    let agent = Agent::start(&Config::default());
    let mut held = Program::start(aioquic(server.port, &["--hold"]).stdin(Stdio::piped()));
    assert_eq!(held.line(Duration::from_secs(20)), "ready");
    let (_, event, _) = client(&agent, &mut aioquic(server.port, &["--name", "second.qtap.test"]));
    assert_eq!(event["tls"]["sni"], "second.qtap.test");
    let first = held.finish(Duration::from_secs(20));
    agent.wait_for_connections(&[first.pid], 1);
    let (port, pid) = (server.port, server.pid());
    let sent = server.finish();
    agent.wait_for_connections(&[pid], 2);
    let events = agent.stop();
    let accepted = events.of_port(port, Side::Server);
    assert_eq!((accepted.len(), sent.len()), (2, 2), "{}", events.outline());
    for capture in accepted {
        let event = capture.connection;
        let peer = event["source"]["address"]["port"].as_u64().unwrap();
        let (_, bytes) = sent.iter().find(|(port, _)| u64::from(*port) == peer).unwrap();
        assert_eq!(event["bytesSent"], *bytes, "{event:#}");
        assert_eq!(event["bytesReceived"], Value::Null);
        assert_eq!(reasons(&event), ["quic_unsupported", "quic_bytes_unknown"]);
        assert!(event["closedAt"].is_string());
    }
}
