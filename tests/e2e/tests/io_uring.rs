//! Programs that move bytes by io_uring, which no system call shows.
//!
//! DESIGN §3.2: what cannot be seen becomes a gap of known length, and the verdict says why. What a kernel shows of io_uring
//! differs; `scripts/test-kernels` runs the same program on others.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use qtap_e2e::{
    Agent, Capture, Config, Program, Side, Transport, assert_complete, assert_healthy, free_port, hex_sha256,
    one, programs, qtap_command, run, run_ok, scratch, wait_for_both_ends,
};
use serde_json::Value;

const BODY_BYTES: usize = 100_000;

fn build(folder: &Path) -> PathBuf {
    let program = folder.join("uring");
    let source = programs().join("uring.c");
    run_ok(Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(source));
    program
}

/// Whether a group of hooks works on this host.
fn works(group: &str) -> bool {
    let document: Value =
        serde_json::from_slice(&run(qtap_command().args(["doctor", "--json"])).stdout).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let name = format!("hooks: {group}");
    let finding = findings.iter().find(|finding| finding["name"] == name.as_str());
    finding.unwrap_or_else(|| panic!("doctor does not mention {group}"))["ok"] == true
}

/// Both ends of one exchange that `way` moves: the client's, the server's.
fn exchange(way: &str) -> [Capture; 2] {
    let folder = scratch();
    let program = build(folder.path());
    let port = free_port().to_string();
    let agent = Agent::start(&Config::default());
    let mut server = Program::start(Command::new(&program).args(["server", &port, way]));
    assert_eq!(server.line(Duration::from_secs(20)), "listening");
    let client = run_ok(Command::new(&program).args(["client", &port, way]));
    let length: usize = client.text().trim().parse().unwrap();
    assert!(length > BODY_BYTES);
    let finished = server.finish(Duration::from_secs(20));
    assert!(finished.status.success(), "{}", finished.errors());
    let port = port.parse().unwrap();
    wait_for_both_ends(&agent, port, 1);
    let events = agent.stop();
    [Side::Client, Side::Server].map(|side| one(&events.of_port(port, side)).clone())
}

fn assert_read(capture: &Capture) {
    assert_healthy(capture, Transport::Plain);
    let body: Vec<u8> = (0..BODY_BYTES).map(|index| b'a' + (index % 23) as u8).collect();
    assert_complete(&capture.transactions[0], None, Some(&hex_sha256(&body)));
}

/// The verdict names io_uring, and every byte that is not there is counted.
fn assert_told(capture: &Capture) {
    let health = &capture.connection["health"];
    assert_eq!(capture.status(), "degraded", "{health:#}");
    assert_eq!(capture.reasons()[0], "io_uring", "{health:#}");
    let number = |key: &str| health[key].as_u64().unwrap();
    assert!(
        number("socketBytesSent") > 0 && number("socketBytesReceived") > 0,
        "{health:#}"
    );
    assert!(
        number("capturedBytesSent") + number("capturedBytesReceived")
            < number("socketBytesSent") + number("socketBytesReceived"),
        "{health:#}"
    );
}

#[test]
fn sends_and_receives_are_read() {
    for capture in exchange("message") {
        if works("io-uring") {
            assert_read(&capture);
        } else {
            assert_told(&capture);
        }
    }
}

#[test]
fn reads_and_writes_are_read() {
    for capture in exchange("file") {
        if works("io-uring") {
            assert_read(&capture);
        } else {
            assert_told(&capture);
        }
    }
}

/// The vectors may be reused once they are submitted, so what they hold at the end is not trusted.
#[test]
fn vectors_are_a_gap_of_known_length() {
    for capture in exchange("vector") {
        assert_told(&capture);
        let health = &capture.connection["health"];
        if works("io-uring") {
            let moved = ["socketBytesSent", "socketBytesReceived"].map(|key| health[key].as_u64().unwrap());
            assert_eq!(health["gapBytes"], moved[0] + moved[1], "{health:#}");
        }
    }
}

#[test]
fn repeated_receives_are_read_where_the_kernel_lets_its_functions_be_hooked_and_told_where_not() {
    for capture in exchange("multishot") {
        if works("io-uring") && works("io-uring-hooks") {
            assert_read(&capture);
        } else {
            assert_told(&capture);
        }
    }
}
