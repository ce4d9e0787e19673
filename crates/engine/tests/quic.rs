//! Connections of QUIC: from their first datagrams to reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/quic.rs"]
mod packets;
mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use packets::{Sealer, V1, client_hello, crypto, datagram, server_hello};
use qtap_capture::{Datagram, Direction, Event, KernelTime, ProcessEvent, QuicBytes, QuicDatagram};
use qtap_engine::{
    CheckName, CheckState, ConnectionReport, Exclusion, HealthStatus, Positions, QuicFacts, ReasonCode,
};
use qtap_protocol::detect::Protocol;
use support::{Bench, PID};

const SOCKET: u64 = 0xffff_8880_0000_1000;
const ORIGIN: &[u8] = b"first id";

fn server_address() -> SocketAddr {
    "198.51.100.7:443".parse().unwrap()
}

/// A datagram of a client's socket, which is not connected to its peer: of those received it is not known who sent them.
fn quic(bench: &Bench, direction: Direction, payload: &[u8]) -> QuicDatagram {
    QuicDatagram {
        datagram: Datagram {
            time: KernelTime(bench.now),
            pid: PID,
            tid: PID.0,
            direction,
            socket: SOCKET,
            netns: 1,
            local: "10.0.0.5:50000".parse().unwrap(),
            remote: (direction == Direction::Egress).then(server_address),
            length: payload.len() as u32,
            bytes: Bytes::copy_from_slice(payload),
        },
        bytes_before: [0; 2],
        sent_before: 0,
        is_connected: false,
    }
}

fn sends(bench: &mut Bench, payload: &[u8]) {
    let event = quic(bench, Direction::Egress, payload);
    bench.send(Event::Quic(Box::new(event)));
}

fn receives(bench: &mut Bench, payload: &[u8]) {
    let event = quic(bench, Direction::Ingress, payload);
    bench.send(Event::Quic(Box::new(event)));
}

fn sends_to(bench: &mut Bench, peer: &str, payload: &[u8]) {
    let mut event = quic(bench, Direction::Egress, payload);
    event.datagram.remote = Some(peer.parse().unwrap());
    bench.send(Event::Quic(Box::new(event)));
}

fn moved(bench: &Bench, peer: Option<SocketAddr>, bytes: [u64; 2]) {
    let counts = QuicBytes {
        bytes,
        unsplit: false,
    };
    bench.host.0.lock().unwrap().quic.insert((SOCKET, peer), counts);
}

fn exits(bench: &mut Bench) {
    let time = KernelTime(bench.now);
    bench.send(Event::Process(ProcessEvent::Exited {
        pid: PID,
        start_ns: 1,
        status: 0,
        time,
    }));
}

fn first(name: &str, protocols: &[&str]) -> Vec<u8> {
    datagram(&Sealer::new(V1, ORIGIN).client(0, b"me", b"", &crypto(0, &client_hello(name, protocols, 300))))
}

fn answer() -> Vec<u8> {
    datagram(&Sealer::new(V1, ORIGIN).server(0, b"me", b"server", &crypto(0, &server_hello(false))))
}

fn state(report: &ConnectionReport, name: CheckName) -> CheckState {
    let checks = &report.health.checks;
    checks.iter().find(|check| check.name == name).unwrap().state
}

#[test]
fn a_client_is_named_and_counted_and_ends_with_its_process() {
    let mut bench = Bench::new();
    sends(&mut bench, &first("quic.example.org", &["h3"]));
    receives(&mut bench, &answer());
    moved(&bench, None, [5_000, 90_000]);
    bench.wait_ms(600);
    assert_eq!((bench.reports(), bench.stats.quic_open.get()), (1, 1));
    exits(&mut bench);

    let report = bench.final_report();
    let facts = &report.facts;
    assert_eq!(facts.protocol, Some(Protocol::Http3));
    assert_eq!(
        facts.quic,
        Some(QuicFacts {
            version: Some(1),
            error: None
        })
    );
    let tls = facts.tls.as_ref().unwrap();
    assert_eq!(
        (tls.sni.as_deref(), tls.version),
        (Some("quic.example.org"), Some(0x0304))
    );
    assert_eq!(
        (facts.endpoint_id(), facts.remote),
        ("quic.example.org".to_owned(), server_address())
    );
    assert_eq!((report.bytes_sent, report.bytes_received), (5_000, 90_000));
    assert!(report.closed.is_some());
    assert_eq!(report.health.status, HealthStatus::Blind);
    assert_eq!(bench.codes(), [ReasonCode::QuicUnsupported]);
    assert_eq!(report.health.socket_bytes_received, Some(90_000));

    let survey = bench.worker.survey(&Positions::new(), KernelTime(bench.now));
    let account = survey.accounts.values().next().unwrap();
    assert_eq!(
        (account.quic, account.ended, account.unread_connections),
        (1, 1, 1)
    );
    assert_eq!(
        (account.wire_bytes, account.unread_bytes),
        ([5_000, 90_000], 95_000)
    );
    assert_eq!(
        (bench.stats.quic_open.get(), bench.stats.quic_unreadable.get()),
        (0, 0)
    );
}

#[test]
fn one_that_is_silent_for_long_is_over_since_then() {
    let mut bench = Bench::new();
    let begun = bench.now;
    sends(&mut bench, &first("quiet.example.org", &["doq"]));
    receives(&mut bench, &answer());
    moved(&bench, None, [2_400, 3_000]);
    bench.wait_ms(12_000);
    moved(&bench, None, [2_500, 3_000]);
    bench.wait_ms(25_000);
    assert_eq!(bench.stats.quic_open.get(), 1);
    bench.wait_ms(30_000);
    let report = bench.final_report();
    assert_eq!(report.facts.protocol, Some(Protocol::Quic));
    let lasted = report.duration_ns / support::MS;
    assert!(
        (12_000..22_000).contains(&lasted),
        "{lasted} ms, begun at {begun}"
    );
    assert_eq!(report.bytes_sent, 2_500);
}

#[test]
fn a_hello_that_was_not_answered_says_so() {
    let mut bench = Bench::new();
    sends(&mut bench, &first("nobody.example.org", &["h3"]));
    exits(&mut bench);
    let report = bench.final_report();
    assert_eq!(state(&report, CheckName::TlsHello), CheckState::Partial);
    assert_eq!(
        bench.codes(),
        [
            ReasonCode::TlsHelloMissing,
            ReasonCode::QuicUnsupported,
            ReasonCode::QuicBytesUnknown
        ]
    );
    assert!(!report.facts.tls.as_ref().unwrap().server_hello);
}

#[test]
fn a_refusal_in_the_handshake_ends_it_with_its_error() {
    let mut bench = Bench::new();
    sends(&mut bench, &first("refused.example.org", &["h3"]));
    let refusal = Sealer::new(V1, ORIGIN).server(0, b"me", b"server", &[0x1c, 0x41, 0x28, 0, 0]);
    receives(&mut bench, &refusal);
    assert_eq!(bench.final_report().facts.quic.unwrap().error, Some(0x128));
    assert_eq!(bench.stats.quic_open.get(), 0);
}

#[test]
fn a_server_learns_its_peer_from_its_answer() {
    let mut bench = Bench::new();
    receives(&mut bench, &first("server.example.org", &["h3"]));
    bench.wait_ms(700);
    assert_eq!(bench.reports(), 0);
    sends_to(&mut bench, "203.0.113.9:6000", &answer());
    moved(&bench, None, [1_200, 1_200]);
    bench.wait_ms(700);
    exits(&mut bench);
    let report = bench.final_report();
    assert_eq!(report.facts.direction.name(), "ingress");
    assert_eq!(report.facts.remote, "203.0.113.9:6000".parse().unwrap());
    assert_eq!((report.bytes_sent, report.bytes_received), (1_200, 1_200));
}

#[test]
fn clients_that_are_not_answered_are_counted_and_not_told() {
    let mut bench = Bench::new();
    receives(&mut bench, &first("server.example.org", &["h3"]));
    bench.wait_ms(10_100);
    assert_eq!(
        (
            bench.reports(),
            bench.stats.quic_unanswered.get(),
            bench.stats.quic_open.get()
        ),
        (0, 1, 0)
    );
}

#[test]
fn peers_on_one_socket_are_told_apart_and_only_what_is_sent_is_counted() {
    let mut bench = Bench::new();
    // Browsers have no number of their own: which of them is answered is told by the keys alone.
    let peers = [
        ("203.0.113.1:1111", "one.example"),
        ("203.0.113.2:2222", "two.example"),
    ];
    let sealers = [
        Sealer::new(V1, b"of the first"),
        Sealer::new(V1, b"of the second"),
    ];
    for ((_, name), sealer) in peers.iter().zip(&sealers) {
        let hello = crypto(0, &client_hello(name, &["h3"], 200));
        receives(&mut bench, &datagram(&sealer.client(0, b"", b"", &hello)));
    }
    for ((peer, _), sealer) in peers.iter().zip(&sealers) {
        let hello = crypto(0, &server_hello(false));
        sends_to(
            &mut bench,
            peer,
            &datagram(&sealer.server(0, b"", b"server", &hello)),
        );
    }
    moved(&bench, None, [9_000, 4_000]);
    moved(&bench, Some(peers[0].0.parse().unwrap()), [3_000, 0]);
    moved(&bench, Some(peers[1].0.parse().unwrap()), [6_000, 0]);
    exits(&mut bench);
    let received = bench.received.lock().unwrap();
    let mut found: Vec<_> = (received.reports.iter())
        .map(|report| {
            let sni = report.facts.tls.as_ref().unwrap().sni.clone().unwrap();
            (
                report.facts.remote.to_string(),
                sni,
                report.bytes_sent,
                report.bytes_received,
            )
        })
        .collect();
    found.sort();
    let expected = [(peers[0], 3_000), (peers[1], 6_000)]
        .map(|((peer, name), sent)| (peer.to_owned(), name.to_owned(), sent, 0));
    assert_eq!(found, expected);
    for report in &received.reports {
        assert_eq!(report.health.socket_bytes_received, None);
        assert_eq!(state(report, CheckName::Bytes), CheckState::Partial);
        let codes = report.health.reasons.iter().map(|reason| reason.code);
        assert!(codes.into_iter().any(|code| code == ReasonCode::QuicBytesUnknown));
    }
}

#[test]
fn a_second_connection_on_a_socket_counts_from_where_it_began() {
    let mut bench = Bench::new();
    sends(&mut bench, &first("one.example", &["h3"]));
    receives(&mut bench, &answer());
    moved(&bench, None, [3_000, 4_000]);
    bench.wait_ms(45_000);
    assert_eq!(bench.final_report().bytes_sent, 3_000);
    let sealer = Sealer::new(V1, b"another id");
    let payload = datagram(&sealer.client(
        0,
        b"me",
        b"",
        &crypto(0, &client_hello("two.example", &["h3"], 200)),
    ));
    let mut event = quic(&bench, Direction::Egress, &payload);
    event.bytes_before = [3_000, 4_000];
    bench.send(Event::Quic(Box::new(event)));
    moved(&bench, None, [5_500, 9_000]);
    exits(&mut bench);
    let received = bench.received.lock().unwrap();
    let last = received.reports.last().unwrap();
    assert_eq!((last.bytes_sent, last.bytes_received), (2_500, 5_000));
}

#[test]
fn after_a_retry_it_is_the_same_connection() {
    let mut bench = Bench::new();
    sends(&mut bench, &first("retry.example", &["h3"]));
    let again = Sealer::new(V1, b"of the server");
    let hello = crypto(0, &client_hello("retry.example", &["h3"], 300));
    sends(&mut bench, &datagram(&again.client(1, b"me", b"token", &hello)));
    receives(
        &mut bench,
        &datagram(&again.server(0, b"me", b"server", &crypto(0, &server_hello(false)))),
    );
    exits(&mut bench);
    assert!(bench.final_report().facts.tls.unwrap().server_hello);
    assert_eq!(bench.stats.quic_opened.get(), 1);
}

#[test]
fn datagrams_of_no_known_connection_are_counted() {
    let mut bench = Bench::new();
    sends(&mut bench, &answer());
    sends(&mut bench, &[0xc3; 1200]);
    receives(&mut bench, &[]);
    assert_eq!(
        (bench.stats.quic_unreadable.get(), bench.stats.quic_opened.get()),
        (3, 0)
    );
}

#[test]
fn processes_that_filters_leave_out_are_not_told() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().exclusion = Exclusion {
        whole: true,
        ..Exclusion::default()
    };
    sends(&mut bench, &first("secret.example", &["h3"]));
    receives(&mut bench, &answer());
    bench.wait_ms(1_000);
    exits(&mut bench);
    assert_eq!((bench.reports(), bench.stats.excluded.get()), (0, 1));
    assert_eq!(bench.host.0.lock().unwrap().ignored, [PID]);
}

#[test]
fn when_the_agent_stops_what_is_known_is_told() {
    let mut bench = Bench::new();
    sends(&mut bench, &first("stop.example", &["h3"]));
    receives(&mut bench, &answer());
    moved(&bench, None, [1_200, 1_200]);
    bench.worker.shut_down(KernelTime(bench.now));
    let report = bench.final_report();
    assert!(report.closed.is_none());
    assert_eq!(report.facts.domain.as_deref(), Some("stop.example"));
}

#[test]
fn the_table_is_bounded_and_what_has_to_go_is_told_and_counted() {
    let mut bench = Bench::new();
    let frames = crypto(0, &client_hello("many.example", &["h3"], 120));
    for number in 0..(1_u32 << 14) + 3 {
        let sealer = Sealer::new(V1, &number.to_be_bytes());
        sends(&mut bench, &sealer.client(0, &number.to_be_bytes(), b"", &frames));
    }
    assert_eq!(
        (bench.stats.quic_evicted.get(), bench.stats.quic_open.get()),
        (3, 1 << 14)
    );
    let received = bench.received.lock().unwrap();
    assert_eq!(
        received.reports.iter().filter(|report| report.finalized).count(),
        3
    );
}
