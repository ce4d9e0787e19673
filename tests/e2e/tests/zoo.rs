//! The programs that the other tests use work without an agent: a failure here is not the agent's.

use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Certificates, Namespaces, Nginx, PythonServer, client, deterministic_bytes, free_port, hex_sha256,
    python, run_ok, scratch,
};

/// Every Python client gets from the Python server what the server says it sent, with and without TLS.
#[test]
fn python_clients_and_server_agree() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let ca = certificates.authority.to_string_lossy().into_owned();
    let plain = PythonServer::http(folder.path());
    let tls = PythonServer::https(folder.path(), &certificates, &[]);
    let mut expected = 0;
    for mode in [
        "requests",
        "urllib",
        "http-client",
        "aiohttp",
        "pipeline",
        "memory-bio",
    ] {
        for (scheme, server) in [("http", &plain), ("https", &tls)] {
            if mode == "memory-bio" && scheme == "http" {
                continue;
            }
            let url = format!("{scheme}://{mode}.qtap.test:{}/bytes/30721", server.port);
            let answer = run_ok(client(mode).arg(&url).args(["--ca", &ca])).json();
            let truths = server.truths("transaction", expected + 1);
            let truth = truths
                .iter()
                .find(|truth| truth.0["request_headers"].to_string().contains(mode))
                .unwrap();
            assert_eq!(answer["answers"][0]["status"], 200, "{mode} {scheme}");
            assert_eq!(
                answer["answers"][0]["body_sha256"], truth.0["response_body_sha256"],
                "{mode} {scheme}"
            );
            assert_eq!(truth.number("response_body_len"), 30721);
        }
        expected += usize::from(mode != "memory-bio");
    }
}

/// curl gets every kind of answer of the Python server.
#[test]
fn curl_takes_every_answer_of_the_python_server() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let paths = [
        "bytes/0",
        "echo",
        "repeated",
        "status/204",
        "status/304",
        "early-hints",
        "chunked/30720",
        "trailers/511",
        "encoded/gzip/5000",
        "encoded/br/5000",
        "encoded/zstd/5000",
        "encoded/deflate/5000",
        "close/512",
        "sse/3",
        "sendfile/5000",
        "bytes/100?pieces=1",
    ];
    for (index, path) in paths.iter().enumerate() {
        let url = format!("http://127.0.0.1:{}/{path}", server.port);
        let body = run_ok(Command::new("curl").args([
            "-sS",
            "--compressed",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            &url,
        ]));
        let truths = server.truths("transaction", index + 1);
        let digest = (!body.stdout.is_empty()).then(|| hex_sha256(&body.stdout));
        assert_eq!(
            digest.as_deref(),
            truths[index].text("response_body_sha256"),
            "{path}"
        );
    }
}

/// nginx serves HTTP/1.1 and HTTP/2 over TLS, and says what it sent.
#[test]
fn nginx_says_what_it_sent() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let server = format!(
        "server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {}; }}",
        certificates.certificate.display(),
        certificates.key.display(),
    );
    let nginx = Nginx::start(folder.path(), &server, &[port]);
    let document = deterministic_bytes(100_000);
    nginx.put("document", &document);
    for protocol in ["--http1.1", "--http2"] {
        let url = format!("https://localhost:{port}/document");
        let got = run_ok(
            Command::new("curl")
                .args(["-sS", "--noproxy", "*", protocol, "--cacert"])
                .arg(&certificates.authority)
                .arg(&url),
        );
        assert!(got.stdout == document, "{protocol}: {} bytes", got.stdout.len());
    }
    let records = nginx.records(2, |_| true);
    assert_eq!(
        (records[0].0["protocol"].as_str(), records[0].number("body")),
        (Some("HTTP/1.1"), 100_000)
    );
    assert_eq!(
        (records[1].0["protocol"].as_str(), records[1].number("body")),
        (Some("HTTP/2.0"), 100_000)
    );
}

/// The two network namespaces reach each other at private and public addresses of both families.
#[test]
fn namespaces_reach_each_other() {
    let folder = scratch();
    let namespaces = Namespaces::create();
    let mut command = python("server.py");
    command.args(["--host", "::"]);
    let server = PythonServer::start_command(folder.path(), namespaces.server(&command));
    for address in [
        Namespaces::PRIVATE_V4,
        Namespaces::PUBLIC_V4,
        Namespaces::PRIVATE_V6,
        Namespaces::PUBLIC_V6,
    ] {
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let url = format!("http://{host}:{}/text/10", server.port);
        run_ok(&mut namespaces.client(Command::new("curl").args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "10",
            &url,
        ])));
    }
    assert_eq!(server.truths("connection", 4).len(), 4);
    drop(server);
    std::thread::sleep(Duration::from_millis(10));
}
