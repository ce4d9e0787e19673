//! What the engine makes of a load that the agent sheds.

mod support;

use qtap_capture::{Direction, KernelTime, Role};
use qtap_engine::{HealthStatus, Interest, LoadLevel, ReasonCode};
use qtap_protocol::Outcome;
use support::Bench;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn enter(bench: &Bench, level: LoadLevel) {
    bench.load.set(level, KernelTime(bench.now));
}

#[test]
fn bodies_of_new_transactions_are_counted_and_flagged_and_those_under_way_kept() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    enter(&bench, LoadLevel::Headers);
    bench.reads(RESPONSE);
    bench.writes(REQUEST);
    enter(&bench, LoadLevel::Full);
    bench.reads(RESPONSE);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    let bodies: Vec<_> = (bench.transactions().iter())
        .map(|transaction| {
            assert_eq!(transaction.outcome, Outcome::Complete);
            let body = &transaction.response_half.body;
            (body.data.len(), body.total, body.truncated)
        })
        .collect();
    assert_eq!(bodies, [(5, 5, false), (0, 5, true), (5, 5, false)]);
    assert_eq!(bench.codes(), [ReasonCode::LoadShed]);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!((report.health.gap_bytes, bench.stats.lost_shed.get()), (0, 5));
}

#[test]
fn bodies_that_nobody_wants_are_not_shed() {
    let mut bench = Bench::with(true, Interest::Head);
    enter(&bench, LoadLevel::Headers);
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.close();
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
    assert_eq!(bench.stats.lost_shed.get(), 0);
}

#[test]
fn a_transaction_cut_by_shedding_is_incomplete_and_what_follows_is_whole() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(&RESPONSE[..20]);
    enter(&bench, LoadLevel::Counted);
    bench.loses(Direction::Ingress, RESPONSE.len() as u64 - 20);
    bench.loses(Direction::Egress, REQUEST.len() as u64);
    bench.loses(Direction::Ingress, RESPONSE.len() as u64);
    bench.wait_ms(5000);
    enter(&bench, LoadLevel::Full);
    bench.wait_ms(10);
    // How many messages are missing is not known: the parser asks for two rounds before it pairs them again.
    for _ in 0..4 {
        bench.writes(REQUEST);
        bench.reads(RESPONSE);
        bench.wait_ms(300);
    }
    bench.close();
    let transactions = bench.transactions();
    let last = transactions.last().unwrap();
    assert_eq!(last.outcome, Outcome::Complete);
    assert_eq!(&last.response_half.body.data[..], b"hello");
    for transaction in &transactions {
        let whole = transaction.outcome == Outcome::Complete && transaction.gap_bytes() == 0;
        assert!(!whole || &transaction.response_half.body.data[..] == b"hello");
    }
    assert!(
        transactions
            .iter()
            .any(|transaction| transaction.outcome != Outcome::Complete || transaction.gap_bytes() > 0)
    );
    let health = bench.final_report().health;
    let lost = REQUEST.len() + RESPONSE.len() + RESPONSE.len() - 20;
    assert_eq!(health.gap_bytes, lost as u64);
    let shed = health
        .reasons
        .iter()
        .find(|reason| reason.code == ReasonCode::LoadShed)
        .unwrap();
    assert_eq!(shed.detail, format!("{lost} bytes"));
    assert!(!bench.codes().contains(&ReasonCode::RingFull));
}

#[test]
fn a_connection_that_opened_and_closed_while_only_counted_is_reported_at_once() {
    let mut bench = Bench::new();
    enter(&bench, LoadLevel::NewCounted);
    bench.opens_shed = true;
    bench.open(Role::Client, false);
    bench.loses(Direction::Egress, 100);
    bench.loses(Direction::Ingress, 5000);
    bench.close();
    assert_eq!(bench.worker.connections(), 0, "nothing to wait for");
    let report = bench.final_report();
    assert_eq!((report.bytes_sent, report.bytes_received), (100, 5000));
    assert_eq!(report.health.gap_bytes, 5100);
    assert!(bench.codes().contains(&ReasonCode::LoadShed) && !bench.codes().contains(&ReasonCode::RingFull));
}

#[test]
fn a_full_ring_is_still_told_from_shedding() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    enter(&bench, LoadLevel::Counted);
    bench.loses(Direction::Egress, 10);
    bench.wait_ms(10);
    enter(&bench, LoadLevel::Full);
    bench.wait_ms(10);
    bench.writes(REQUEST);
    bench.wait_ms(300);
    bench.loses(Direction::Egress, 20);
    bench.close();
    bench.wait_ms(400);
    let health = bench.final_report().health;
    let detail = |code| {
        health
            .reasons
            .iter()
            .find(|reason| reason.code == code)
            .map(|reason| reason.detail.as_str())
    };
    assert_eq!(detail(ReasonCode::LoadShed), Some("10 bytes"));
    assert_eq!(detail(ReasonCode::RingFull), Some("20 bytes"));
}
