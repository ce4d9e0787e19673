//! DNS: queries with their answers, over UDP and on connections (P-N1, P-N2).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that fails says so"
)]

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use qtap_capture::{Datagram, Direction, Event, KernelTime, Opened, Role};
use qtap_engine::{
    CheckName, CheckState, DnsTransaction, Exclusion, HealthStatus, Interest, ReasonCode, Transport,
};
use qtap_protocol::Outcome;
use qtap_protocol::detect::Protocol;
use support::{Bench, MS, PID, process};

const RESOLVER: &str = "10.0.0.53:53";

fn query(id: u8, name: &str) -> Vec<u8> {
    let mut message = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(b"\x04test\0\0\x01\0\x01");
    message
}

/// 10.0.0.`last`, for 300 s.
fn answer(id: u8, name: &str, last: u8) -> Vec<u8> {
    let mut message = query(id, name);
    (message[2], message[3], message[7]) = (0x81, 0x80, 1);
    message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\0\0");
    message.push(last);
    message
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// What the kernel side tells of it; the peer only if it is known there.
fn datagram(bench: &mut Bench, direction: Direction, remote: Option<&str>, message: &[u8]) {
    let datagram = Datagram {
        time: KernelTime(bench.now),
        pid: PID,
        tid: PID.0,
        direction,
        socket: 77,
        netns: 1,
        local: "10.0.0.9:40000".parse().unwrap(),
        remote: remote.map(|remote| remote.parse().unwrap()),
        length: message.len() as u32,
        bytes: Bytes::copy_from_slice(message),
    };
    bench.send(Event::Datagram(Box::new(datagram)));
}

fn asks(bench: &mut Bench, id: u8, name: &str) {
    datagram(bench, Direction::Egress, Some(RESOLVER), &query(id, name));
}

fn hears(bench: &mut Bench, id: u8, name: &str) {
    datagram(bench, Direction::Ingress, Some(RESOLVER), &answer(id, name, 1));
}

fn lookups(bench: &Bench) -> Vec<DnsTransaction> {
    let received = bench.received.lock().unwrap();
    received
        .lookups
        .iter()
        .map(|(_, lookup)| lookup.clone())
        .collect()
}

/// Name, records, and outcome of each.
fn briefs(bench: &Bench) -> Vec<(String, usize, Outcome)> {
    let brief = |lookup: &DnsTransaction| {
        let exchange = &lookup.exchange;
        (
            exchange.query.question.name.to_string(),
            exchange
                .response
                .as_ref()
                .map_or(0, |response| response.records.len()),
            exchange.outcome,
        )
    };
    lookups(bench).iter().map(brief).collect()
}

#[test]
fn a_query_has_its_answer_its_process_and_its_ends() {
    let mut bench = Bench::new();
    asks(&mut bench, 1, "a");
    bench.now += 5 * MS;
    hears(&mut bench, 1, "a");
    let received = bench.received.lock().unwrap();
    let (facts, lookup) = &received.lookups[0];
    assert_eq!(lookup.exchange.outcome, Outcome::Complete);
    assert_eq!(lookup.exchange.duration_ns(), Some(5 * MS + 1000));
    assert_eq!(facts.process.as_ref().unwrap().pid, PID);
    assert_eq!(
        (facts.transport, facts.protocol, facts.role),
        (Transport::Udp, Some(Protocol::Dns), Role::Client)
    );
    assert_eq!(facts.remote, RESOLVER.parse::<SocketAddr>().unwrap());
    assert_eq!(&*facts.endpoint_id(), "10.0.0.53");
    assert_eq!(
        lookup.finished.duration_since(lookup.started).unwrap(),
        std::time::Duration::from_nanos(5 * MS + 1000)
    );
}

#[test]
fn a_server_answers_whom_the_answer_goes_to() {
    let mut bench = Bench::new();
    // Where the kernel has no address at hand, that of a query that came is not told.
    datagram(&mut bench, Direction::Ingress, None, &query(1, "a"));
    datagram(&mut bench, Direction::Ingress, None, &query(1, "a"));
    datagram(
        &mut bench,
        Direction::Egress,
        Some("10.0.0.7:1000"),
        &answer(1, "a", 1),
    );
    datagram(
        &mut bench,
        Direction::Egress,
        Some("10.0.0.8:1000"),
        &answer(1, "a", 1),
    );
    let received = bench.received.lock().unwrap();
    let peers: Vec<_> = received
        .lookups
        .iter()
        .map(|(facts, lookup)| (facts.role, facts.remote.to_string(), lookup.exchange.retransmits))
        .collect();
    assert_eq!(
        peers,
        [
            (Role::Server, "10.0.0.7:1000".to_owned(), 0),
            (Role::Server, "10.0.0.8:1000".to_owned(), 0)
        ],
        "two clients may ask the same"
    );
}

#[test]
fn answers_of_others_and_to_nothing_are_orphans() {
    let mut bench = Bench::new();
    asks(&mut bench, 1, "a");
    datagram(
        &mut bench,
        Direction::Ingress,
        Some("10.6.6.6:53"),
        &answer(1, "a", 6),
    );
    hears(&mut bench, 2, "a");
    hears(&mut bench, 1, "b");
    assert!(lookups(&bench).is_empty());
    hears(&mut bench, 1, "a");
    hears(&mut bench, 1, "a");
    assert_eq!(briefs(&bench).len(), 1);
    assert_eq!(bench.stats.orphans.get(), 4);
}

#[test]
fn silence_is_a_timeout_and_after_a_loss_incomplete() {
    let mut bench = Bench::new();
    asks(&mut bench, 1, "a");
    bench.wait_ms(6000);
    asks(&mut bench, 1, "a");
    bench.wait_ms(6000);
    assert!(lookups(&bench).is_empty(), "it was sent again meanwhile");
    bench.wait_ms(5000);
    let ended = lookups(&bench);
    assert_eq!(
        (ended[0].exchange.retransmits, ended[0].exchange.outcome),
        (1, Outcome::Timeout)
    );

    asks(&mut bench, 2, "b");
    bench.wait_ms(1000);
    bench.host.0.lock().unwrap().datagrams_lost += 1;
    bench.wait_ms(1000);
    asks(&mut bench, 3, "c");
    bench.wait_ms(12_000);
    assert_eq!(
        briefs(&bench)[1..],
        [
            ("b.test".into(), 0, Outcome::Incomplete),
            ("c.test".into(), 0, Outcome::Timeout)
        ]
    );
}

#[test]
fn a_flow_is_reported_once_when_it_is_silent() {
    let mut bench = Bench::new();
    for id in 1..4 {
        asks(&mut bench, id, "a");
        hears(&mut bench, id, "a");
    }
    bench.wait_ms(5000);
    assert_eq!(bench.reports(), 0);
    bench.wait_ms(6000);
    let report = bench.final_report();
    assert_eq!((report.transactions, report.part), (3, 0));
    assert_eq!((report.bytes_sent, report.bytes_received), (3 * 24, 3 * 40));
    assert_eq!(report.health.status, HealthStatus::Healthy);
    let ids: Vec<_> = (bench.received.lock().unwrap().lookups.iter())
        .map(|(facts, _)| facts.public_id.clone())
        .collect();
    assert!(ids.iter().all(|id| *id == report.facts.public_id), "one flow");
}

#[test]
fn a_flow_with_doubtful_queries_is_degraded() {
    let mut bench = Bench::new();
    asks(&mut bench, 1, "a");
    bench.worker.shut_down(KernelTime(bench.now));
    assert_eq!(briefs(&bench), [("a.test".into(), 0, Outcome::Incomplete)]);
    let health = bench.final_report().health;
    assert_eq!(health.status, HealthStatus::Degraded);
    assert_eq!(health.reasons[0].code, ReasonCode::TransactionIncomplete);
    let transactions = health
        .checks
        .iter()
        .find(|check| check.name == CheckName::Transactions);
    assert_eq!(transactions.unwrap().state, CheckState::Partial);
}

#[test]
fn a_process_that_is_not_known_yet_is_waited_for() {
    let mut bench = Bench::new();
    {
        let mut host = bench.host.0.lock().unwrap();
        (host.process, host.is_behind) = (None, true);
    }
    asks(&mut bench, 1, "a");
    hears(&mut bench, 1, "a");
    bench.wait_ms(1000);
    assert!(lookups(&bench).is_empty());
    bench.host.0.lock().unwrap().process = Some(process());
    bench.wait_ms(500);
    asks(&mut bench, 2, "b");
    bench.host.0.lock().unwrap().process = None;
    hears(&mut bench, 2, "b");
    bench.wait_ms(6000);
    let received = bench.received.lock().unwrap();
    let known: Vec<_> = received
        .lookups
        .iter()
        .map(|(facts, _)| facts.process.is_some())
        .collect();
    assert_eq!(
        known,
        [true, true],
        "the second is of a flow whose process is known"
    );
}

#[test]
fn what_filters_leave_out_is_not_told() {
    for exclusion in [
        Exclusion {
            whole: true,
            ..Exclusion::default()
        },
        Exclusion {
            dns: true,
            ..Exclusion::default()
        },
    ] {
        let mut bench = Bench::new();
        bench.host.0.lock().unwrap().exclusion = exclusion;
        asks(&mut bench, 1, "a");
        hears(&mut bench, 1, "a");
        bench.wait_ms(12_000);
        assert_eq!((lookups(&bench).len(), bench.reports()), (0, 0));
    }
}

#[test]
fn nobody_wants_to_hear_of_it() {
    let mut bench = Bench::with(false, Interest::None);
    asks(&mut bench, 1, "a");
    hears(&mut bench, 1, "a");
    bench.wait_ms(12_000);
    assert_eq!((lookups(&bench).len(), bench.reports()), (0, 0));
}

#[test]
fn multicast_and_what_cannot_be_read_are_counted() {
    let mut bench = Bench::new();
    datagram(
        &mut bench,
        Direction::Egress,
        Some("224.0.0.251:5353"),
        &query(0, "a"),
    );
    datagram(
        &mut bench,
        Direction::Egress,
        Some("224.0.0.252:5355"),
        &query(9, "a"),
    );
    datagram(
        &mut bench,
        Direction::Egress,
        Some(RESOLVER),
        b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\xff",
    );
    bench.wait_ms(12_000);
    assert!(lookups(&bench).is_empty());
    assert_eq!(
        (bench.stats.dns_multicast.get(), bench.stats.dns_unreadable.get()),
        (2, 1)
    );
}

#[test]
fn queries_and_flows_are_bounded() {
    let mut bench = Bench::new();
    let rounds = (1 << 14) + 100;
    for number in 0..rounds {
        let remote = format!("10.1.{}.{}:53", number / 256 % 256, number % 256);
        datagram(
            &mut bench,
            Direction::Egress,
            Some(&remote),
            &query(number as u8, "a"),
        );
    }
    assert_eq!(bench.stats.dns_queries_left_out.get(), 100);
    assert_eq!(lookups(&bench).len(), 100, "as incomplete");
    bench.wait_ms(30_000);
    assert_eq!(lookups(&bench).len(), rounds);
    assert_eq!(
        bench.reports(),
        rounds,
        "one for each flow, some before they were silent"
    );
}

/// Ports of the client's and the server's end, as a client.
fn connect(bench: &mut Bench, id: u64, remote: &str) {
    let opened = Opened {
        id: qtap_capture::ConnectionId(id),
        time: KernelTime(bench.now),
        pid: PID,
        tid: PID.0,
        fd: 3,
        role: Role::Client,
        local: "10.0.0.9:40001".parse().unwrap(),
        remote: remote.parse().unwrap(),
        ipv6_socket: false,
        cookie: 0,
        midstream: false,
        shed: false,
        netns: 1,
    };
    bench.id = opened.id;
    bench.send(Event::Opened(opened));
}

#[test]
fn a_connection_brings_queries_and_names() {
    let mut bench = Bench::new();
    connect(&mut bench, 1, RESOLVER);
    bench.writes(&[framed(&query(1, "a")), framed(&query(2, "b"))].concat());
    bench.reads(&framed(&answer(2, "b", 2)));
    bench.reads(&framed(&answer(1, "a", 1)));
    bench.close();
    assert_eq!(
        briefs(&bench),
        [
            ("b.test".into(), 1, Outcome::Complete),
            ("a.test".into(), 1, Outcome::Complete)
        ]
    );
    let report = bench.final_report();
    assert_eq!(report.facts.protocol, Some(Protocol::Dns));
    assert_eq!(report.facts.transport, Transport::Tcp);
    assert_eq!(
        (report.transactions, report.health.status),
        (2, HealthStatus::Healthy)
    );

    bench.received.lock().unwrap().reports.clear();
    connect(&mut bench, 2, "10.0.0.2:443");
    bench.wait_ms(600);
    let received = bench.received.lock().unwrap();
    assert_eq!(received.reports[0].facts.domain.as_deref(), Some("b.test"));
}

#[test]
fn a_filter_for_dns_leaves_the_connection_unread() {
    let mut bench = Bench::new();
    bench.host.0.lock().unwrap().exclusion.dns = true;
    connect(&mut bench, 1, RESOLVER);
    bench.writes(&framed(&query(1, "a")));
    bench.reads(&framed(&answer(1, "a", 1)));
    bench.close();
    assert!(lookups(&bench).is_empty());
    assert_eq!(bench.codes(), [ReasonCode::FilteredProcess]);
    assert_eq!(bench.final_report().health.status, HealthStatus::Ignored);
}
