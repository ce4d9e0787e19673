//! TLS that begins in the middle of a protocol that is not parsed: SMTP, IMAP and POP3 with curl, and HTTPS through a SOCKS proxy.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Program, PythonServer, Side, Transport, assert_healthy,
    assert_sums, one, python, run_ok, scratch, wait_for_both_ends,
};
use serde_json::json;

fn server(name: &str, certificates: &Certificates) -> (Program, u16) {
    let mut command = python("starttls_server.py");
    command
        .arg(name)
        .arg(&certificates.certificate)
        .arg(&certificates.key);
    let mut program = Program::start(command.stdin(Stdio::piped()));
    let port = program.line(Duration::from_secs(20)).parse().expect("a port");
    (program, port)
}

fn curl(certificates: &Certificates, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--ssl-reqd", "--cacert"]);
    command.arg(&certificates.authority).args(arguments);
    command
}

/// TLS was told and read, and of what is inside it is said that it is none of the known protocols.
fn assert_tls_of_no_known_protocol(name: &str, capture: &Capture, side: Side) {
    let connection = &capture.connection;
    assert_eq!(
        connection["l7Protocol"], "other",
        "{name} {side:?}: {connection:#}"
    );
    assert_eq!(
        connection["tlsVersion"], "TLS 1.3",
        "{name} {side:?}: {connection:#}"
    );
    assert_eq!(connection["tls"]["sni"], "localhost");
    assert_eq!(
        connection["meta"]["tlsSource"], "secrets",
        "{name} {side:?}: {connection:#}"
    );
    assert_eq!(connection["meta"]["endpointId"], "localhost");
    assert_eq!(
        capture.reasons(),
        ["protocol_unknown"],
        "{name} {side:?}: {connection:#}"
    );
    let checks = &connection["health"]["checks"];
    assert_eq!(
        (&checks["tls_hello"], &checks["tls_probe"], &checks["bytes"]),
        (&json!("ok"), &json!("ok"), &json!("ok")),
        "{name} {side:?}: {connection:#}"
    );
    assert_sums(capture);
    assert!(capture.requests.is_empty());
}

#[test]
fn starttls_of_mail_protocols_is_tls_of_no_known_protocol() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let message = folder.path().join("message");
    std::fs::write(&message, "Subject: a test\r\n\r\nwith TLS\r\n").expect("write a file");
    let message = message.to_string_lossy().into_owned();
    let sends = [
        "--mail-from",
        "a@example",
        "--mail-rcpt",
        "b@example",
        "--upload-file",
        &message,
    ];
    let servers = ["smtp", "imap", "pop3"].map(|name| (name, server(name, &certificates)));
    let agent = Agent::start(&Config::default());
    for (name, (_, port)) in &servers {
        let url = format!("{name}://localhost:{port}/");
        let mut arguments = vec!["-4", &*url];
        if *name == "smtp" {
            arguments.extend(sends);
        }
        let finished = run_ok(&mut curl(&certificates, &arguments));
        wait_for_both_ends(&agent, *port, 1);
        let events = agent.events();
        assert_tls_of_no_known_protocol(name, one(&events.of_pid(finished.pid)), Side::Client);
        assert_tls_of_no_known_protocol(name, one(&events.of_port(*port, Side::Server)), Side::Server);
    }
}

/// HTTPS behind the greetings of SOCKS is read like any other, at the client and at the proxy's far end; the proxy passes on what it
/// has no secrets of.
#[test]
fn https_through_a_socks_proxy_is_read() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let origin = PythonServer::https(folder.path(), &certificates, &[]);
    let (_proxy, port) = server("socks", &certificates);
    let agent = Agent::start(&Config::default());
    let finished = run_ok(&mut through_socks(
        folder.path(),
        &certificates,
        origin.port,
        port,
    ));
    wait_for_both_ends(&agent, port, 1);
    wait_for_both_ends(&agent, origin.port, 1);
    let events = agent.stop();
    let captures = events.of_pid(finished.pid);
    let capture = one(&captures);
    assert_healthy(capture, Transport::Tls);
    let url = format!("https://localhost:{}/bytes/70000", origin.port);
    let request = one(&capture.requests);
    assert_eq!(
        (&request["url"], &request["outcome"]),
        (&json!(url), &json!("complete"))
    );
    assert_eq!(capture.connection["l7Protocol"], "http1");
    assert_eq!(capture.connection["destination"]["address"]["port"], port);
    assert_eq!(one(&events.of_port(port, Side::Server)).status(), "blind");
    assert_healthy(one(&events.of_port(origin.port, Side::Server)), Transport::Tls);
}

fn through_socks(folder: &Path, certificates: &Certificates, origin: u16, proxy: u16) -> Command {
    let socks = format!("127.0.0.1:{proxy}");
    let url = format!("https://localhost:{origin}/bytes/70000");
    let output = folder.join("output").to_string_lossy().into_owned();
    let arguments = [
        "--http1.1",
        "--noproxy",
        "",
        "--socks5-hostname",
        &socks,
        "-o",
        &output,
        &url,
    ];
    curl(certificates, &arguments)
}
