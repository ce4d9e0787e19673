//! When an open connection is reported.

mod support;

use qtap_capture::Role;
use support::Bench;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn one_that_is_used_is_reported_after_half_a_second_and_every_ten() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.wait_ms(600);
    assert_eq!(bench.reports(), 1);
    for _ in 0..30 {
        bench.writes(REQUEST);
        bench.reads(RESPONSE);
        bench.wait_ms(1_000);
    }
    assert!((3..=4).contains(&bench.reports()), "{}", bench.reports());
}

#[test]
fn one_that_is_silent_is_reported_again_when_something_moves_or_after_ten_minutes() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    for _ in 0..300 {
        bench.wait_ms(1_000);
    }
    assert_eq!(bench.reports(), 1);
    bench.writes(REQUEST);
    bench.reads(RESPONSE);
    bench.wait_ms(1_000);
    assert_eq!(bench.reports(), 2);
    for _ in 0..599 {
        bench.wait_ms(1_000);
    }
    assert_eq!(bench.reports(), 2);
    bench.wait_ms(2_000);
    assert_eq!(bench.reports(), 3);
}
