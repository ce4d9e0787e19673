//! Programs whose TLS library is linked into them, or is not one of the two that everybody has: by their secrets alone.
//!
//! Required: "rustls … stripped, LTO"; "wolfSSL, Mbed TLS, NSS". Each with `tap.tls.source: secrets`, so that nothing but the keys
//! can have given the plaintext.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Column, Config, Curl, Found, Nginx, Program, PythonServer, Runtime, Side,
    Transport, Zoo, assert_complete, assert_healthy, assert_truth, deterministic_bytes, free_port,
    hex_sha256, one, programs, run_ok, rustls_exchange_program, scratch, single, wait_for_both_ends,
    wait_for_listener,
};
use serde_json::json;

fn agent() -> Agent {
    Agent::start(&Config {
        tls_source: "secrets",
        ..Config::default()
    })
}

/// Lets the agent look into a process: what it was is then known when the connection ends, and a program that it never met before
/// is probed.
fn settle(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Everything about the capture of `library` that does not depend on what was said.
fn assert_read_by_secrets(capture: &Capture, library: &str, version: &str) {
    assert_healthy(capture, Transport::Tls);
    let connection = &capture.connection;
    assert_eq!(
        connection["meta"]["tlsProbeTypesDetected"],
        json!([library]),
        "{connection:#}"
    );
    assert_eq!(connection["meta"]["tlsSource"], "secrets", "{connection:#}");
    assert_eq!(connection["tlsVersion"], format!("TLS {version}"));
}

/// A row of the table of runtimes.
fn runtime(name: &str, version: &str, library: &str, build: &str, side: Side) -> Runtime {
    Runtime {
        name: name.to_owned(),
        version: version.to_owned(),
        library: library.to_owned(),
        build: build.to_owned(),
        side,
    }
}

/// Its cell for `http`, `http1` or `http2`.
fn column(http: &str) -> Column {
    if http == "http2" {
        Column::Http2
    } else {
        Column::Http1
    }
}

/// That a cell was read by secrets is what all checks before have found.
fn read() -> Found {
    Found::Read("secrets".to_owned())
}

/// The version of a Debian package, without epoch and revision.
fn debian_version(package: &str) -> String {
    let said = run_ok(Command::new("dpkg-query").args(["-W", "-f=${Version}", package])).text();
    let upstream = said.rsplit(':').next().unwrap_or_default();
    upstream.split(['-', '+']).next().unwrap_or_default().to_owned()
}

const TARGETS: [&str; 3] = ["/bytes/30721", "/echo/5000", "/bytes/100000"];
const CONNECTIONS: usize = 3;

/// Request and response body of one of [`TARGETS`], as SHA-256.
fn bodies(target: &str) -> (Option<String>, Option<String>) {
    let (kind, length) = target[1..].split_once('/').unwrap();
    let digest = Some(hex_sha256(&deterministic_bytes(length.parse().unwrap())));
    (digest.clone().filter(|_| kind == "echo"), digest)
}

/// A client and a server of one build: three connections on tokio's threads, three requests on each, twice.
fn rustls_exchange(profile: &str, provider: &str) {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let program = rustls_exchange_program(folder.path(), profile, provider);
    let mut server = Command::new(&program);
    server
        .arg("server")
        .arg(&certificates.certificate)
        .arg(&certificates.key)
        .stdin(Stdio::piped());
    let mut server = Program::start(&mut server);
    let port: u16 = server.line(Duration::from_secs(20)).parse().unwrap();
    let agent = agent();
    let mut clients = Vec::new();
    for (http, version) in [
        ("http1", "1.2"),
        ("http1", "1.3"),
        ("http2", "1.3"),
        ("http2", "1.2"),
    ] {
        let mut client = Command::new(&program);
        client.arg("client").arg(&certificates.authority);
        client.args(["rustls.qtap.test", &port.to_string(), http, version]);
        client.arg(CONNECTIONS.to_string()).args(TARGETS);
        let mut client = Program::start(client.stdin(Stdio::piped()));
        assert_eq!(client.line(Duration::from_secs(20)), "ready");
        settle(300);
        client.say("go");
        let pid = client.pid();
        let finished = client.finish(Duration::from_secs(30));
        assert!(finished.status.success(), "{}", finished.errors());
        assert_eq!(finished.text().lines().count(), CONNECTIONS * TARGETS.len());
        clients.push((pid, http, version));
        wait_for_both_ends(&agent, port, CONNECTIONS * clients.len());
    }
    let events = agent.stop();
    let mut servers = events.of_port(port, Side::Server).into_iter();
    for (pid, http, version) in clients {
        let captures = events.of_pid(pid);
        assert_eq!(captures.len(), CONNECTIONS);
        for capture in captures.into_iter().chain(servers.by_ref().take(CONNECTIONS)) {
            assert_read_by_secrets(&capture, "rustls", version);
            assert_eq!(capture.connection["l7Protocol"], http);
            assert_eq!(capture.connection["tls"]["sni"], "rustls.qtap.test");
            let local = if capture.connection["direction"] == "ingress" {
                "destination"
            } else {
                "source"
            };
            assert_eq!(
                capture.connection[local]["exe"],
                program.to_string_lossy().as_ref(),
                "{:#}",
                capture.connection
            );
            assert_eq!(capture.transactions.len(), TARGETS.len());
            let by_path: BTreeMap<&str, _> = (capture.transactions.iter())
                .map(|transaction| (transaction["request"]["path"].as_str().unwrap(), transaction))
                .collect();
            for target in TARGETS {
                let (request, response) = bodies(target);
                assert_complete(by_path[target], request.as_deref(), response.as_deref());
                assert_eq!(by_path[target]["response"]["status"], 200);
            }
        }
    }
    assert_eq!(servers.count(), 0);
    let mut zoo = Zoo::open(&format!("rustls-{profile}-{provider}"));
    let build = match profile {
        "lto" => "cargo, fat LTO, stripped",
        "stripped" => "cargo, stripped",
        _ => "cargo, with symbols",
    };
    for side in [Side::Client, Side::Server] {
        let name = format!("tokio, hyper ({provider})");
        for http in ["http1", "http2"] {
            zoo.check(
                &runtime(&name, "1", "rustls 0.23", build, side),
                column(http),
                read,
            );
        }
    }
    zoo.finish();
}

/// "ring … unstripped".
#[test]
fn rustls_with_ring_is_captured_at_both_ends() {
    rustls_exchange("release", "ring");
}

/// "aws-lc-rs, unstripped".
#[test]
fn rustls_with_aws_lc_is_captured_at_both_ends() {
    rustls_exchange("release", "aws-lc-rs");
}

/// "`strip = true`": what the linker leaves of a stripped program.
#[test]
fn stripped_rustls_is_captured_at_both_ends() {
    for provider in ["ring", "aws-lc-rs"] {
        rustls_exchange("stripped", provider);
    }
}

/// "LTO": fat, one codegen unit, stripped.
#[test]
fn rustls_with_lto_is_captured_at_both_ends() {
    for provider in ["ring", "aws-lc-rs"] {
        rustls_exchange("lto", provider);
    }
}

fn deno(folder: &Path, arguments: &[&str]) -> Command {
    let node = std::env::var_os("QTAP_E2E_NODE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/e2e-node"),
        PathBuf::from,
    );
    let machine = std::env::consts::ARCH
        .replace("x86_64", "x64")
        .replace("aarch64", "arm64");
    let program = node.join(format!("node_modules/@deno/linux-{machine}-glibc/deno"));
    let program = program
        .canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup tests", program.display()));
    let mut command = Command::new(&program);
    command
        .args(["run", "--quiet", "--no-config", "--allow-net", "--allow-read"])
        .args(arguments)
        .env("DENO_DIR", folder.join("deno"))
        .env("DENO_NO_UPDATE_CHECK", "1")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped());
    command
}

/// "Deno": `fetch` over HTTP/1.1 and HTTP/2.
#[test]
fn deno_fetch_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let port = free_port();
    let document = deterministic_bytes(40_000);
    let block = format!(
        "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {}; }}",
        certificates.certificate.display(),
        certificates.key.display(),
    );
    let nginx = Nginx::start(folder.path(), &block, &[port]);
    nginx.put("document", &document);
    let agent = agent();
    let script = programs().join("deno_client.js").to_string_lossy().into_owned();
    let authority = certificates.authority.to_string_lossy().into_owned();
    let urls = [
        format!("https://localhost:{}/bytes/30721", server.port),
        format!("https://localhost:{port}/document"),
    ];
    let mut client = Program::start(&mut deno(
        folder.path(),
        &["--cert", &authority, &script, &urls[0], &urls[1]],
    ));
    assert_eq!(client.line(Duration::from_secs(20)), "ready");
    settle(1500);
    client.say("go");
    let pid = client.pid();
    let finished = client.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{}", finished.errors());
    wait_for_both_ends(&agent, server.port, 1);
    wait_for_both_ends(&agent, port, 1);
    let truth = server.truths("transaction", 1);
    let events = agent.stop();
    let captures = events.of_pid(pid);
    let [first, second] = captures.as_slice() else {
        panic!("{} connections: {captures:#?}", captures.len());
    };
    assert_read_by_secrets(first, "rustls", "1.3");
    assert_eq!(first.connection["l7Protocol"], "http1");
    assert_truth(one(&first.transactions), &truth[0], Side::Client);
    assert_read_by_secrets(second, "rustls", "1.3");
    assert_eq!(second.connection["l7Protocol"], "http2");
    assert_complete(one(&second.transactions), None, Some(&hex_sha256(&document)));
    let mut zoo = Zoo::open("deno-fetch");
    for http in ["http1", "http2"] {
        zoo.check(&deno_row("Deno `fetch`", Side::Client), column(http), read);
    }
    zoo.finish();
}

fn deno_row(name: &str, side: Side) -> Runtime {
    runtime(name, "2.9.6", "rustls, aws-lc-rs", "npm binary, stripped", side)
}

/// "Deno": `Deno.serve` over TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.
#[test]
fn deno_serve_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let script = programs().join("deno_server.js").to_string_lossy().into_owned();
    let files =
        [&certificates.certificate, &certificates.key].map(|file| file.to_string_lossy().into_owned());
    let mut server = Program::start(&mut deno(folder.path(), &[&script, &files[0], &files[1]]));
    let port: u16 = server.line(Duration::from_secs(20)).parse().unwrap();
    let agent = agent();
    let url = format!("https://deno.qtap.test:{port}/upper");
    let wanted = [("1.1", "1.2"), ("1.1", "1.3"), ("2", "1.2"), ("2", "1.3")];
    for (number, (http, version)) in wanted.into_iter().enumerate() {
        let (curl, _) = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .args(&[
                &format!("--http{http}"),
                &format!("--tlsv{version}"),
                "--tls-max",
                version,
                "--data-binary",
                "some text",
            ])
            .run();
        assert_eq!(curl.text(), "SOME TEXT");
        wait_for_both_ends(&agent, port, number + 1);
    }
    let events = agent.stop();
    let servers = events.of_pid(server.pid());
    assert_eq!(servers.len(), wanted.len());
    for ((http, version), capture) in wanted.into_iter().zip(&servers) {
        assert_read_by_secrets(capture, "rustls", version);
        let protocol = if http == "2" { "http2" } else { "http1" };
        assert_eq!(capture.connection["l7Protocol"], protocol);
        let transaction = one(&capture.transactions);
        let (sent, received) = (hex_sha256(b"some text"), hex_sha256(b"SOME TEXT"));
        assert_complete(transaction, Some(&sent), Some(&received));
    }
    let mut zoo = Zoo::open("deno-serve");
    for http in ["http1", "http2"] {
        zoo.check(&deno_row("`Deno.serve`", Side::Server), column(http), read);
    }
    zoo.finish();
}

/// A client of `programs/NAME_client.c`.
fn build_client(folder: &Path, name: &str, libraries: &[&str]) -> PathBuf {
    let program = folder.join(name);
    let source = programs().join(format!("{name}_client.c"));
    run_ok(
        Command::new("cc")
            .args(["-O1", "-o"])
            .arg(&program)
            .arg(source)
            .args(libraries),
    );
    program
}

/// One exchange of a C client with the Python server.
fn c_client(library: &str, libraries: &[&str], version: &str, more: &[&str]) {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let program = build_client(folder.path(), library, libraries);
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", version]);
    let agent = agent();
    let mut client = Command::new(&program);
    client
        .arg(&certificates.authority)
        .args([&server.port.to_string(), "c.qtap.test", "/bytes/30721"])
        .args(more)
        .stdin(Stdio::piped());
    let mut client = Program::start(&mut client);
    assert_eq!(client.line(Duration::from_secs(20)), "ready");
    settle(300);
    client.say("go");
    let pid = client.pid();
    let finished = client.finish(Duration::from_secs(30));
    assert!(finished.status.success(), "{}", finished.errors());
    wait_for_both_ends(&agent, server.port, 1);
    let truth = server.truths("transaction", 1);
    let events = agent.stop();
    let capture = single(&events, pid);
    assert_read_by_secrets(&capture, library, version);
    assert_eq!(
        capture.connection["source"]["exe"],
        program.to_string_lossy().as_ref()
    );
    assert_truth(&capture.transactions[0], &truth[0], Side::Client);
    assert_eq!(
        truth[0].text("response_body_sha256"),
        Some(&*hex_sha256(&finished.stdout))
    );
}

/// "wolfSSL".
#[test]
fn wolfssl_is_captured() {
    for version in ["1.2", "1.3"] {
        c_client("wolfssl", &["-lwolfssl"], version, &[version]);
    }
    let version = debian_version("libwolfssl-dev");
    let row = runtime(
        "wolfSSL in C",
        &version,
        &format!("wolfSSL {version}"),
        "Debian, shared",
        Side::Client,
    );
    let mut zoo = Zoo::open("wolfssl");
    zoo.check(&row, Column::Http1, read);
    zoo.finish();
}

/// "Mbed TLS": Debian's is 2.28, which has no TLS 1.3.
#[test]
fn mbedtls_is_captured() {
    c_client(
        "mbedtls",
        &["-lmbedtls", "-lmbedx509", "-lmbedcrypto"],
        "1.2",
        &[],
    );
    let version = debian_version("libmbedtls-dev");
    let row = runtime(
        "Mbed TLS in C",
        &version,
        &format!("Mbed TLS {version}"),
        "Debian, shared",
        Side::Client,
    );
    let mut zoo = Zoo::open("mbedtls");
    zoo.check(&row, Column::Http1, read);
    zoo.finish();
}

/// A database of NSS in `folder` with the authority and the server's key, as an argument.
fn nss_database(folder: &Path, certificates: &Certificates) -> String {
    let directory = folder.join("nss");
    std::fs::create_dir(&directory).unwrap();
    let database = format!("sql:{}", directory.display());
    run_ok(Command::new("certutil").args(["-N", "-d", &database, "--empty-password"]));
    run_ok(
        Command::new("certutil")
            .args(["-A", "-d", &database, "-n", "authority", "-t", "C,,", "-i"])
            .arg(&certificates.authority),
    );
    let bundle = folder.join("server.p12");
    run_ok(
        Command::new("openssl")
            .args([
                "pkcs12", "-export", "-name", "server", "-passout", "pass:e2e", "-in",
            ])
            .arg(&certificates.certificate)
            .arg("-inkey")
            .arg(&certificates.key)
            .arg("-out")
            .arg(&bundle),
    );
    run_ok(
        Command::new("pk12util")
            .arg("-i")
            .arg(&bundle)
            .args(["-d", &database, "-W", "e2e"]),
    );
    database
}

/// "NSS": its own client.
#[test]
fn nss_client_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let database = nss_database(folder.path(), &certificates);
    let request = folder.path().join("request");
    // It says nothing before it connects: the delay lets the agent look into it.
    std::fs::write(
        &request,
        "GET /bytes/30721?delay=0.5 HTTP/1.1\r\nHost: nss.qtap.test\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = agent();
    let mut clients = Vec::new();
    for version in ["1.2", "1.3"] {
        let versions = format!("tls{version}:tls{version}");
        let client = run_ok(
            Command::new("tstclnt")
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &server.port.to_string(),
                    "-a",
                    "nss.qtap.test",
                ])
                .args(["-d", &database, "-V", &versions, "-A"])
                .arg(&request),
        );
        clients.push((client.pid, version));
        wait_for_both_ends(&agent, server.port, clients.len());
    }
    let truths = server.truths("transaction", clients.len());
    let events = agent.stop();
    for ((pid, version), truth) in clients.into_iter().zip(&truths) {
        let capture = single(&events, pid);
        assert_read_by_secrets(&capture, "nss", version);
        assert_truth(&capture.transactions[0], truth, Side::Client);
    }
    let mut zoo = Zoo::open("nss-client");
    zoo.check(&nss_row("NSS tstclnt", Side::Client), Column::Http1, read);
    zoo.finish();
}

fn nss_row(name: &str, side: Side) -> Runtime {
    let version = debian_version("libnss3-tools");
    runtime(name, &version, &format!("NSS {version}"), "Debian, shared", side)
}

/// "NSS": its own server, which answers with the request.
#[test]
fn nss_server_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let database = nss_database(folder.path(), &certificates);
    let port = free_port();
    let mut server = Command::new("selfserv");
    server
        .args(["-p", &port.to_string(), "-d", &database])
        .args(["-e", "server", "-n", "server", "-V", "tls1.2:tls1.3"])
        .stdin(Stdio::piped());
    let server = Program::start(&mut server);
    wait_for_listener(port);
    let agent = agent();
    let mut answers = Vec::new();
    for version in ["1.2", "1.3"] {
        let url = format!("https://nss.qtap.test:{port}/page");
        let (curl, _) = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .args(&[&format!("--tlsv{version}"), "--tls-max", version])
            .run();
        assert!(curl.text().contains("GET /page HTTP/1.1"), "{}", curl.text());
        answers.push((version, hex_sha256(&curl.stdout)));
        wait_for_both_ends(&agent, port, answers.len());
    }
    let events = agent.stop();
    let servers = events.of_pid(server.pid());
    assert_eq!(servers.len(), answers.len());
    for ((version, answer), capture) in answers.iter().zip(&servers) {
        assert_read_by_secrets(capture, "nss", version);
        assert_complete(one(&capture.transactions), None, Some(answer));
    }
    let mut zoo = Zoo::open("nss-server");
    zoo.check(&nss_row("NSS selfserv", Side::Server), Column::Http1, read);
    zoo.finish();
}
