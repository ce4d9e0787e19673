//! What is counted for each protocol: what its parser was given, and how it ended (P-L6, P-M2).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use qtap_capture::{Direction, Role};
use qtap_protocol::detect::Protocol;
use support::Bench;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn counts(bench: &Bench, protocol: Protocol) -> [u64; 7] {
    let stats = bench.stats.protocols.of(protocol);
    [
        &stats.bytes,
        &stats.gap_bytes,
        &stats.transactions,
        &stats.resyncs,
        &stats.orphans,
        &stats.mistaken,
        &stats.fatal,
    ]
    .map(|counter| counter.get())
}

#[test]
fn p_l6_each_protocol_counts_what_it_was_given() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(&RESPONSE[..RESPONSE.len() - 2]);
    bench.loses(Direction::Ingress, 2);
    bench.close();
    bench.wait_ms(400);
    let bytes = (REQUEST.len() + RESPONSE.len() - 2) as u64;
    assert_eq!(counts(&bench, Protocol::Http1), [bytes, 2, 1, 0, 0, 0, 0]);

    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(b"*1\r\n$4\r\nPING\r\n");
    bench.reads(b"+PONG\r\n");
    bench.close();
    assert_eq!(counts(&bench, Protocol::Redis), [21, 0, 1, 0, 0, 0, 0]);
    assert_eq!(counts(&bench, Protocol::Http1), [0; 7]);
}

/// P-M2: what was taken for a protocol and is none of it is told apart from what cannot be gone on with.
#[test]
fn p_m2_parsers_that_end_are_counted_by_protocol_and_kind() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    bench.reads(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    bench.close();
    let [.., mistaken, fatal] = counts(&bench, Protocol::Http2);
    assert_eq!((mistaken, fatal), (1, 0));

    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    for _ in 0..3 {
        bench.writes(REQUEST);
        bench.reads(RESPONSE);
    }
    // Good ones, then heads with a line that is no field.
    bench.writes(&b"nonsense\r\nGET / HTTP/1.1\r\nno field\r\n\r\n".repeat(30));
    bench.close();
    let [.., resyncs, _, mistaken, fatal] = counts(&bench, Protocol::Http1);
    assert!(
        resyncs > 0 && (mistaken, fatal) == (0, 1),
        "{resyncs} {mistaken} {fatal}"
    );
}
