//! Connections of which the kernel does the TLS (kTLS): plaintext at the socket, whatever the handshake before it was.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
mod support;

use handshakes::{Pair, Recording, Step};
use qtap_capture::{Direction, Event, KernelTime, Layer, Loss, Role, TlsSecret, Verdict};
use qtap_engine::{CheckName, CheckState, HealthStatus, ReasonCode, TlsSource};
use qtap_protocol::{Outcome, Side};
use rustls::crypto::ring::cipher_suite;
use support::{Bench, MS, PID};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: example.test\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// Header, explicit nonce and tag of a record of TLS 1.2.
const OVERHEAD: u64 = 29;

/// A handshake, and what the server sends after it.
fn handshake(suite: rustls::SupportedCipherSuite, response: &[u8]) -> Recording {
    Pair::new(suite).run(&[Step::Send(Side::Server, response.to_vec())])
}

fn direction_of(role: Role, side: Side) -> Direction {
    let is_own = matches!(
        (role, side),
        (Role::Client, Side::Client) | (Role::Server, Side::Server)
    );
    if is_own {
        Direction::Egress
    } else {
        Direction::Ingress
    }
}

fn tell(bench: &mut Bench, recording: &Recording) {
    for secret in &recording.secrets {
        bench.send(Event::Secret(TlsSecret {
            time: KernelTime(bench.now),
            pid: PID,
            tid: PID.0,
            label: secret.label.name(),
            secret: secret.bytes.clone(),
            client_random: None,
            connection: Some(bench.id),
            origin: None,
        }));
    }
}

fn by_kernel(bench: &mut Bench, direction: Direction, bytes: &[u8], missing: Option<(u32, Loss)>) {
    let data = bench.record(direction, Layer::KernelTls, bytes, missing);
    bench.send(Event::Data(data));
}

fn by_calls(bench: &mut Bench, direction: Direction, bytes: &[u8]) {
    let data = bench.record(direction, Layer::Calls, bytes, None);
    bench.send(Event::Data(data));
}

/// Ends it; the kernel counts `records` more than what calls moved, each way.
fn close(bench: &mut Bench, records: u64) {
    let mut closed = bench.closed();
    closed.kernel_sent += records * OVERHEAD;
    closed.kernel_received += records * OVERHEAD;
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls::default());
    bench.send(Event::Closed(closed));
    bench.now += MS;
    bench.wait_ms(600);
}

fn source(bench: &Bench) -> Option<TlsSource> {
    bench.final_report().facts.tls.and_then(|tls| tls.source)
}

/// Both hellos and what else is in the clear, of a recorded handshake of TLS 1.2, up to the change of ciphers of each side.
fn play_hellos(bench: &mut Bench, role: Role, recording: &Recording) {
    let mut is_over = [false; 2];
    for (side, bytes) in &recording.wire {
        let mut at = 0;
        while at < bytes.len() && !is_over[side.index()] {
            let length = 5 + usize::from(u16::from_be_bytes([bytes[at + 3], bytes[at + 4]]));
            let data = bench.record(
                direction_of(role, *side),
                Layer::Socket,
                &bytes[at..at + length],
                None,
            );
            bench.send(Event::Data(data));
            // ChangeCipherSpec.
            is_over[side.index()] = bytes[at] == 0x14;
            at += length;
        }
    }
}

/// A connection of TLS 1.2 both directions of which are the kernel's from now on.
fn after_hellos(role: Role) -> Bench {
    let recording = handshake(cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, b"");
    let mut bench = Bench::new();
    bench.open(role, false);
    play_hellos(&mut bench, role, &recording);
    bench
}

/// One exchange of a client with TLS 1.3 whose library gave only what it sends to the kernel, and which told its secrets or not.
fn sends_by_kernel(has_secrets: bool) -> Bench {
    let recording = handshake(cipher_suite::TLS13_AES_128_GCM_SHA256, RESPONSE);
    let mut sides = recording.wire.iter().map(|(side, _)| *side);
    let last_of_client = sides.rposition(|side| side == Side::Client).unwrap();
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    for (number, (side, bytes)) in recording.wire.iter().enumerate() {
        let data = bench.record(direction_of(Role::Client, *side), Layer::Socket, bytes, None);
        bench.send(Event::Data(data));
        if number == 1 && has_secrets {
            tell(&mut bench, &recording);
        }
        if number == last_of_client {
            by_kernel(&mut bench, Direction::Egress, REQUEST, None);
        }
    }
    bench
}

#[test]
fn plaintext_of_both_directions_is_read_and_the_kernel_counts_the_wire() {
    let mut bench = after_hellos(Role::Client);
    // The Finished of each side: 16 bytes that are no payload.
    by_kernel(&mut bench, Direction::Egress, &[], Some((16, Loss::TlsControl)));
    by_kernel(&mut bench, Direction::Ingress, &[], Some((16, Loss::TlsControl)));
    for _ in 0..2 {
        by_kernel(&mut bench, Direction::Egress, REQUEST, None);
        by_kernel(&mut bench, Direction::Ingress, &RESPONSE[..20], None);
        by_kernel(&mut bench, Direction::Ingress, &RESPONSE[20..], None);
    }
    let moved = bench.end(Layer::Socket, Direction::Egress);
    close(&mut bench, 3);

    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 2);
    for transaction in &transactions {
        assert_eq!(transaction.outcome, Outcome::Complete);
        assert_eq!(&transaction.response_half.body.data[..], b"hello");
    }
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Healthy, "{:?}", report.health);
    assert_eq!(report.health.gap_bytes, 0);
    assert_eq!(report.bytes_sent, moved + 3 * OVERHEAD, "bytes on the wire");
    assert_eq!(source(&bench), Some(TlsSource::Kernel));
    assert_eq!(bench.host.0.lock().unwrap().calls, 0, "no call had to be probed");
}

/// OpenSSL 3.0 leaves what is received under TLS 1.3 to itself.
#[test]
fn one_direction_by_the_kernel_and_the_other_by_secrets_make_whole_exchanges() {
    let mut bench = sends_by_kernel(true);
    by_kernel(&mut bench, Direction::Egress, &[], Some((2, Loss::TlsControl)));
    close(&mut bench, 0);

    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions[0].outcome, Outcome::Complete);
    assert_eq!(&transactions[0].response_half.body.data[..], b"hello");
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Healthy, "{:?}", report.health);
    assert_eq!(source(&bench), Some(TlsSource::Kernel));
}

/// sendfile(2) of a server: the file never was in its memory, and its length is known.
#[test]
fn a_file_that_the_kernel_sends_by_itself_is_a_gap_and_the_next_response_is_right() {
    let mut bench = after_hellos(Role::Server);
    by_kernel(&mut bench, Direction::Ingress, REQUEST, None);
    by_kernel(
        &mut bench,
        Direction::Egress,
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n",
        None,
    );
    let lost = bench.record(
        Direction::Egress,
        Layer::KernelTls,
        &[],
        Some((50_000, Loss::Unreadable)),
    );
    bench.send(Event::Data(lost));
    by_kernel(&mut bench, Direction::Ingress, REQUEST, None);
    by_kernel(&mut bench, Direction::Egress, RESPONSE, None);
    close(&mut bench, 4);

    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 2);
    assert!(transactions[0].response_half.body.data.is_empty());
    assert_eq!(&transactions[1].response_half.body.data[..], b"hello");
    assert_eq!(transactions[1].outcome, Outcome::Complete);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert!(
        bench.codes().contains(&ReasonCode::UnreadableBytes),
        "{:?}",
        bench.codes()
    );
    assert!(!bench.codes().contains(&ReasonCode::BytesUnaccounted));
}

/// splice(2) from a socket tells nothing but that records went by.
#[test]
fn what_is_spliced_away_is_never_replaced_by_what_follows() {
    let mut bench = after_hellos(Role::Client);
    by_kernel(&mut bench, Direction::Egress, REQUEST, None);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    by_kernel(&mut bench, Direction::Ingress, head, None);
    by_kernel(
        &mut bench,
        Direction::Ingress,
        &[],
        Some((1000 + OVERHEAD as u32, Loss::Unreadable)),
    );
    by_kernel(&mut bench, Direction::Egress, REQUEST, None);
    by_kernel(&mut bench, Direction::Ingress, RESPONSE, None);
    close(&mut bench, 4);

    for transaction in bench.transactions() {
        let body = &transaction.response_half.body.data[..];
        assert!(body.is_empty() || body == b"hello", "{body:?}");
        assert!(
            body == b"hello" || transaction.gap_bytes() > 0,
            "what is not there is told: {transaction:?}"
        );
    }
    assert_eq!(bench.final_report().health.status, HealthStatus::Degraded);
    assert!(bench.codes().contains(&ReasonCode::UnreadableBytes));
}

/// What the library's calls tell too is not taken twice, and the socket is believed: calls do not tell of sendfile(2).
#[test]
fn an_old_connection_is_read_at_its_socket_even_if_its_calls_tell_too() {
    let mut bench = Bench::new();
    bench.open(Role::Client, true);
    for _ in 0..3 {
        by_kernel(&mut bench, Direction::Egress, REQUEST, None);
        by_calls(&mut bench, Direction::Egress, REQUEST);
        by_kernel(&mut bench, Direction::Ingress, RESPONSE, None);
        by_calls(&mut bench, Direction::Ingress, RESPONSE);
    }
    close(&mut bench, 4);

    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 3);
    assert!(
        transactions
            .iter()
            .all(|transaction| transaction.outcome == Outcome::Complete)
    );
    assert_eq!(bench.codes(), [ReasonCode::JoinedMidstream]);
    assert_eq!(source(&bench), Some(TlsSource::Kernel));
    let verdicts = bench.host.0.lock().unwrap().verdicts.clone();
    assert!(
        verdicts
            .iter()
            .all(|(_, verdict)| *verdict != Verdict::COUNT_ONLY),
        "the kernel goes on copying it"
    );
}

/// The other direction is ciphertext of a session that nobody has the keys of: calls give that one.
#[test]
fn an_old_connection_with_one_direction_by_the_kernel_has_the_other_from_calls() {
    let mut bench = Bench::new();
    bench.open(Role::Client, true);
    let record = |length: usize| [&[0x17, 3, 3, 0, length as u8][..], &vec![0xa5; length]].concat();
    for _ in 0..3 {
        by_kernel(&mut bench, Direction::Egress, REQUEST, None);
        by_calls(&mut bench, Direction::Egress, REQUEST);
        bench.reads(&record(90));
        by_calls(&mut bench, Direction::Ingress, RESPONSE);
    }
    close(&mut bench, 0);

    let outcomes: Vec<_> = (bench.transactions().iter())
        .map(|transaction| transaction.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Complete; 3]);
    assert_eq!(source(&bench), Some(TlsSource::Kernel));
    assert_eq!(bench.codes(), [ReasonCode::JoinedMidstream]);
}

/// The library cannot be probed, and it does the TLS of what is received itself.
#[test]
fn the_direction_that_nobody_decrypts_is_told() {
    let mut bench = sends_by_kernel(false);
    bench.wait_ms(6000);
    close(&mut bench, 0);

    for transaction in bench.transactions() {
        assert!(transaction.response_half.body.data.is_empty(), "{transaction:?}");
        assert_ne!(transaction.outcome, Outcome::Complete);
    }
    let report = bench.final_report();
    assert_ne!(report.health.status, HealthStatus::Healthy);
    let probe = report
        .health
        .checks
        .iter()
        .find(|check| check.name == CheckName::TlsProbe);
    assert_ne!(probe.unwrap().state, CheckState::Ok);
}
