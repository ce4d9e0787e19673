//! What HTTP can do to a capture: bodies of every size and framing, codings, interim and empty responses, pipelines,
//! streams, upgrades.
//!
//! Issue "What shows that it is done" 2, at both ends, in cleartext and over TLS.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Events, Finished, Nginx, Program, PythonServer, Side, Transport,
    assert_complete, assert_healthy, assert_sums, assert_truth, client, deterministic_bytes, free_port,
    headers_of, hex_sha256, one, run_ok, scratch, single, single_on_port, wait_for_both_ends,
    wait_for_listener,
};
use serde_json::json;

/// A cleartext and a TLS server with the same answers.
struct Site {
    folder: tempfile::TempDir,
    certificates: Certificates,
    plain: PythonServer,
    tls: PythonServer,
}

impl Site {
    fn new() -> Self {
        let folder = scratch();
        let certificates = Certificates::make(folder.path());
        let plain = PythonServer::http(folder.path());
        let tls = PythonServer::https(folder.path(), &certificates, &[]);
        Self {
            folder,
            certificates,
            plain,
            tls,
        }
    }

    fn each(&self) -> [(&'static str, &PythonServer, Transport); 2] {
        [
            ("http", &self.plain, Transport::Plain),
            ("https", &self.tls, Transport::Tls),
        ]
    }

    /// Runs curl for each of `cases` (path, arguments) in cleartext and over TLS, one connection each, and checks both ends
    /// against what the server says. The events are returned for more.
    fn curl_cases(&self, config: &Config, cases: &[(&str, &[&str])]) -> Events {
        let agent = Agent::start(config);
        let mut clients = Vec::new();
        for (scheme, server, transport) in self.each() {
            for (index, (path, arguments)) in cases.iter().enumerate() {
                let url = format!("{scheme}://case.qtap.test:{}{path}", server.port);
                let (curl, _) = Curl::new(self.folder.path(), &url)
                    .authority(&self.certificates.authority)
                    .args(&["--http1.1", "-o", "/dev/null"])
                    .args(arguments)
                    .run();
                clients.push((transport, server, index, curl.pid));
            }
        }
        for (_, server, _) in self.each() {
            wait_for_both_ends(&agent, server.port, cases.len());
        }
        let events = agent.stop();
        for (transport, server, index, pid) in clients {
            let truth = &server.truths("transaction", cases.len())[index];
            let capture = single(&events, pid);
            assert_healthy(&capture, transport);
            assert_truth(&capture.transactions[0], truth, Side::Client);
            let accepted = &events.of_port(server.port, Side::Server)[index];
            assert_healthy(accepted, transport);
            assert_truth(one(&accepted.transactions), truth, Side::Server);
        }
        events
    }
}

/// "bodies 0 B to 64 MiB including 511, 512, 30719, 30720, 30721, 65536, 122880": responses.
#[test]
fn response_bodies_of_every_size_are_exact() {
    let sizes = [
        0, 1, 511, 512, 16384, 16385, 30719, 30720, 30721, 65535, 65536, 122_880, 1_048_576,
    ];
    let paths: Vec<String> = sizes.iter().map(|size| format!("/bytes/{size}")).collect();
    let cases: Vec<(&str, &[&str])> = paths.iter().map(|path| (path.as_str(), &[] as &[&str])).collect();
    let _ = Site::new().curl_cases(
        &Config {
            limits: "body: 4mb, call: 2mb".to_owned(),
            ..Config::default()
        },
        &cases,
    );
}

/// "bodies 0 B to 64 MiB …": requests.
#[test]
fn request_bodies_of_every_size_are_exact() {
    let site = Site::new();
    let sizes = [1, 511, 512, 30719, 30720, 30721, 65536, 122_880, 1_048_576];
    let arguments: Vec<String> = sizes
        .iter()
        .map(|size| {
            let file = site.folder.path().join(format!("body-{size}"));
            std::fs::write(&file, deterministic_bytes(*size)).unwrap();
            format!("@{}", file.display())
        })
        .collect();
    let all: Vec<[&str; 4]> = arguments
        .iter()
        .map(|argument| ["--data-binary", argument.as_str(), "-H", "Expect:"])
        .collect();
    let cases: Vec<(&str, &[&str])> = all.iter().map(|arguments| ("/echo", &arguments[..])).collect();
    let _ = site.curl_cases(
        &Config {
            limits: "body: 4mb, call: 2mb".to_owned(),
            ..Config::default()
        },
        &cases,
    );
}

/// "bodies 0 B to 64 MiB": the largest, with a limit that lets it through.
#[test]
fn a_body_of_64_mib_is_exact() {
    let site = Site::new();
    let limits = "body: 80mb, memory: 1gb, data_ring: 256mb".to_owned();
    // Both ends fit into the ring, however slow the machine; a single call of 64 MiB would be cut at `tap.limits.call`.
    let _ = site.curl_cases(
        &Config {
            limits,
            ..Config::default()
        },
        &[("/bytes/67108864?pieces=131072", &[])],
    );
}

/// "truncation flags": a body beyond `tap.limits.body` is cut there, says so, and still has its true length.
#[test]
fn a_body_beyond_the_limit_is_cut_and_says_so() {
    let site = Site::new();
    let agent = Agent::start(&Config {
        limits: "body: 64kb".to_owned(),
        ..Config::default()
    });
    let mut clients = Vec::new();
    for (scheme, server, transport) in site.each() {
        let url = format!("{scheme}://cut.qtap.test:{}/bytes/5000000", server.port);
        let (curl, _) = Curl::new(site.folder.path(), &url)
            .authority(&site.certificates.authority)
            .run();
        wait_for_both_ends(&agent, server.port, 1);
        clients.push((transport, server, curl));
    }
    let events = agent.stop();
    for (transport, server, curl) in clients {
        let capture = single(&events, curl.pid);
        assert_sums(&capture);
        assert_eq!(
            capture.connection["health"]["checks"]["bytes"], "ok",
            "{transport:?} {:#}",
            capture.connection
        );
        assert_eq!(capture.reasons(), ["body_truncated"]);
        let transaction = &capture.transactions[0];
        assert_eq!(transaction["outcome"], "complete");
        let response = &transaction["response"];
        assert_eq!(
            (&response["body_truncated"], &response["body_size_total"]),
            (&json!(true), &json!(5_000_000))
        );
        let kept = base64(response["body"].as_str().unwrap());
        assert!(kept.len() >= 60_000 && kept.len() <= 65_536, "{}", kept.len());
        assert!(curl.stdout.starts_with(&kept));
        let truth = server.truths("transaction", 1);
        assert_eq!(
            transaction["metadata"]["bytes_received"],
            truth[0].0["response_bytes"]
        );
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

/// "chunked with trailers", in both directions, and chunks of every length.
#[test]
fn chunked_bodies_and_trailers_are_exact() {
    let site = Site::new();
    let file = site.folder.path().join("upload");
    std::fs::write(&file, deterministic_bytes(100_000)).unwrap();
    let upload = format!("@{}", file.display());
    let chunked = [
        "-H",
        "Transfer-Encoding: chunked",
        "-H",
        "Expect:",
        "--data-binary",
        upload.as_str(),
    ];
    let events = site.curl_cases(
        &Config::default(),
        &[
            ("/chunked/0", &[]),
            ("/chunked/1", &[]),
            ("/chunked/122880", &[]),
            ("/trailers/30721", &[]),
            ("/echo", &chunked),
        ],
    );
    for (_, server, _) in site.each() {
        let truths = server.truths("transaction", 5);
        for side in [Side::Client, Side::Server] {
            let captures = events.of_port(server.port, side);
            let trailers = &captures[3].transactions[0]["response"]["trailers"];
            let expected = json!({"X-Digest": truths[3].0["response_body_sha256"], "X-End": "yes"});
            assert_eq!(*trailers, expected);
        }
    }
}

/// "gzip, br, zstd, deflate": the coding is removed and named.
#[test]
fn content_codings_are_removed() {
    let codings = ["gzip", "br", "zstd", "deflate"];
    let paths = codings.map(|coding| format!("/encoded/{coding}/50000"));
    let cases: Vec<(&str, &[&str])> = paths.iter().map(|path| (path.as_str(), &[] as &[&str])).collect();
    let site = Site::new();
    let events = site.curl_cases(&Config::default(), &cases);
    for (_, server, _) in site.each() {
        for side in [Side::Client, Side::Server] {
            for (capture, coding) in events.of_port(server.port, side).iter().zip(codings) {
                assert_eq!(capture.transactions[0]["response"]["body_encoding"], coding);
            }
        }
    }
}

/// "100-continue, HEAD, 204, 304", and 103 before 200.
#[test]
fn interim_and_bodiless_responses_are_exact() {
    let site = Site::new();
    let file = site.folder.path().join("upload");
    std::fs::write(&file, deterministic_bytes(30_000)).unwrap();
    let upload = format!("@{}", file.display());
    let expects = ["-H", "Expect: 100-continue", "--data-binary", upload.as_str()];
    let _ = site.curl_cases(
        &Config::default(),
        &[
            ("/echo", &expects),
            ("/bytes/5000", &["--head"]),
            ("/status/204", &[]),
            ("/status/304", &[]),
            ("/early-hints", &[]),
            ("/status/500", &[]),
        ],
    );
}

/// "close-delimited, SSE".
#[test]
fn bodies_that_end_with_the_connection_are_exact() {
    let site = Site::new();
    let events = site.curl_cases(
        &Config::default(),
        &[("/close/0", &[]), ("/close/30721", &[]), ("/sse/10", &[])],
    );
    let streamed = &events.of_port(site.tls.port, Side::Client)[2].transactions[0];
    assert_eq!(streamed["response"]["content_type"], "text/event-stream");
}

/// A response written byte by byte, each byte a TLS record of its own.
#[test]
fn a_response_in_single_bytes_is_exact() {
    let _ = Site::new().curl_cases(
        &Config::default(),
        &[("/bytes/700?pieces=1", &[]), ("/bytes/70000?pieces=1000", &[])],
    );
}

/// A server that reads one byte a call.
#[test]
fn a_request_read_byte_by_byte_is_exact() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    for (scheme, server, transport) in [
        (
            "http",
            PythonServer::start(folder.path(), &["--read-size", "1"]),
            Transport::Plain,
        ),
        (
            "https",
            PythonServer::https(folder.path(), &certificates, &["--read-size", "1"]),
            Transport::Tls,
        ),
    ] {
        let agent = Agent::start(&Config::default());
        let url = format!("{scheme}://bytewise.qtap.test:{}/echo", server.port);
        let (_, _) = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .args(&["--data-binary", &"x".repeat(300)])
            .run();
        wait_for_both_ends(&agent, server.port, 1);
        let truth = server.truths("transaction", 1);
        let events = agent.stop();
        let accepted = single(&events, server.pid());
        assert_healthy(&accepted, transport);
        assert_truth(&accepted.transactions[0], &truth[0], Side::Server);
    }
}

/// "1,000 requests on one keep-alive connection".
#[test]
fn a_thousand_requests_on_one_connection_are_a_thousand_transactions() {
    many_on_one_connection("http-client", 1000, |number, transaction| {
        assert_eq!(
            headers_of(&transaction["request"])["x-number"],
            [number.to_string()]
        );
    });
}

/// "100 pipelined".
#[test]
fn a_hundred_pipelined_requests_are_a_hundred_transactions() {
    many_on_one_connection("pipeline", 100, |number, transaction| {
        assert_eq!(
            transaction["request"]["path"],
            format!("/bytes/{}?n={number}", 600)
        );
    });
}

fn many_on_one_connection(mode: &str, count: usize, expect: impl Fn(usize, &serde_json::Value)) {
    let site = Site::new();
    let agent = Agent::start(&Config::default());
    let mut clients: Vec<(&PythonServer, Transport, Finished)> = Vec::new();
    for (scheme, server, transport) in site.each() {
        let url = format!("{scheme}://many.qtap.test:{}/bytes/600", server.port);
        let finished = run_ok(
            client(mode)
                .arg(&url)
                .args(["--count", &count.to_string(), "--ca"])
                .arg(&site.certificates.authority),
        );
        wait_for_both_ends(&agent, server.port, 1);
        clients.push((server, transport, finished));
    }
    let events = agent.stop();
    for (server, transport, finished) in clients {
        let truths = server.truths("transaction", count);
        for (pid, side) in [(finished.pid, Side::Client), (server.pid(), Side::Server)] {
            let captures = events.of_pid(pid);
            let capture = one(&captures);
            assert_healthy(capture, transport);
            assert_eq!(
                (capture.requests.len(), capture.transactions.len()),
                (count, count)
            );
            assert_eq!(capture.connection["transactions"], count);
            for (number, (transaction, truth)) in capture.transactions.iter().zip(&truths).enumerate() {
                assert_truth(transaction, truth, side);
                expect(number, transaction);
            }
        }
    }
}

/// nginx with HTTP/2 in cleartext and over TLS, and documents `f/0` to `f/199` of different lengths.
fn http2_nginx(folder: &Path, certificates: &Certificates, upstream: u16) -> (Nginx, u16, u16) {
    let (plain, tls) = (free_port(), free_port());
    let servers = format!(
        "http2_max_concurrent_streams 256; gzip_types *; gzip_min_length 1;\n\
         server {{ listen 127.0.0.1:{plain} http2; }}\n\
         server {{ listen 127.0.0.1:{tls} ssl http2; ssl_certificate {}; ssl_certificate_key {}; \
         location /zipped/ {{ gzip on; }} location /sink {{ proxy_pass http://127.0.0.1:{upstream}; }} }}",
        certificates.certificate.display(),
        certificates.key.display()
    );
    let nginx = Nginx::start(folder, &servers, &[plain, tls]);
    for number in 0..200 {
        nginx.put(&format!("f/{number}"), &deterministic_bytes(number * 331));
    }
    (nginx, plain, tls)
}

/// "200 concurrent HTTP/2 streams", over TLS and with prior knowledge in cleartext.
#[test]
fn two_hundred_concurrent_streams_do_not_mix() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let (_nginx, plain, tls) = http2_nginx(folder.path(), &certificates, 1);
    let agent = Agent::start(&Config::default());
    for (scheme, port) in [("http", plain), ("https", tls)] {
        let urls: String = (0..200)
            .map(|number| format!("{scheme}://127.0.0.1:{port}/f/{number}\n"))
            .collect();
        let list = folder.path().join(format!("urls-{scheme}"));
        std::fs::write(&list, urls).unwrap();
        let finished = run_ok(
            Command::new("h2load")
                .args(["-n", "200", "-c", "1", "-m", "200", "-i"])
                .arg(&list),
        );
        assert!(
            finished.text().contains("200 succeeded, 0 failed"),
            "{}",
            finished.text()
        );
        wait_for_both_ends(&agent, port, 1);
    }
    let events = agent.stop();
    for (port, transport) in [(plain, Transport::Plain), (tls, Transport::Tls)] {
        for side in [Side::Client, Side::Server] {
            let captures = events.of_port(port, side);
            let capture = one(&captures);
            assert_healthy(capture, transport);
            assert_eq!(capture.connection["l7Protocol"], "http2");
            let mut numbers: Vec<usize> = capture
                .transactions
                .iter()
                .map(|transaction| {
                    let number = transaction["request"]["path"].as_str().unwrap()["/f/".len()..]
                        .parse()
                        .unwrap();
                    let body = deterministic_bytes(number * 331);
                    assert_complete(
                        transaction,
                        None,
                        (number > 0).then(|| hex_sha256(&body)).as_deref(),
                    );
                    number
                })
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        }
    }
}

/// HTTP/2 bodies in both directions, large ones under flow control, and gzip (P-2h).
#[test]
fn http2_bodies_are_exact() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let upstream = PythonServer::http(folder.path());
    let (nginx, plain, tls) = http2_nginx(folder.path(), &certificates, upstream.port);
    let document = deterministic_bytes(3_000_000);
    let text = "a text that compresses well\n".repeat(3000);
    nginx.put("large", &document);
    nginx.put("zipped/text", text.as_bytes());
    let upload = folder.path().join("upload");
    std::fs::write(&upload, &document).unwrap();
    let agent = Agent::start(&Config {
        limits: "body: 4mb".to_owned(),
        ..Config::default()
    });
    let data = format!("@{}", upload.display());
    let answer = hex_sha256(hex_sha256(&document).as_bytes());
    let (large, zipped) = (hex_sha256(&document), hex_sha256(text.as_bytes()));
    type Case<'a> = (String, Vec<&'a str>, u16, Option<&'a str>, Option<&'a str>);
    let cases: [Case<'_>; 4] = [
        (
            format!("http://h2.qtap.test:{plain}/large"),
            vec!["--http2-prior-knowledge"],
            plain,
            None,
            Some(&large),
        ),
        (
            format!("https://h2.qtap.test:{tls}/large"),
            vec!["--http2"],
            tls,
            None,
            Some(&large),
        ),
        (
            format!("https://h2.qtap.test:{tls}/zipped/text"),
            vec!["--http2", "--compressed"],
            tls,
            None,
            Some(&zipped),
        ),
        (
            format!("https://h2.qtap.test:{tls}/sink"),
            vec!["--http2", "--data-binary", &data],
            tls,
            Some(&large),
            Some(&answer),
        ),
    ];
    let mut pids = Vec::new();
    for (url, arguments, ..) in &cases {
        let (curl, _) = Curl::new(folder.path(), url)
            .authority(&certificates.authority)
            .args(arguments)
            .args(&["-o", "/dev/null"])
            .run();
        pids.push(curl.pid);
    }
    wait_for_both_ends(&agent, plain, 1);
    wait_for_both_ends(&agent, tls, 3);
    let events = agent.stop();
    for (pid, (url, _, port, request, response)) in pids.iter().zip(&cases) {
        let capture = single(&events, *pid);
        assert_healthy(
            &capture,
            if *port == tls {
                Transport::Tls
            } else {
                Transport::Plain
            },
        );
        assert_complete(&capture.transactions[0], *request, *response);
        assert_eq!(capture.transactions[0]["request"]["url"], *url);
    }
}

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

/// "Bytes without a user buffer (sendfile, splice) counted as a gap of known length."
#[test]
fn a_body_sent_by_sendfile_is_a_gap_of_its_length() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config::default());
    let url = format!("http://sendfile.qtap.test:{}/sendfile/100000", server.port);
    let (curl, _) = Curl::new(folder.path(), &url)
        .args(&["--next", "-sS", "--noproxy", "*", "--resolve"])
        .args(&[
            &format!("sendfile.qtap.test:{}:127.0.0.1", server.port),
            &format!("http://sendfile.qtap.test:{}/bytes/10", server.port),
        ])
        .run();
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let client = events.of_pid(curl.pid);
    assert_healthy(one(&client), Transport::Plain);
    assert_complete(
        &client[0].transactions[0],
        None,
        Some(&hex_sha256(&curl.stdout[..100_000])),
    );
    let accepted = events.of_pid(server.pid());
    let accepted = one(&accepted);
    assert_eq!(accepted.status(), "degraded");
    assert!(
        accepted.reasons().contains(&"unreadable_bytes"),
        "{:#}",
        accepted.connection
    );
    assert_eq!(accepted.connection["health"]["gapBytes"], 100_000);
    assert_sums(accepted);
    let [sendfile, after] = &accepted.transactions[..] else {
        panic!("{:#?}", accepted.transactions)
    };
    assert_eq!(
        (&sendfile["incomplete"], &sendfile["gap_bytes"]),
        (&json!(true), &json!(100_000))
    );
    assert_eq!(sendfile["response"]["body_gap_bytes"], 100_000);
    assert_complete(after, None, Some(&hex_sha256(&curl.stdout[100_000..])));
}

/// "A capped call": a body written in calls larger than `tap.limits.call` is a gap of what is beyond, not a wrong body.
#[test]
fn a_call_beyond_its_cap_leaves_a_gap() {
    let folder = scratch();
    let server = PythonServer::http(folder.path());
    let agent = Agent::start(&Config {
        limits: "body: 4mb, call: 64kb".to_owned(),
        ..Config::default()
    });
    let url = format!("http://capped.qtap.test:{}/bytes/1000000", server.port);
    let (_, _) = Curl::new(folder.path(), &url).run();
    wait_for_both_ends(&agent, server.port, 1);
    let events = agent.stop();
    let accepted = single(&events, server.pid());
    assert_sums(&accepted);
    assert_eq!(accepted.status(), "degraded");
    assert!(
        accepted.reasons().contains(&"call_cap"),
        "{:#}",
        accepted.connection
    );
    let transaction = &accepted.transactions[0];
    assert_eq!(transaction["incomplete"], true);
    assert_eq!(
        transaction["gap_bytes"],
        accepted.connection["health"]["gapBytes"]
    );
    assert_eq!(transaction["response"]["body_size_total"], 1_000_000);
}

/// A client that ends in the middle of a response: the transaction says so, and nothing waits for the rest.
#[test]
fn a_client_that_goes_away_is_canceled() {
    let site = Site::new();
    let agent = Agent::start(&Config::default());
    for (scheme, server, _) in site.each() {
        let url = format!("{scheme}://gone.qtap.test:{}/bytes/1000?delay=30", server.port);
        let mut command = Curl::new(site.folder.path(), &url)
            .authority(&site.certificates.authority)
            .args(&["--max-time", "0.5"])
            .command();
        let finished = qtap_e2e::run(&mut command);
        assert!(!finished.status.success());
        agent.wait_for_connections(&[finished.pid], 1);
        let events = agent.events();
        let captures = events.of_pid(finished.pid);
        agent.wait_for("the canceled transaction", Duration::from_secs(5), |events| {
            events
                .of_pid(finished.pid)
                .iter()
                .any(|capture| capture.transactions.len() == 1)
        });
        assert_eq!(captures.len(), 1);
        let events = agent.events();
        let capture = single(&events, finished.pid);
        assert_eq!(
            capture.transactions[0]["outcome"], "canceled",
            "{:#}",
            capture.transactions[0]
        );
        assert_eq!(capture.transactions[0]["status_unknown"], true);
    }
    let _ = agent.stop();
}
