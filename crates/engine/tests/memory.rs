//! Connections whose handshake was not seen are read by secrets from the memory of their process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../../tls/tests/common/mod.rs"]
mod handshakes;
mod support;

use std::sync::Arc;

use handshakes::{Pair, Recording, Step};
use qtap_capture::{Direction, Event, Layer, Role, Verdict};
use qtap_engine::{HealthStatus, Interest, ProcessTls, ReasonCode, TlsSource};
use qtap_protocol::Side;
use qtap_tls::{FoundSecret, FoundSecrets, Label};
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite;
use support::Bench;

const REQUEST: &[u8] = b"GET /second HTTP/1.1\r\nhost: example.test\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// Two exchanges, and how many pieces of the wire are of the handshake and the first of them.
fn two_exchanges(suite: SupportedCipherSuite) -> (Recording, usize) {
    let pair = Pair::new(suite);
    let mut script = vec![
        Step::Send(
            Side::Client,
            b"GET /first HTTP/1.1\r\nhost: example.test\r\n\r\n".to_vec(),
        ),
        Step::Send(Side::Server, RESPONSE.to_vec()),
    ];
    let before = pair.run(&script).wire.len();
    script.extend([
        Step::Send(Side::Client, REQUEST.to_vec()),
        Step::Send(Side::Server, RESPONSE.to_vec()),
        Step::Close(Side::Client),
        Step::Close(Side::Server),
    ]);
    (pair.run(&script), before)
}

fn own(recording: &Recording, id: u64) -> Arc<FoundSecrets> {
    let is_application = |label| matches!(label, Label::ClientApplication | Label::ServerApplication);
    let secrets = (recording.secrets.iter())
        .filter(|secret| is_application(secret.label))
        .map(|secret| FoundSecret::new(secret.bytes.clone(), 1))
        .collect();
    Arc::new(FoundSecrets { id, secrets })
}

fn others(recording: &Recording, id: u64) -> Arc<FoundSecrets> {
    let length = recording.secrets[0].bytes.len();
    let secrets = (0..20)
        .map(|seed| FoundSecret::new(handshakes::noise(length, 70 + seed).into(), seed as u32))
        .collect();
    Arc::new(FoundSecrets { id, secrets })
}

/// A bench whose process has rustls, and whose searches find this.
fn bench(searches: Option<Vec<Arc<FoundSecrets>>>) -> Bench {
    let bench = Bench::with(true, Interest::Body(1 << 20));
    let mut host = bench.host.0.lock().unwrap();
    host.tls = Some(ProcessTls {
        implementations: vec!["rustls"],
        ..ProcessTls::default()
    });
    host.searches = searches;
    drop(host);
    bench
}

fn play(bench: &mut Bench, pieces: &[(Side, Vec<u8>)]) {
    for (side, bytes) in pieces {
        let direction = if *side == Side::Client {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let data = bench.record(direction, Layer::Socket, bytes, None);
        bench.send(Event::Data(data));
    }
}

fn assert_second_was_read(bench: &Bench, suite: u16) {
    let transactions = bench.transactions();
    assert_eq!(transactions.len(), 1);
    assert_eq!(transactions[0].response_half.body.total, 5);
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!(bench.codes(), [ReasonCode::JoinedMidstream]);
    let tls = report.facts.tls.unwrap();
    assert_eq!(tls.source, Some(TlsSource::Secrets));
    assert_eq!((tls.version, tls.cipher_suite), (Some(0x0304), Some(suite)));
    // Its calls are wanted no more, and calls are not copied.
    let host = bench.host.0.lock().unwrap();
    assert_eq!(host.calls, 0);
    let expected = Verdict {
        calls: false,
        ..Verdict::STREAM
    };
    assert_eq!(host.verdicts, [(bench.id, expected)]);
}

#[test]
fn every_suite_is_read_when_the_search_has_ended_before_and_when_it_ends_after() {
    for (suite, id) in [
        (cipher_suite::TLS13_AES_128_GCM_SHA256, 0x1301),
        (cipher_suite::TLS13_AES_256_GCM_SHA384, 0x1302),
        (cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, 0x1303),
    ] {
        let (recording, before) = two_exchanges(suite);
        for is_late in [false, true] {
            let mut bench = bench(Some(Vec::new()));
            let found = vec![own(&recording, 1)];
            bench.open(Role::Client, true);
            if !is_late {
                bench.host.0.lock().unwrap().searches = Some(found.clone());
            }
            play(&mut bench, &recording.wire[before..]);
            bench.close();
            bench.wait_ms(900);
            if is_late {
                assert!(bench.transactions().is_empty() && bench.host.0.lock().unwrap().asked > 10);
                bench.host.0.lock().unwrap().searches = Some(found);
                bench.wait_ms(100);
            }
            assert_second_was_read(&bench, id);
            assert_eq!(bench.stats.memory_joined.get(), 1);
        }
    }
}

#[test]
fn a_second_search_may_find_what_the_first_has_not() {
    let (recording, before) = two_exchanges(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut bench = bench(Some(vec![others(&recording, 1), own(&recording, 2)]));
    bench.open(Role::Client, true);
    play(&mut bench, &recording.wire[before..]);
    bench.wait_ms(100);
    bench.close();
    bench.wait_ms(100);
    assert_second_was_read(&bench, 0x1302);
}

fn assert_blind(bench: &Bench) {
    let report = bench.final_report();
    assert_eq!(report.health.status, HealthStatus::Blind);
    assert_eq!(bench.codes(), [ReasonCode::JoinedMidstream]);
    assert!(bench.transactions().is_empty());
    let host = bench.host.0.lock().unwrap();
    assert_eq!(host.verdicts, [(bench.id, Verdict::CALLS_ONLY)]);
}

#[test]
fn when_two_searches_do_not_find_it_the_connection_is_blind_and_its_bytes_are_not_copied_any_more() {
    let (recording, before) = two_exchanges(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut bench = bench(Some(vec![others(&recording, 1), others(&recording, 2)]));
    bench.open(Role::Client, true);
    play(&mut bench, &recording.wire[before..]);
    bench.wait_ms(200);
    assert_eq!(bench.stats.memory_unmatched.get(), 1);
    let asked = bench.host.0.lock().unwrap().asked;
    bench.close();
    bench.wait_ms(2000);
    assert_blind(&bench);
    assert_eq!(bench.host.0.lock().unwrap().asked, asked);
}

#[test]
fn it_does_not_wait_for_ever() {
    let (recording, before) = two_exchanges(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut bench = bench(Some(Vec::new()));
    bench.open(Role::Client, true);
    play(&mut bench, &recording.wire[before..]);
    bench.wait_ms(11_000);
    assert_eq!(bench.stats.memory_late.get(), 1);
    bench.close();
    bench.wait_ms(2000);
    assert_blind(&bench);
}

#[test]
fn where_memory_is_not_searched_nothing_is_kept() {
    let (recording, before) = two_exchanges(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut bench = bench(None);
    bench.open(Role::Client, true);
    play(&mut bench, &recording.wire[before..]);
    bench.wait_ms(10);
    assert_eq!(bench.worker.held(), 0);
    bench.close();
    bench.wait_ms(2000);
    assert_blind(&bench);
    assert_eq!(bench.host.0.lock().unwrap().asked, 0);
}

#[test]
fn a_connection_whose_calls_are_seen_is_read_by_them() {
    let (recording, before) = two_exchanges(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut bench = bench(Some(Vec::new()));
    bench.open(Role::Client, true);
    play(&mut bench, &recording.wire[before..=before]);
    for (direction, text) in [(Direction::Egress, REQUEST), (Direction::Ingress, RESPONSE)] {
        let data = bench.record(direction, Layer::Calls, text, None);
        bench.send(Event::Data(data));
    }
    bench.wait_ms(100);
    bench.close();
    bench.wait_ms(1000);
    assert_eq!(bench.transactions().len(), 1);
    let tls = bench.final_report().facts.tls.unwrap();
    assert_eq!(tls.source, Some(TlsSource::Calls));
    assert_eq!(bench.worker.held(), 0);
}

#[test]
fn what_waits_is_given_up_when_memory_is_short() {
    let mut bench = Bench::within(100_000, true, Interest::Body(1 << 20));
    bench.host.0.lock().unwrap().searches = Some(Vec::new());
    bench.open(Role::Client, true);
    let mut record = vec![23, 3, 3, 0x40, 0];
    record.extend(handshakes::noise(0x4000, 5));
    for _ in 0..20 {
        bench.reads(&record);
    }
    bench.wait_ms(600);
    assert!(bench.worker.held() <= 100_000, "{}", bench.worker.held());
}

/// Its library was probed too late: the hellos were seen, and no secret.
#[test]
fn a_connection_whose_secrets_were_missed_is_read_whole() {
    for suite in [
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let (recording, _) = two_exchanges(suite);
        let mut bench = bench(Some(vec![others(&recording, 1), own(&recording, 2)]));
        bench.open(Role::Client, false);
        play(&mut bench, &recording.wire);
        bench.wait_ms(900);
        assert_eq!(bench.host.0.lock().unwrap().asked, 0);
        bench.wait_ms(300);
        bench.close();
        bench.wait_ms(100);
        assert_eq!(bench.transactions().len(), 2);
        let report = bench.final_report();
        assert_eq!(
            report.health.status,
            HealthStatus::Healthy,
            "{:?}",
            report.health.reasons
        );
        assert_eq!(report.facts.tls.unwrap().source, Some(TlsSource::Secrets));
    }
}

#[test]
fn a_connection_whose_secrets_were_missed_and_are_not_found_says_so() {
    let (recording, _) = two_exchanges(cipher_suite::TLS13_AES_256_GCM_SHA384);
    let mut bench = bench(Some(vec![others(&recording, 1), others(&recording, 2)]));
    bench.open(Role::Client, false);
    play(&mut bench, &recording.wire);
    bench.wait_ms(3000);
    bench.close();
    bench.wait_ms(1000);
    assert!(bench.transactions().is_empty());
    assert_eq!(bench.final_report().health.status, HealthStatus::Blind);
    assert_eq!(bench.codes(), [ReasonCode::TlsSecretMissing]);
    assert_eq!(bench.host.0.lock().unwrap().calls, 0);
}
