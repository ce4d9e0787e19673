//! What a TLS connection may do besides the plainest handshake.
//!
//! Required: "TLS 1.2 (AEAD suites) and 1.3 record layer, key updates, HelloRetryRequest, 0-RTT, resumption, records split and
//! joined anyhow over reads", "for CBC suites …: calls", and hellos of every shape.

use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Curl, Nginx, Program, PythonServer, Side, Transport,
    assert_complete, assert_healthy, assert_truth, client, deterministic_bytes, free_port, hex_sha256, one,
    programs, run_ok, scratch, single, system_library, wait_for_both_ends, wait_for_listener,
};

/// "TLS 1.2 (AEAD suites) and 1.3 record layer": every suite by its secrets.
#[test]
fn every_aead_suite_is_decrypted() {
    let folder = scratch();
    let certificates = Certificates::make_rsa(folder.path());
    let port = free_port();
    let nginx = Nginx::start(
        folder.path(),
        &format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; \
             ssl_ciphers ALL:@SECLEVEL=0; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256; }}",
            certificates.certificate.display(),
            certificates.key.display()
        ),
        &[port],
    );
    let document = deterministic_bytes(40_000);
    nginx.put("document", &document);
    let agent = Agent::start(&Config {
        tls_source: "secrets",
        ..Config::default()
    });
    let suites = [
        ("1.3", "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("1.3", "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        (
            "1.3",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            "1.2",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
        (
            "1.2",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        ),
        (
            "1.2",
            "ECDHE-RSA-CHACHA20-POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
        ("1.2", "AES128-GCM-SHA256", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    ];
    let mut pids = Vec::new();
    for (version, suite, _) in suites {
        let option = if version == "1.3" {
            "--tls13-ciphers"
        } else {
            "--ciphers"
        };
        let (curl, _) = Curl::new(folder.path(), &format!("https://suite.qtap.test:{port}/document"))
            .authority(&certificates.authority)
            .args(&[option, suite, &format!("--tlsv{version}"), "--tls-max", version])
            .run();
        pids.push(curl.pid);
        wait_for_both_ends(&agent, port, pids.len());
    }
    let events = agent.stop();
    let accepted = events.of_port(port, Side::Server);
    for ((pid, (_, _, name)), accepted) in pids.iter().zip(suites).zip(&accepted) {
        for capture in [&single(&events, *pid), accepted] {
            assert_healthy(capture, Transport::Tls);
            assert_eq!(capture.connection["tls"]["cipher"], name);
            assert_eq!(capture.connection["meta"]["tlsSource"], "secrets");
            assert_complete(&capture.transactions[0], None, Some(&hex_sha256(&document)));
        }
    }
}

/// "*Calls* … for CBC suites".
#[test]
fn cbc_suites_are_read_by_calls() {
    let folder = scratch();
    let certificates = Certificates::make_rsa(folder.path());
    let server = PythonServer::https(
        folder.path(),
        &certificates,
        &["--tls", "1.2", "--ciphers", "AES128-SHA:ECDHE-RSA-AES256-SHA384"],
    );
    let agent = Agent::start(&Config::default());
    let url = format!("https://cbc.qtap.test:{}/bytes/30721", server.port);
    let mut command = client("http-client");
    command
        .arg(&url)
        .args(["--gate", "--count", "4", "--ca"])
        .arg(&certificates.authority)
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    let pid = program.pid();
    for number in 1..4 {
        assert_eq!(program.line(Duration::from_secs(20)), format!("done {number}"));
        // The handshake tells that calls are needed; from then on they are read.
        std::thread::sleep(Duration::from_millis(1500));
        program.say("go");
    }
    assert!(program.finish(Duration::from_secs(20)).status.success());
    wait_for_both_ends(&agent, server.port, 1);
    let truths = server.truths("transaction", 4);
    let events = agent.stop();
    let captures = events.of_pid(pid);
    let first = one(&captures);
    assert_eq!(
        first.connection["meta"]["tlsSource"], "calls",
        "{:#}",
        first.connection
    );
    assert!(first.transactions.len() >= 3, "{:#?}", first.transactions);
    let seen = &first.transactions[first.transactions.len() - 3..];
    for (transaction, truth) in seen.iter().zip(&truths[1..]) {
        assert_truth(transaction, truth, Side::Client);
    }
}

/// The same, connection after connection: only the first of a process finds the calls not probed yet.
#[test]
fn later_connections_with_cbc_suites_are_whole() {
    let folder = scratch();
    let certificates = Certificates::make_rsa(folder.path());
    let server = PythonServer::https(
        folder.path(),
        &certificates,
        &["--tls", "1.2", "--ciphers", "AES128-SHA"],
    );
    let agent = Agent::start(&Config::default());
    let mut command = client("urllib");
    command
        .arg(format!("https://cbc.qtap.test:{}/bytes/30721", server.port))
        .args(["--gate", "--count", "3", "--ca"])
        .arg(&certificates.authority)
        .stdin(Stdio::piped());
    let mut program = Program::start(&mut command);
    let pid = program.pid();
    for number in 1..3 {
        assert_eq!(program.line(Duration::from_secs(20)), format!("done {number}"));
        std::thread::sleep(Duration::from_millis(1500));
        program.say("go");
    }
    assert!(program.finish(Duration::from_secs(20)).status.success());
    wait_for_both_ends(&agent, server.port, 3);
    let truths = server.truths("transaction", 3);
    let events = agent.stop();
    for (captures, side) in [
        (events.of_pid(pid), Side::Client),
        (events.of_pid(server.pid()), Side::Server),
    ] {
        assert_eq!(captures.len(), 3);
        for (capture, truth) in captures.iter().zip(&truths).skip(1) {
            assert_healthy(capture, Transport::Tls);
            assert_eq!(capture.connection["meta"]["tlsSource"], "calls");
            assert_truth(one(&capture.transactions), truth, side);
        }
    }
}

/// An `openssl s_server -WWW` with a document, and what it takes to reach it.
struct SServer {
    folder: tempfile::TempDir,
    certificates: Certificates,
    server: Program,
    port: u16,
    document: Vec<u8>,
}

impl SServer {
    fn start(arguments: &[&str]) -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let document = deterministic_bytes(20_000);
        std::fs::write(folder.path().join("document"), &document).unwrap();
        let port = free_port();
        let mut command = Command::new("openssl");
        command.current_dir(folder.path()).args([
            "s_server",
            "-WWW",
            "-accept",
            &format!("127.0.0.1:{port}"),
        ]);
        command
            .arg("-cert")
            .arg(&certificates.certificate)
            .arg("-key")
            .arg(&certificates.key)
            .args(arguments);
        let server = Program::start(command.stdin(Stdio::null()));
        wait_for_listener(port);
        Self {
            folder,
            certificates,
            server,
            port,
            document,
        }
    }

    /// `openssl s_client` that sends these lines, with a moment between them, and reads to the end. Returns its pid.
    fn client(&self, arguments: &[&str], lines: &[&str]) -> u32 {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-servername", "feature.qtap.test", "-connect"]);
        command.arg(format!("127.0.0.1:{}", self.port)).args(arguments);
        let mut program = Program::start(command.stdin(Stdio::piped()));
        let pid = program.pid();
        for line in lines {
            std::thread::sleep(Duration::from_millis(300));
            program.say(line);
        }
        // The end of its input would end the connection.
        std::thread::sleep(Duration::from_millis(700));
        let finished = program.finish(Duration::from_secs(20));
        let tail = &self.document[self.document.len() - 100..];
        assert!(
            finished.stdout.windows(tail.len()).any(|part| part == tail),
            "{}",
            finished.errors()
        );
        pid
    }

    fn assert_both_ends(&self, events: &qtap_e2e::Events, pid: u32, accepted: &Capture) {
        for capture in [&single(events, pid), accepted] {
            assert_healthy(capture, Transport::Tls);
            assert_complete(&capture.transactions[0], None, Some(&hex_sha256(&self.document)));
        }
    }
}

const REQUEST: &str = "GET /document HTTP/1.0\r\nHost: feature.qtap.test\r\n\r";

/// "HelloRetryRequest": the server wants another group than the client guessed.
#[test]
fn hello_retry_request_is_followed() {
    let server = SServer::start(&["-groups", "P-384"]);
    let agent = Agent::start(&Config {
        tls_source: "secrets",
        ..Config::default()
    });
    let url = format!("https://retry.qtap.test:{}/document", server.port);
    let (curl, _) = Curl::new(server.folder.path(), &url)
        .authority(&server.certificates.authority)
        .args(&["--http1.0", "--tlsv1.3", "--curves", "X25519:P-384"])
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    server.assert_both_ends(&events, curl.pid, &single(&events, server.server.pid()));
}

/// "resumption": a second connection with the ticket of the first, TLS 1.2 and 1.3.
#[test]
fn resumed_sessions_are_decrypted() {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = SServer::start(&[]);
        let session = server.folder.path().join("session");
        let session = session.to_str().unwrap();
        let agent = Agent::start(&Config {
            tls_source: "secrets",
            ..Config::default()
        });
        let first = server.client(&[version, "-sess_out", session], &[REQUEST]);
        let second = server.client(&[version, "-sess_in", session], &[REQUEST]);
        wait_for_both_ends(&agent, server.port, 2);
        let events = agent.stop();
        let accepted = events.of_pid(server.server.pid());
        assert_eq!(accepted.len(), 2);
        server.assert_both_ends(&events, first, &accepted[0]);
        server.assert_both_ends(&events, second, &accepted[1]);
    }
}

/// "0-RTT": the request is in the first flight of a resumed session.
#[test]
fn early_data_is_decrypted() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let nginx = Nginx::start(
        folder.path(),
        &format!(
            "ssl_early_data on; ssl_session_cache shared:early:1m; server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {}; }}",
            certificates.certificate.display(),
            certificates.key.display()
        ),
        &[port],
    );
    let document = deterministic_bytes(20_000);
    nginx.put("document", &document);
    let (session, early) = (folder.path().join("session"), folder.path().join("early"));
    let request = "GET /document HTTP/1.1\r\nHost: early.qtap.test\r\nConnection: close\r\n\r\n";
    std::fs::write(&early, request).unwrap();
    let s_client = |arguments: &[&str], input: Option<&str>| {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-quiet",
            "-tls1_3",
            "-servername",
            "early.qtap.test",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ]);
        let mut program = Program::start(command.args(arguments).stdin(Stdio::piped()));
        let pid = program.pid();
        if let Some(input) = input {
            program.say(input.strip_suffix('\n').unwrap());
        }
        let finished = program.finish(Duration::from_secs(20));
        assert!(finished.stdout.ends_with(&document), "{}", finished.errors());
        pid
    };
    let agent = Agent::start(&Config {
        tls_source: "secrets",
        ..Config::default()
    });
    let first = s_client(&["-sess_out", session.to_str().unwrap()], Some(request));
    let second = s_client(
        &[
            "-sess_in",
            session.to_str().unwrap(),
            "-early_data",
            early.to_str().unwrap(),
        ],
        None,
    );
    wait_for_both_ends(&agent, port, 2);
    let events = agent.stop();
    let accepted = events.of_port(port, Side::Server);
    for (pid, accepted) in [first, second].into_iter().zip(&accepted) {
        for capture in [&single(&events, pid), accepted] {
            assert_healthy(capture, Transport::Tls);
            assert_complete(one(&capture.transactions), None, Some(&hex_sha256(&document)));
        }
    }
}

/// "key updates": the client changes its key before the request, and asks or does not ask for the same of the server.
#[test]
fn key_updates_are_followed() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let agent = Agent::start(&Config {
        tls_source: "secrets",
        ..Config::default()
    });
    let (libcrypto, libssl) = (system_library("libcrypto.so.3"), system_library("libssl.so.3"));
    let mut pids = Vec::new();
    for updates in [&["0"][..], &["1"], &["1", "0"]] {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(programs().join("libssl_client.py"))
            .arg(&libcrypto)
            .arg(&libssl);
        command
            .args([&server.port.to_string(), "update.qtap.test", "/bytes/20000"])
            .args(updates);
        let mut program = Program::start(command.stdin(Stdio::piped()));
        assert_eq!(program.line(Duration::from_secs(20)), "ready");
        program.say("go");
        pids.push(program.pid());
        let finished = program.finish(Duration::from_secs(20));
        assert!(finished.status.success(), "{}", finished.errors());
        wait_for_both_ends(&agent, server.port, pids.len());
    }
    let truths = server.truths("transaction", pids.len());
    let events = agent.stop();
    let accepted = events.of_pid(server.pid());
    for ((pid, truth), accepted) in pids.iter().zip(&truths).zip(&accepted) {
        for (capture, side) in [(&single(&events, *pid), Side::Client), (accepted, Side::Server)] {
            assert_healthy(capture, Transport::Tls);
            assert_truth(one(&capture.transactions), truth, side);
        }
    }
}

/// "ClientHello … also when … larger than 4 KiB": a list of protocols that fills several segments.
#[test]
fn a_large_client_hello_is_parsed() {
    let server = SServer::start(&[]);
    let names: Vec<String> = (0..60).map(|number| format!("{number:0>200}")).collect();
    let list = names.join(",");
    let agent = Agent::start(&Config::default());
    let pid = server.client(&["-alpn", &list], &[REQUEST]);
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let accepted = single(&events, server.server.pid());
    server.assert_both_ends(&events, pid, &accepted);
    for capture in [&single(&events, pid), &accepted] {
        assert_eq!(capture.connection["tls"]["sni"], "feature.qtap.test");
        let offered = capture.connection["tls"]["alpnOffered"].as_array().unwrap();
        assert_eq!((offered.len(), offered[59].as_str()), (60, Some(&*names[59])));
    }
}

/// A handshake that fails is no capture that fails: the hello is there, and no transaction.
#[test]
fn a_refused_handshake_is_reported() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", "1.3"]);
    let agent = Agent::start(&Config::default());
    let mut command = Curl::new(
        folder.path(),
        &format!("https://refused.qtap.test:{}/", server.port),
    )
    .authority(&certificates.authority)
    .args(&["--tls-max", "1.2"])
    .command();
    let finished = qtap_e2e::run(&mut command);
    assert_eq!(finished.status.code(), Some(35), "{}", finished.errors());
    agent.wait_for_connections(&[finished.pid], 1);
    let events = agent.stop();
    let captures = events.of_pid(finished.pid);
    assert_eq!(captures.len(), 1);
    let connection = &captures[0].connection;
    assert_eq!(connection["tls"]["sni"], "refused.qtap.test");
    assert_eq!(connection["tlsVersion"], serde_json::Value::Null);
    assert_eq!(connection["meta"]["endpointId"], "refused.qtap.test");
    assert!(captures[0].transactions.is_empty() && captures[0].requests.is_empty());
    let accepted = events.of_port(server.port, Side::Server);
    assert!(
        accepted.iter().all(|capture| capture.transactions.is_empty()),
        "{accepted:#?}"
    );
}

/// "200 connections in one process": sessions whose memory is used again are not mixed up.
#[test]
fn sessions_at_the_same_address_are_told_apart() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config {
        tls_source: "calls",
        ..Config::default()
    });
    let finished = run_ok(
        client("urllib")
            .arg(format!("https://again.qtap.test:{}/bytes/700", server.port))
            .args(["--count", "200", "--ca"])
            .arg(&certificates.authority),
    );
    wait_for_both_ends(&agent, server.port, 200);
    let truths = server.truths("transaction", 200);
    let events = agent.stop();
    let captures = events.of_pid(finished.pid);
    assert_eq!(captures.len(), 200);
    for capture in &captures {
        let [transaction] = &capture.transactions[..] else {
            panic!("{capture:#?}")
        };
        assert_truth(transaction, &truths[0], Side::Client);
    }
}
