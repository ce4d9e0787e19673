//! What a connection of HTTP/1.1 may turn into.

use std::process::Command;

use qtap_e2e::{
    Agent, Config, Curl, Program, PythonServer, Side, Transport, assert_complete, assert_healthy,
    assert_sums, assert_truth, client, free_port, hex_sha256, one, run_ok, scratch, single, single_on_port,
    wait_for_both_ends, wait_for_listener,
};
use serde_json::json;

use crate::site::Site;

/// "h2c both ways": a cleartext connection upgraded to HTTP/2 is one transaction on stream 1, with its trailers.
#[test]
fn upgrade_to_h2c_is_followed() {
    let folder = scratch();
    let upstream = PythonServer::http(folder.path());
    let port = free_port();
    let mut proxy = Command::new("nghttpx");
    proxy.args([
        "--single-process",
        "--workers=1",
        "--conf=/dev/null",
        "--no-server-rewrite",
    ]);
    proxy
        .arg(format!("--frontend=127.0.0.1,{port};no-tls"))
        .arg(format!("--backend=127.0.0.1,{}", upstream.port));
    let proxy = Program::start(proxy.stdin(std::process::Stdio::null()));
    wait_for_listener(port);
    let agent = Agent::start(&Config::default());
    let url = format!("http://h2c.qtap.test:{port}/trailers/20000");
    let (curl, _) = Curl::new(folder.path(), &url).args(&["--http2"]).run();
    wait_for_both_ends(&agent, port, 1);
    let truth = upstream.truths("transaction", 1);
    let digest = truth[0].text("response_body_sha256").unwrap();
    assert_eq!(hex_sha256(&curl.stdout), digest);
    let events = agent.stop();
    for (pid, side) in [(curl.pid, Side::Client), (proxy.pid(), Side::Server)] {
        let captures = events.of_port(port, side);
        let capture = one(&captures);
        let local = if side == Side::Client {
            "source"
        } else {
            "destination"
        };
        assert_eq!(capture.connection[local]["pid"], pid);
        assert_healthy(capture, Transport::Plain);
        // "Upgrade … end[s] the HTTP transaction": the exchange in HTTP/1 and its answer in HTTP/2.
        let [upgrade, answer] = &capture.transactions[..] else {
            panic!("{:#?}", capture.transactions)
        };
        assert_eq!(
            (&upgrade["outcome"], &upgrade["upgraded_to"]),
            (&json!("upgraded"), &json!("h2c"))
        );
        assert_eq!(upgrade["response"]["status"], 101);
        assert_complete(answer, None, Some(digest));
        assert_eq!(answer["request"]["path"], "/trailers/20000");
        assert_eq!(answer["request"]["protocol"], "http2");
        assert_eq!(answer["response"]["status"], 200);
        assert_eq!(
            answer["response"]["trailers"],
            json!({"x-digest": digest, "x-end": "yes"})
        );
    }
}

/// "WebSocket upgrade": P-W1, one transaction at 101, and frames that look like requests make none.
#[test]
fn websocket_upgrade_is_one_transaction() {
    let site = Site::new();
    let agent = Agent::start(&Config::default());
    let mut clients = Vec::new();
    for (scheme, server, _) in site.each() {
        let url = format!("{scheme}://socket.qtap.test:{}/ws", server.port);
        let finished = run_ok(
            client("websocket")
                .arg(&url)
                .args(["--count", "20", "--ca"])
                .arg(&site.certificates.authority),
        );
        wait_for_both_ends(&agent, server.port, 1);
        clients.push((server, finished.pid));
    }
    let events = agent.stop();
    for (server, pid) in clients {
        for pid in [pid, server.pid()] {
            let capture = single(&events, pid);
            let transaction = &capture.transactions[0];
            assert_eq!(transaction["outcome"], "upgraded");
            assert_eq!(transaction["upgraded_to"], "websocket");
            assert_eq!(transaction["response"]["status"], 101);
            assert_eq!(capture.connection["upgraded_to"], "websocket");
            assert_eq!(capture.connection["l7Protocol"], "http1");
            assert_eq!(capture.status(), "healthy", "{:#}", capture.connection);
            assert_sums(&capture);
        }
    }
}

/// "Upgrade and CONNECT end the HTTP transaction" (P-C1), and TLS inside of the tunnel is read.
#[test]
fn tls_inside_of_a_tunnel_is_captured() {
    let site = Site::new();
    let proxy = PythonServer::start(site.folder.path(), &["--tunnel-to", "127.0.0.1"]);
    let agent = Agent::start(&Config::default());
    let url = format!("https://tunnelled.qtap.test:{}/bytes/30721", site.tls.port);
    let through = format!("http://127.0.0.1:{}", proxy.port);
    let mut command = Command::new("curl");
    command
        .args([
            "-sS",
            "--max-time",
            "20",
            "--http1.1",
            "--noproxy",
            "",
            "-x",
            &through,
            "-o",
            "/dev/null",
            &url,
            "--cacert",
        ])
        .arg(&site.certificates.authority);
    let curl = run_ok(&mut command);
    agent.wait_for_connections(&[curl.pid], 1);
    wait_for_both_ends(&agent, site.tls.port, 1);
    let truth = site.tls.truths("transaction", 1);
    let events = agent.stop();
    let captures = events.of_pid(curl.pid);
    let capture = one(&captures);
    let [connect, inner] = &capture.transactions[..] else {
        panic!("{:#?}", capture.transactions)
    };
    assert_eq!(
        (&connect["request"]["method"], &connect["upgraded_to"]),
        (&json!("CONNECT"), &json!("tunnel"))
    );
    assert_truth(inner, &truth[0], Side::Client);
    assert_eq!(inner["request"]["url"], url);
    assert_eq!(capture.connection["tls"]["sni"], "tunnelled.qtap.test");
    assert_eq!(capture.status(), "healthy", "{:#}", capture.connection);
    let far = single_on_port(&events, site.tls.port, Side::Server);
    assert_truth(&far.transactions[0], &truth[0], Side::Server);
}
