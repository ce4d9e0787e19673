//! Bodies of every size and framing, codings, interim and empty responses.

use qtap_e2e::{
    Agent, Certificates, Config, Curl, PythonServer, Side, Transport, assert_healthy, assert_sums,
    assert_truth, deterministic_bytes, scratch, single, wait_for_both_ends,
};
use serde_json::json;

use crate::site::Site;

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
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
