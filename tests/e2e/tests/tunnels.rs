//! Tunnels: CONNECT of HTTP/1.1 and HTTP/2, in cleartext and inside of TLS, and what is spoken inside of them (P-C1).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Events, Program, PythonServer, Side, Transport, WebServer,
    assert_healthy, assert_sums, free_port, one, run_ok, scratch, single_on_port, wait_for_both_ends,
    wait_for_listener, web,
};
use serde_json::{Value, json};

/// A forward proxy that tunnels.
fn proxy(folder: &Path) -> (Program, u16) {
    let port = free_port();
    let file = folder.join("tinyproxy.conf");
    let text = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 30\nAllow 127.0.0.1\nLogLevel Error\nDisableViaHeader Yes\n"
    );
    std::fs::write(&file, text).expect("write a file");
    let mut command = Command::new("tinyproxy");
    let program = Program::start(command.arg("-d").arg("-c").arg(file).stdin(Stdio::null()));
    wait_for_listener(port);
    (program, port)
}

/// curl through the proxy.
fn proxied(proxy: u16, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--noproxy", ""]);
    command.args(["--proxy", &format!("http://127.0.0.1:{proxy}")]);
    command.args(arguments).arg(url);
    command
}

/// The request that made the tunnel, and those inside of it.
fn inside<'a>(capture: &'a Capture, authority: &str) -> &'a [Value] {
    let (connect, inner) = capture.requests.split_first().expect("requests");
    assert_eq!(
        (&connect["method"], &connect["status"]),
        (&json!("CONNECT"), &json!(200)),
        "{capture:#?}"
    );
    assert_eq!(
        (&connect["outcome"], &connect["upgraded_to"]),
        (&json!("upgraded"), &json!("tunnel"))
    );
    assert_eq!(connect["url"], authority);
    inner
}

fn stop_when_over(agent: Agent, pid: u32) -> Events {
    agent.wait_for_connections(&[pid], 1);
    agent.stop()
}

/// P-C1: TLS inside of a plain CONNECT is read as TLS is, on the same connection.
#[test]
fn tls_inside_of_a_tunnel_has_its_own_transactions_and_sni() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let (_program, proxy) = proxy(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("https://localhost:{}/inner", server.port);
    let authority = certificates.authority.to_string_lossy().into_owned();
    let arguments = ["--cacert", &authority, "--http1.1", "--data", "name=qtap", &url];
    let finished = run_ok(&mut proxied(proxy, &url, &arguments));
    let events = stop_when_over(agent, finished.pid);
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Tls);
    let requests = inside(&capture, &format!("localhost:{}", server.port));
    assert_eq!(requests.len(), 2, "two of them on one tunnel: {capture:#?}");
    for request in requests {
        assert_eq!(
            (&request["url"], &request["outcome"]),
            (&json!(url), &json!("complete"))
        );
        assert_eq!(request["tlsProbeIntrospected"], true);
    }
    assert_eq!(capture.connection["tls"]["sni"], "localhost");
    assert_eq!(
        capture.connection["destination"]["address"]["port"], proxy,
        "attributed to what was dialled"
    );
    assert_eq!(capture.connection["l7Protocol"], "http1");
    assert_eq!(capture.connection["upgraded_to"], "tunnel");
    // The proxy's own connection to the origin is another one; the origin reads it with its own secrets.
    let origin = request_count(&events.of_port(server.port, Side::Server));
    assert_eq!(origin, 2);
}

/// Requests of the connections together.
fn request_count(captures: &[Capture]) -> usize {
    captures.iter().map(|capture| capture.requests.len()).sum()
}

#[test]
fn http_inside_of_a_tunnel_is_read() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let (_program, proxy) = proxy(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("http://localhost:{}/inner", server.port);
    let finished = run_ok(&mut proxied(proxy, &url, &["--proxytunnel"]));
    let events = stop_when_over(agent, finished.pid);
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Plain);
    let requests = inside(&capture, &format!("localhost:{}", server.port));
    assert_eq!(one(requests)["url"], url);
    // Both ends of the tunnel, and the end that dialled the origin.
    assert_eq!(request_count(&events.of_port(proxy, Side::Server)), 2);
    let dialled = single_on_port(&events, server.port, Side::Client);
    assert_eq!(dialled.requests[0]["url"], url);
}

#[test]
fn a_websocket_inside_of_tls_inside_of_a_tunnel() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = WebServer::start(
        web("ws_server.py")
            .arg("--cert")
            .arg(&certificates.certificate)
            .arg("--key")
            .arg(&certificates.key),
    );
    let (_program, proxy) = proxy(folder.path());
    let agent = Agent::start(&Config::default());
    let mut command = web("ws_client.py");
    command
        .arg("talk")
        .arg(format!("wss://localhost:{}/echo", server.port));
    command
        .arg(&certificates.authority)
        .env("PROXY", format!("http://127.0.0.1:{proxy}"));
    let finished = run_ok(&mut command);
    let events = stop_when_over(agent, finished.pid);
    let capture = one(&events.of_pid(finished.pid)).clone();
    assert_healthy(&capture, Transport::Tls);
    let requests = inside(&capture, &format!("localhost:{}", server.port));
    let websocket = one(requests);
    assert_eq!(
        capture.connection["upgraded_to"], "websocket",
        "the last of the two"
    );
    assert_eq!(websocket["upgraded_to"], "websocket", "{capture:#?}");
    assert_eq!(websocket["messages"]["response"]["count"], 3);
    assert_eq!(websocket["websocket"]["close_code"], 1000);
}

/// A forward proxy that is reached over TLS, by HTTP/1.1 or HTTP/2.
struct TlsProxy {
    _front: Program,
    _back: Program,
    port: u16,
}

impl TlsProxy {
    fn start(folder: &Path, certificates: &Certificates) -> Self {
        let (back, behind) = proxy(folder);
        let port = free_port();
        let mut command = Command::new("nghttpx");
        command.args(["--http2-proxy", "--workers=1", "--errorlog-file=/dev/stderr"]);
        command.args(["--conf=/dev/null", "--no-ocsp", "--tls-min-proto-version=TLSv1.2"]);
        command.arg(format!("--frontend=127.0.0.1,{port}"));
        command.arg(format!("--backend=127.0.0.1,{behind}"));
        command.arg(&certificates.key).arg(&certificates.certificate);
        let front = Program::start(command.stdin(Stdio::null()));
        wait_for_listener(port);
        Self {
            _front: front,
            _back: back,
            port,
        }
    }

    /// curl through it.
    fn curl(&self, certificates: &Certificates, arguments: &[&str], url: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "--noproxy", "", "--http1.1"]);
        command.args(["--proxy", &format!("https://localhost:{}", self.port)]);
        command.arg("--proxy-cacert").arg(&certificates.authority);
        command.arg("--cacert").arg(&certificates.authority);
        command.args(arguments).arg(url);
        command
    }
}

/// The proxy's end of its connections with clients: it passes on TLS of which it has no secrets, and says so.
fn assert_passed_on(events: &Events, port: u16, unread: u64) {
    let accepted = events.of_port(port, Side::Server);
    let capture = one(&accepted);
    if unread == 0 {
        return assert_healthy(capture, Transport::Tls);
    }
    assert_eq!(capture.status(), "degraded", "{:#}", capture.connection);
    assert_eq!(capture.reasons(), ["tunnel_unread"], "{:#}", capture.connection);
    let detail = capture.connection["health"]["reasons"][0]["detail"]
        .as_str()
        .unwrap();
    assert!(detail.starts_with(&format!("{unread} of ")), "{detail}");
}

/// TLS to the proxy, CONNECT in it, and TLS to the server inside: two sessions of one process on one connection, each with its secrets.
#[test]
fn tls_inside_of_tls_to_a_proxy_is_read() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let proxy = TlsProxy::start(folder.path(), &certificates);
    let url = format!("https://localhost:{}/bytes/70000", server.port);
    let agent = Agent::start(&Config::default());
    for version in ["1.3", "1.2"] {
        let arguments = ["--tls-max", version, "-o", "/dev/null", "-o", "/dev/null", &url];
        let curl = run_ok(&mut proxy.curl(&certificates, &arguments, &url));
        agent.wait_for_connections(&[curl.pid], 1);
        let captures = agent.events().of_pid(curl.pid);
        let capture = one(&captures);
        assert_healthy(capture, Transport::Tls);
        let requests = inside(capture, &format!("localhost:{}", server.port));
        assert_eq!(requests.len(), 2, "{version}: {capture:#?}");
        for request in requests {
            assert_eq!(
                (&request["url"], &request["outcome"]),
                (&json!(url), &json!("complete"))
            );
            assert!(request["bytesReceived"].as_u64() > Some(70_000), "{request:#}");
        }
        let connection = &capture.connection;
        assert_eq!(connection["tls"]["sni"], "localhost", "that of the proxy");
        assert_eq!(connection["upgraded_to"], "tunnel");
        assert_eq!(connection["l7Protocol"], "http1");
    }
    wait_for_both_ends(&agent, proxy.port, 2);
    let events = agent.stop();
    for capture in events.of_port(proxy.port, Side::Server) {
        assert_eq!(capture.reasons(), ["tunnel_unread"], "{:#}", capture.connection);
        assert_sums(&capture);
    }
}

#[test]
fn http_inside_of_a_tunnel_inside_of_tls_is_read_at_both_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::http(folder.path());
    let proxy = TlsProxy::start(folder.path(), &certificates);
    let agent = Agent::start(&Config::default());
    let url = format!("http://localhost:{}/bytes/10", server.port);
    let mut command = proxy.curl(&certificates, &["--proxytunnel", "-o", "/dev/null"], &url);
    let curl = run_ok(&mut command);
    wait_for_both_ends(&agent, proxy.port, 1);
    let events = agent.stop();
    let captures = events.of_pid(curl.pid);
    let capture = one(&captures);
    assert_healthy(capture, Transport::Tls);
    let requests = inside(capture, &format!("localhost:{}", server.port));
    assert_eq!(one(requests)["url"], url);
    assert_passed_on(&events, proxy.port, 0);
    let accepted = events.of_port(proxy.port, Side::Server);
    assert_eq!(
        one(inside(one(&accepted), &format!("localhost:{}", server.port)))["url"],
        url
    );
}

/// One connection to a proxy of HTTP/2, and a tunnel for each server on a stream of it.
#[test]
fn tunnels_on_streams_of_http2_are_read() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let secure = PythonServer::https(folder.path(), &certificates, &[]);
    let plain = PythonServer::http(folder.path());
    let proxy = TlsProxy::start(folder.path(), &certificates);
    let urls = [
        format!("https://localhost:{}/bytes/70000", secure.port),
        format!("http://localhost:{}/bytes/70000", plain.port),
        format!("https://localhost:{}/bytes/5", secure.port),
    ];
    let mut command = web("h2_tunnel.js");
    command.arg(format!("https://localhost:{}", proxy.port));
    command.arg(&certificates.authority).args(&urls);
    // It runs before the agent comes, so that its TLS is known when it begins.
    let mut client = Program::start(command.stdin(Stdio::piped()));
    let agent = Agent::start(&Config::default());
    client.say("go");
    let client = client.finish(Duration::from_secs(30));
    assert!(client.status.success(), "{}", client.errors());
    assert_eq!(client.json(), json!(["HTTP/1.1 200 OK"; 3].to_vec()));
    agent.wait_for_connections(&[client.pid], 1);
    let events = agent.stop();
    let captures = events.of_pid(client.pid);
    let capture = one(&captures);
    assert_healthy(capture, Transport::Tls);
    let count = |method: &str, url: &str| {
        let found = capture.requests.iter().filter(|request| {
            request["method"] == method && request["url"].as_str().is_some_and(|it| it.contains(url))
        });
        found.count()
    };
    assert_eq!(count("CONNECT", ""), 3, "{capture:#?}");
    for url in &urls {
        assert_eq!(count("GET", url), 1, "{url}: {capture:#?}");
    }
    assert!(capture.requests.iter().all(|request| {
        let is_connect = request["method"] == "CONNECT";
        request["outcome"] == if is_connect { "upgraded" } else { "complete" }
    }));
    assert_eq!(capture.connection["l7Protocol"], "http2");
    assert!(capture.connection["upgraded_to"].is_null());
    assert_eq!(capture.connection["transactions"], 6);
    assert_passed_on(&events, proxy.port, 2);
}
