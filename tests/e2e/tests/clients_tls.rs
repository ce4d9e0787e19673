//! Real clients and servers, one exchange each: everything captured, everything true.
//!
//! Required: one connection, one request, one artifact each, all checklist steps `ok`,
//! headers and body byte-exact, byte counts equal to the kernel's, right process, SNI as `endpointId`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Certificates, Config, Curl, Nginx, Program, PythonServer, Side, Transport,
    assert_complete, assert_healthy, assert_truth, client, deterministic_bytes, free_port, headers_of,
    hex_sha256, one, run_ok, scratch, single, single_on_port, wait_for_both_ends,
};
use serde_json::json;

/// nginx with TLS, HTTP/1.1 and HTTP/2 and this document.
fn tls_nginx(folder: &Path, certificates: &Certificates, port: u16, extra: &str, document: &[u8]) -> Nginx {
    let server = format!(
        "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {}; {extra} }}",
        certificates.certificate.display(),
        certificates.key.display(),
    );
    let nginx = Nginx::start(folder, &server, &[port]);
    nginx.put("document", document);
    nginx
}

/// What the events say of process, name and TLS of one end.
fn assert_identity(capture: &Capture, side: Side, pid: Option<u32>, exe: &str, name: &str) {
    let connection = &capture.connection;
    let local = match side {
        Side::Client => "source",
        Side::Server => "destination",
    };
    assert_eq!(connection[local]["exe"], exe, "{connection:#}");
    if let Some(pid) = pid {
        assert_eq!(connection[local]["pid"], pid, "{connection:#}");
    }
    assert_eq!(connection["meta"]["endpointId"], name, "{connection:#}");
    for transaction in &capture.transactions {
        assert_eq!(transaction["metadata"]["process_exe"], exe);
        assert_eq!(
            transaction["metadata"]["process_id"],
            connection[local]["pid"].to_string()
        );
        assert_eq!(transaction["metadata"]["endpoint_id"], name);
    }
    for request in &capture.requests {
        assert_eq!(request["endpointId"], name);
        assert_eq!(request["direction"], connection["direction"]);
    }
}

/// Both ends counted the same bytes on the wire, but for a last `close_notify` to an end that has closed already: that is
/// answered with a reset and counted by nobody.
fn assert_ends_agree(client: &Capture, server: &Capture) {
    for (from, to) in [(client, server), (server, client)] {
        let sent = from.connection["bytesSent"].as_u64().unwrap();
        let received = to.connection["health"]["socketBytesReceived"].as_u64().unwrap();
        let refused = sent
            .checked_sub(received)
            .unwrap_or_else(|| panic!("{received} received of {sent} sent"));
        // Records of TLS 1.3 and 1.2 with an explicit nonce.
        assert!(
            [0, 24, 31].contains(&refused),
            "{received} received of {sent} sent: {:#}",
            from.connection
        );
    }
}

fn fields(pairs: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        map.entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.clone());
    }
    map
}

/// "curl HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3", and "nginx as server": both ends of each, by this source.
fn curl_over_tls(source: &'static str) {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let document = deterministic_bytes(40_000);
    let nginx = tls_nginx(folder.path(), &certificates, port, "", &document);
    let agent = Agent::start(&Config {
        tls_source: source,
        ..Config::default()
    });
    let mut done = Vec::new();
    for (http, version) in [("1.1", "1.2"), ("1.1", "1.3"), ("2", "1.2"), ("2", "1.3")] {
        let name = format!(
            "curl-{}-tls{}.qtap.test",
            http.replace('.', ""),
            version.replace('.', "")
        );
        let url = format!("https://{name}:{port}/document?a=1&b=%20c");
        let arguments = [
            &format!("--http{http}"),
            &format!("--tlsv{version}"),
            "--tls-max",
            version,
            "-H",
            "X-Test: one",
            "-H",
            "X-Test: two",
        ];
        let (curl, response) = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .args(&arguments)
            .run();
        assert!(curl.stdout == document);
        done.push((http, version, name, url, curl, response));
        wait_for_both_ends(&agent, port, done.len());
    }
    let records = nginx.records(4, |_| true);
    let events = agent.stop();
    let servers = events.of_port(port, Side::Server);
    assert_eq!(servers.len(), 4);
    for (((http, version, name, url, curl, response), record), server) in
        done.iter().zip(records).zip(&servers)
    {
        let client = single(&events, curl.pid);
        assert_identity(&client, Side::Client, Some(curl.pid), "/usr/bin/curl", name);
        assert_identity(server, Side::Server, None, "/usr/sbin/nginx", name);
        assert_ends_agree(&client, server);
        let protocol = if *http == "2" { "http2" } else { "http1" };
        for (end, side) in [(&client, Side::Client), (server, Side::Server)] {
            assert_healthy(end, Transport::Tls);
            let connection = &end.connection;
            assert_eq!(connection["l7Protocol"], protocol);
            assert_eq!(connection["tlsVersion"], format!("TLS {version}"));
            assert_eq!(connection["tls"]["sni"], *name);
            // TLS 1.3 answers the offer in an encrypted message, which calls do not show.
            if source != "calls" || *version == "1.2" {
                let agreed = if *http == "2" { "h2" } else { "http/1.1" };
                assert_eq!(connection["tls"]["alpn"], agreed);
            }
            assert_eq!(connection["transactions"], 1);
            if source != "auto" {
                assert_eq!(connection["meta"]["tlsSource"], source);
            }
            let transaction = one(&end.transactions);
            assert_complete(transaction, None, Some(&hex_sha256(&document)));
            assert_eq!(transaction["request"]["url"], *url);
            assert_eq!(transaction["request"]["path"], "/document?a=1&b=%20c");
            assert_eq!(transaction["request"]["protocol"], protocol);
            assert_eq!(transaction["response"]["status"], 200);
            assert_eq!(headers_of(&transaction["response"]), fields(response));
            let mut sent = headers_of(&transaction["request"]);
            if *http == "1.1" {
                assert_eq!(sent.remove("host"), Some(vec![format!("{name}:{port}")]));
                let (written, read) = match side {
                    Side::Client => ("received", "sent"),
                    Side::Server => ("sent", "received"),
                };
                assert_eq!(transaction["metadata"]["bytes_sent"], record.number(written));
                assert_eq!(transaction["metadata"]["bytes_received"], record.number(read));
            } else {
                assert_eq!(transaction["request"]["authority"], format!("{name}:{port}"));
            }
            let expected =
                json!({"accept": ["*/*"], "user-agent": [record.0["agent"]], "x-test": ["one", "two"]});
            assert_eq!(json!(sent), expected);
        }
    }
}

/// "curl HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3", each connection by the source that suits it.
#[test]
fn curl_over_tls_is_captured_at_both_ends() {
    curl_over_tls("auto");
}

/// "`tap.tls.source: auto|calls|secrets`": the same by secrets alone.
#[test]
fn curl_over_tls_is_captured_by_secrets() {
    curl_over_tls("secrets");
}

/// "`tap.tls.source: auto|calls|secrets`": the same by calls alone.
#[test]
fn curl_over_tls_is_captured_by_calls() {
    curl_over_tls("calls");
}

/// "plain curl": both ends, with a query, a body and repeated header fields.
#[test]
fn plain_curl_is_captured_at_both_ends() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("http://plain.qtap.test:{}/repeated?q=a%2Fb&&=", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .args(&[
            "--data-binary",
            "some text",
            "-H",
            "X-Twice: 1",
            "-H",
            "x-twice: 2",
            "-H",
            "Authorization: Bearer abcdefghijklmnopqrst",
        ])
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    let truth = server.truths("transaction", 1);
    let totals = server.truths("connection", 1);
    let events = agent.stop();
    let client = single(&events, curl.pid);
    let accepted = single(&events, server.pid());
    assert_identity(
        &client,
        Side::Client,
        Some(curl.pid),
        "/usr/bin/curl",
        "plain.qtap.test",
    );
    for (end, side) in [(&client, Side::Client), (&accepted, Side::Server)] {
        assert_healthy(end, Transport::Plain);
        assert_truth(one(&end.transactions), &truth[0], side);
        assert_eq!(end.transactions[0]["request"]["url"], url);
        assert_eq!(end.requests[0]["authTokenSource"], "Authorization");
        assert_eq!(end.requests[0]["authTokenType"], "bearer");
    }
    assert_eq!(client.connection["bytesSent"], totals[0].0["received"]);
    assert_eq!(client.connection["bytesReceived"], totals[0].0["sent"]);
    assert_eq!(client.connection["direction"], "egress-internal");
    assert_ends_agree(&client, &accepted);
}

/// "Debian's wget … over GnuTLS".
#[test]
fn wget_over_gnutls_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config::default());
    let url = format!("https://localhost:{}/bytes/30721", server.port);
    let wget = run_ok(
        Command::new("wget")
            .args(["-q", "-4", "--no-proxy", "--tries=1", "--timeout=20", "-O", "-"])
            .arg("--ca-certificate")
            .arg(&certificates.authority)
            .arg(&url),
    );
    wait_for_both_ends(&agent, server.port, 1);
    let truth = server.truths("transaction", 1);
    let events = agent.stop();
    let capture = single(&events, wget.pid);
    assert_healthy(&capture, Transport::Tls);
    assert_identity(
        &capture,
        Side::Client,
        Some(wget.pid),
        "/usr/bin/wget",
        "localhost",
    );
    assert_truth(&capture.transactions[0], &truth[0], Side::Client);
    assert_eq!(
        truth[0].text("response_body_sha256"),
        Some(&*hex_sha256(&wget.stdout))
    );
    assert_eq!(
        capture.connection["meta"]["tlsProbeTypesDetected"],
        json!(["gnutls"])
    );
    let accepted = single(&events, server.pid());
    assert_healthy(&accepted, Transport::Tls);
    assert_truth(&accepted.transactions[0], &truth[0], Side::Server);
    assert_ends_agree(&capture, &accepted);
}

/// "`git clone` over GnuTLS": every request of git's own TLS connection.
#[test]
fn git_clone_over_gnutls_is_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let nginx = tls_nginx(folder.path(), &certificates, port, "", b"unused");
    let repository = nginx.document_root().join("repository.git");
    make_repository(folder.path(), &repository);
    let agent = Agent::start(&Config::default());
    let clone = folder.path().join("clone");
    run_ok(
        Command::new("/usr/bin/git")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_SSL_CAINFO", &certificates.authority)
            .env("HOME", folder.path())
            .args([
                "-c",
                &format!("http.curloptResolve=git.qtap.test:{port}:127.0.0.1"),
                "-c",
                "http.proxy=",
            ])
            .args([
                "clone",
                "-q",
                &format!("https://git.qtap.test:{port}/repository.git"),
            ])
            .arg(&clone),
    );
    assert_eq!(
        std::fs::read(clone.join("file")).unwrap(),
        deterministic_bytes(5000)
    );
    agent.wait_for("git's connections", Duration::from_secs(20), |events| {
        !events.of_port(port, Side::Client).is_empty()
    });
    let records = nginx.records(1, |_| true);
    let connections = {
        let mut ports: Vec<_> = records
            .iter()
            .map(|record| record.number("client_port"))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports.len()
    };
    wait_for_both_ends(&agent, port, connections);
    let events = agent.stop();
    for side in [Side::Client, Side::Server] {
        let captures = events.of_port(port, side);
        assert_eq!(captures.len(), connections);
        let mut seen = Vec::new();
        for capture in &captures {
            assert_healthy(capture, Transport::Tls);
            assert_eq!(capture.connection["tls"]["sni"], "git.qtap.test");
            if side == Side::Client {
                let exe = capture.connection["source"]["exe"].as_str().unwrap();
                assert!(exe.starts_with("/usr/lib/git-core/git-remote-http"), "{exe}");
            }
            seen.extend(capture.transactions.iter().map(|transaction| {
                (
                    transaction["request"]["path"].as_str().unwrap().to_owned(),
                    transaction["response"]["status"].to_string(),
                )
            }));
        }
        let mut said: Vec<_> = records
            .iter()
            .map(|record| {
                (
                    record.0["uri"].as_str().unwrap().to_owned(),
                    record.0["status"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        seen.sort();
        said.sort();
        assert_eq!(seen, said, "{side:?}");
    }
}

/// A bare repository with one commit, ready for git's dumb HTTP protocol.
fn make_repository(folder: &Path, bare: &Path) {
    let work = folder.join("work");
    let git = |arguments: &[&str], at: &Path| {
        let mut command = Command::new("/usr/bin/git");
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", folder)
            .arg("-C")
            .arg(at)
            .args(arguments);
        run_ok(&mut command);
    };
    std::fs::create_dir(&work).unwrap();
    git(&["init", "-q", "-b", "main"], &work);
    std::fs::write(work.join("file"), deterministic_bytes(5000)).unwrap();
    git(&["add", "file"], &work);
    git(
        &[
            "-c",
            "user.name=e2e",
            "-c",
            "user.email=e2e@qtap.test",
            "commit",
            "-q",
            "-m",
            "One file",
        ],
        &work,
    );
    git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()], &work);
    git(&["update-server-info"], bare);
}

/// "Python requests, urllib, **aiohttp** (memory BIO)", with Python's own server at the other end.
fn python_clients(version: &str) {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &["--tls", version]);
    let agent = Agent::start(&Config::default());
    let ca = certificates.authority.to_string_lossy().into_owned();
    let modes = ["requests", "urllib", "aiohttp", "http-client"];
    let mut done = Vec::new();
    for mode in modes {
        let url = format!("https://{mode}.qtap.test:{}/echo?from={mode}", server.port);
        let finished = run_ok(
            client(mode)
                .arg(&url)
                .args(["--ca", &ca, "--method", "POST", "--size", "30721"]),
        );
        done.push((mode, finished));
        wait_for_both_ends(&agent, server.port, done.len());
    }
    let truths = server.truths("transaction", done.len());
    let events = agent.stop();
    let accepted = events.of_port(server.port, Side::Server);
    assert_eq!(accepted.len(), done.len());
    let interpreter = std::fs::canonicalize("/usr/bin/python3").unwrap();
    for (((mode, finished), truth), accepted) in done.iter().zip(&truths).zip(&accepted) {
        let capture = single(&events, finished.pid);
        let answer = &finished.json()["answers"][0];
        assert_eq!(answer["body_sha256"], truth.0["response_body_sha256"], "{mode}");
        let name = format!("{mode}.qtap.test");
        assert_identity(
            &capture,
            Side::Client,
            Some(finished.pid),
            interpreter.to_str().unwrap(),
            &name,
        );
        assert_identity(
            accepted,
            Side::Server,
            Some(server.pid()),
            interpreter.to_str().unwrap(),
            &name,
        );
        for (end, side) in [(&capture, Side::Client), (accepted, Side::Server)] {
            assert_healthy(end, Transport::Tls);
            assert_truth(one(&end.transactions), truth, side);
            assert_eq!(end.connection["tlsVersion"], format!("TLS {version}"));
            assert_eq!(end.connection["tls"]["sni"], name);
            assert_eq!(
                end.connection["meta"]["tlsProbeTypesDetected"],
                json!(["openssl"])
            );
        }
        assert_ends_agree(&capture, accepted);
    }
}

/// "Python requests, urllib, **aiohttp** (memory BIO)" over TLS 1.3.
#[test]
fn python_clients_over_tls13_are_captured() {
    python_clients("1.3");
}

/// "Python requests, urllib, **aiohttp** (memory BIO)" over TLS 1.2.
#[test]
fn python_clients_over_tls12_are_captured() {
    python_clients("1.2");
}

/// Twenty aiohttp requests at once in one thread: memory BIOs of many connections interleave.
#[test]
fn concurrent_aiohttp_requests_are_told_apart() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config::default());
    let url = format!("https://many.qtap.test:{}/bytes/65536?delay=0.05", server.port);
    let finished = run_ok(
        client("aiohttp")
            .arg(&url)
            .arg("--ca")
            .arg(&certificates.authority)
            .args(["--count", "20", "--parallel", "20"]),
    );
    wait_for_both_ends(&agent, server.port, 20);
    let truths = server.truths("transaction", 20);
    let events = agent.stop();
    for pid in [finished.pid, server.pid()] {
        let captures = events.of_pid(pid);
        assert_eq!(captures.len(), 20);
        for capture in &captures {
            assert_healthy(capture, Transport::Tls);
            assert_complete(
                one(&capture.transactions),
                None,
                truths[0].text("response_body_sha256"),
            );
        }
    }
}

/// A memory BIO whose records are written and read in pieces of 1 to 97 bytes; the socket's bytes as the client counted.
#[test]
fn memory_bio_in_small_pieces_reconciles_with_the_socket() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    let agent = Agent::start(&Config::default());
    let url = format!("https://pieces.qtap.test:{}/bytes/30720", server.port);
    let finished = run_ok(
        client("memory-bio")
            .arg(&url)
            .arg("--ca")
            .arg(&certificates.authority),
    );
    wait_for_both_ends(&agent, server.port, 1);
    let truth = server.truths("transaction", 1);
    let events = agent.stop();
    let capture = single(&events, finished.pid);
    assert_healthy(&capture, Transport::Tls);
    assert_truth(&capture.transactions[0], &truth[0], Side::Client);
    let answer = &finished.json()["answers"][0];
    assert_eq!(capture.connection["bytesSent"], answer["socket_sent"]);
    assert_eq!(capture.connection["bytesReceived"], answer["socket_received"]);
}

/// "`openssl s_client`" against "`openssl s_server`": no HTTP library at either end.
#[test]
fn s_client_and_s_server_are_captured() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let document = deterministic_bytes(3000);
    std::fs::write(folder.path().join("document"), &document).unwrap();
    let port = free_port();
    let mut server = Command::new("openssl");
    server.current_dir(folder.path()).args([
        "s_server",
        "-quiet",
        "-WWW",
        "-accept",
        &format!("127.0.0.1:{port}"),
    ]);
    server
        .arg("-cert")
        .arg(&certificates.certificate)
        .arg("-key")
        .arg(&certificates.key);
    let server = Program::start(server.stdin(std::process::Stdio::null()));
    qtap_e2e::wait_for_listener(port);
    let agent = Agent::start(&Config::default());
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-quiet",
        "-servername",
        "sclient.qtap.test",
        "-connect",
        &format!("127.0.0.1:{port}"),
    ]);
    let mut program = Program::start(command.stdin(std::process::Stdio::piped()));
    program.say("GET /document HTTP/1.0\r\nHost: sclient.qtap.test\r\n\r");
    let pid = program.pid();
    // -quiet implies -ign_eof: it ends when the server does.
    let finished = program.finish(Duration::from_secs(20));
    assert!(finished.stdout.ends_with(&document), "{}", finished.errors());
    wait_for_both_ends(&agent, port, 1);
    let events = agent.stop();
    let client = single(&events, pid);
    let accepted = single(&events, server.pid());
    for (end, side, pid) in [
        (&client, Side::Client, pid),
        (&accepted, Side::Server, server.pid()),
    ] {
        assert_healthy(end, Transport::Tls);
        assert_identity(end, side, Some(pid), "/usr/bin/openssl", "sclient.qtap.test");
        let transaction = one(&end.transactions);
        assert_complete(transaction, None, Some(&hex_sha256(&document)));
        assert_eq!(transaction["request"]["path"], "/document");
    }
    assert_ends_agree(&client, &accepted);
}

/// "nginx … as reverse proxy HTTP→HTTPS and HTTPS→HTTP": four ends each, one exchange at each.
#[test]
fn nginx_as_reverse_proxy_is_captured_at_all_four_ends() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let plain = PythonServer::http(folder.path());
    let tls = PythonServer::https(folder.path(), &certificates, &[]);
    let (to_tls, to_plain) = (free_port(), free_port());
    let (certificate, key, ca) = (
        certificates.certificate.display(),
        certificates.key.display(),
        certificates.authority.display(),
    );
    let servers = format!(
        "server {{ listen 127.0.0.1:{to_tls}; location / {{ proxy_pass https://127.0.0.1:{}; proxy_ssl_server_name on; \
         proxy_ssl_name upstream.qtap.test; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; \
         proxy_set_header Host $http_host; }} }}\n\
         server {{ listen 127.0.0.1:{to_plain} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key}; \
         location / {{ proxy_pass http://127.0.0.1:{}; proxy_set_header Host $http_host; }} }}",
        tls.port, plain.port
    );
    let nginx = Nginx::start(folder.path(), &servers, &[to_tls, to_plain]);
    let agent = Agent::start(&Config::default());
    let mut seen = Vec::new();
    for (scheme, front, back) in [("http", to_tls, &tls), ("https", to_plain, &plain)] {
        let url = format!("{scheme}://front.qtap.test:{front}/echo");
        let (curl, _) = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .args(&["--data-binary", "through a proxy"])
            .run();
        assert_eq!(curl.text(), "through a proxy");
        wait_for_both_ends(&agent, front, 1);
        wait_for_both_ends(&agent, back.port, 1);
        seen.push((scheme, front, back, back.truths("transaction", 1)));
    }
    let events = agent.stop();
    for (scheme, front, back, truth) in seen {
        let (near, far) = if scheme == "http" {
            (Transport::Plain, Transport::Tls)
        } else {
            (Transport::Tls, Transport::Plain)
        };
        let body = hex_sha256(b"through a proxy");
        for (port, side, transport) in [
            (front, Side::Client, near),
            (front, Side::Server, near),
            (back.port, Side::Client, far),
            (back.port, Side::Server, far),
        ] {
            let capture = single_on_port(&events, port, side);
            assert_healthy(&capture, transport);
            assert_complete(&capture.transactions[0], Some(&body), Some(&body));
            if port == back.port {
                assert_truth(&capture.transactions[0], &truth[0], side);
            }
        }
        let name = single_on_port(&events, back.port, Side::Client).connection["meta"]["endpointId"].clone();
        let expected = if scheme == "http" {
            "upstream.qtap.test"
        } else {
            "front.qtap.test"
        };
        assert_eq!(name, expected);
    }
    drop(nginx);
}
