//! Programs that live for a moment.
//!
//! Required: "a 50 ms curl started one second after the agent loses nothing".

use std::time::Duration;

use qtap_e2e::{
    Agent, Certificates, Config, Curl, Nginx, Program, PythonServer, Side, Transport, assert_complete,
    assert_healthy, assert_nothing_in_flight, assert_truth, deterministic_bytes, free_port, hex_sha256, one,
    scratch, single, wait_for_both_ends,
};

/// Programs started at once.
const CURLS: usize = 500;

/// "so that a 50 ms curl started one second after the agent loses nothing", and at once after it is ready.
#[test]
fn the_first_curl_after_the_start_loses_nothing() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let server = PythonServer::https(folder.path(), &certificates, &[]);
    for round in 0..3 {
        let agent = Agent::start(&Config::default());
        let url = format!("https://first.qtap.test:{}/bytes/1000", server.port);
        let (curl, _) = Curl::new(folder.path(), &url)
            .authority(&certificates.authority)
            .run();
        wait_for_both_ends(&agent, server.port, 1);
        let truths = server.truths("transaction", round + 1);
        let events = agent.stop();
        let capture = single(&events, curl.pid);
        assert_healthy(&capture, Transport::Tls);
        assert_truth(&capture.transactions[0], &truths[round], Side::Client);
    }
}

/// "500 curls in parallel, each 50 ms long: 500 connections and transactions, or loss counted so that the sum is 500."
#[test]
fn five_hundred_parallel_curls_are_all_accounted_for() {
    let folder = scratch();
    let certificates = Certificates::make(folder.path());
    let port = free_port();
    let server = format!(
        "server {{ listen 127.0.0.1:{port} ssl http2 backlog=1024; ssl_certificate {}; ssl_certificate_key {}; }}",
        certificates.certificate.display(),
        certificates.key.display()
    );
    let nginx = Nginx::start(folder.path(), &server, &[port]);
    let document = deterministic_bytes(2000);
    nginx.put("document", &document);
    let agent = Agent::start(&Config::default());
    let curls: Vec<Program> = (0..CURLS)
        .map(|_| {
            let url = format!("https://short.qtap.test:{port}/document");
            let command = Curl::new(folder.path(), &url)
                .authority(&certificates.authority)
                .args(&["-o", "/dev/null"]);
            Program::start(&mut command.command())
        })
        .collect();
    let mut pids = Vec::new();
    for curl in curls {
        let finished = curl.finish(Duration::from_secs(60));
        assert!(finished.status.success(), "{}", finished.errors());
        pids.push(finished.pid);
    }
    // Loss is not known before all that is not lost has come.
    let mut known = 0;
    let mut quiet = 0;
    while quiet < 10 {
        std::thread::sleep(Duration::from_millis(200));
        let now = agent.events().of_port(port, Side::Client).len();
        quiet = if now == known { quiet + 1 } else { 0 };
        known = now;
    }
    assert_nothing_in_flight(&agent);
    let lost = agent.lost();
    let log = agent.log();
    let events = agent.stop();
    let digest = hex_sha256(&document);
    for side in [Side::Client, Side::Server] {
        let captures = events.of_port(port, side);
        let (mut whole, mut flagged) = (0, Vec::new());
        for capture in &captures {
            if capture.status() == "healthy" {
                assert_healthy(capture, Transport::Tls);
                assert_complete(one(&capture.transactions), None, Some(&digest));
                whole += 1;
            } else {
                assert!(!capture.reasons().is_empty(), "{:#}", capture.connection);
                flagged.push(&capture.connection);
            }
        }
        let missing = CURLS - captures.len();
        assert!(
            missing as f64 <= lost,
            "{missing} connections are missing and {lost} losses counted\n{log}"
        );
        assert_eq!(whole + flagged.len() + missing, CURLS);
        assert!(
            flagged.is_empty() || lost > 0.0,
            "not healthy though nothing is lost: {flagged:#?}"
        );
        println!(
            "{side:?}: {whole} healthy, {} flagged, {missing} missing",
            flagged.len()
        );
    }
    let captures = events.of_port(port, Side::Client);
    let mut seen: Vec<u64> = captures
        .iter()
        .map(|capture| capture.connection["source"]["pid"].as_u64().unwrap_or(0))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    if lost == 0.0 {
        pids.sort_unstable();
        assert_eq!(seen, pids.iter().map(|pid| u64::from(*pid)).collect::<Vec<_>>());
    }
}
