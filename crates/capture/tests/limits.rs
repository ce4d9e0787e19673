//! What is not copied is counted: rings that are too small, verdicts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails says so"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Flow, Tap, pair, pattern};
use qtap_capture::{Direction, Event, Layer, Options, Pid, Verdict};

/// Bytes told as captured, and told as missing in a record.
fn told(flow: &Flow, direction: Direction) -> (u64, u64) {
    flow.records(direction, Layer::Socket)
        .fold((0, 0), |(captured, missing), record| {
            (
                captured + record.bytes.len() as u64,
                missing + record.missing.map_or(0, |(length, _)| u64::from(length)),
            )
        })
}

#[test]
fn a_ring_that_is_too_small_loses_bytes_but_not_count() {
    let mut tap = Tap::with(Options {
        data_ring: 4096,
        ..Options::default()
    });
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    let sent = pattern(3000);
    let mut buffer = vec![0; 3000];
    for round in 0..50 {
        dialled.write_all(&sent).unwrap();
        accepted.read_exact(&mut buffer).unwrap();
        if round % 10 == 9 {
            tap.during(Duration::from_millis(20));
        }
    }
    let counters = tap.control.counters().unwrap();
    assert!(counters.get("data_ring_unread_bytes").unwrap() <= 4096);
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    let (out, lost_out) = told(&client, Direction::Egress);
    let (into, lost_into) = told(&server, Direction::Ingress);
    assert!(out < 150_000, "the ring was too small");
    assert!(out + into > 0);
    assert_eq!(
        out + lost_out + client.end().lost_ring_full,
        client.end().kernel_sent
    );
    assert_eq!(
        into + lost_into + server.end().lost_ring_full,
        server.end().kernel_received
    );
    assert_eq!(
        (client.end().kernel_sent, server.end().kernel_received),
        (150_000, 150_000)
    );
    for record in client.records(Direction::Egress, Layer::Socket) {
        let start = (record.position % 3000) as usize;
        assert_eq!(
            record.bytes,
            sent[start..start + record.bytes.len()],
            "a gap, but no wrong byte"
        );
    }
    let lost = tap
        .control
        .counters()
        .unwrap()
        .get("data_bytes_lost_ring_full")
        .unwrap();
    assert!(lost >= client.end().lost_ring_full + server.end().lost_ring_full);
}

#[test]
fn count_only_copies_nothing_and_counts_everything() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    dialled.write_all(b"before").unwrap();
    tap.control.verdict(id, Verdict::COUNT_ONLY);
    dialled.write_all(&pattern(10_000)).unwrap();
    let mut buffer = vec![0; 10_006];
    accepted.read_exact(&mut buffer).unwrap();
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    assert_eq!(client.bytes(Direction::Egress), b"before");
    assert_eq!((client.end().written, client.end().kernel_sent), (10_006, 10_006));
    assert_eq!(client.end().lost_ring_full, 0);
    assert_eq!(
        server.bytes(Direction::Ingress).len(),
        10_006,
        "the other end is another connection"
    );
}

#[test]
fn skipped_ranges_are_left_out_by_position() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    // [egress, ingress]
    let verdict = Verdict {
        skip_until: [2500, 0],
        stream_until: [7600, u64::MAX],
        calls: true,
    };
    tap.control.verdict(id, verdict);
    let sent = pattern(10_000);
    for piece in sent.chunks(1000) {
        dialled.write_all(piece).unwrap();
    }
    let mut buffer = vec![0; 10_000];
    accepted.read_exact(&mut buffer).unwrap();
    drop((dialled, accepted));
    let (client, _) = tap.ended(ours, theirs);
    let mut next = 2500;
    for record in client.records(Direction::Egress, Layer::Socket) {
        assert_eq!(record.position, next);
        let start = next as usize;
        assert_eq!(record.bytes, sent[start..start + record.bytes.len()]);
        assert_eq!(
            record.call_start,
            next % 1000 == 0,
            "the rest of a call is not its start"
        );
        next += record.bytes.len() as u64;
    }
    assert_eq!(next, 7600);
    assert_eq!(client.end().written, 10_000);
}

#[test]
fn a_verdict_is_replaced_by_the_next() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("[::1]:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    let mut buffer = [0; 4];
    for (verdict, piece) in [
        (Verdict::COUNT_ONLY, b"gone"),
        (Verdict::STREAM, b"here"),
        (Verdict::CALLS_ONLY, b"gone"),
        (Verdict::STREAM, b"back"),
    ] {
        tap.control.verdict(id, verdict);
        dialled.write_all(piece).unwrap();
        accepted.read_exact(&mut buffer).unwrap();
    }
    drop((dialled, accepted));
    let (client, _) = tap.ended(ours, theirs);
    let records: Vec<_> = client
        .records(Direction::Egress, Layer::Socket)
        .map(|record| (record.position, record.bytes.to_vec()))
        .collect();
    assert_eq!(records, [(4, b"here".to_vec()), (12, b"back".to_vec())]);
}

#[test]
fn many_short_connections_are_all_told_or_counted() {
    let mut tap = Tap::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    std::net::TcpStream::connect(address)
                        .unwrap()
                        .write_all(b"hello")
                        .unwrap();
                }
            });
        }
        for _ in 0..400 {
            let (mut accepted, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            accepted.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"hello");
        }
    });
    tap.until("all of them", |tap| {
        let ends = tap.flows().into_iter().filter(|flow| {
            (flow.opened.remote == address || flow.opened.local == address) && !flow.closed.is_empty()
        });
        ends.count() == 800
    });
    let flows = tap.flows();
    for flow in flows.iter().filter(|flow| flow.opened.remote == address) {
        assert_eq!(flow.bytes(Direction::Egress), b"hello");
        assert_eq!(flow.end().kernel_sent, 5);
    }
}

#[test]
fn a_connection_told_only_at_its_end_has_its_addresses() {
    let mut tap = Tap::with(Options {
        control_ring: 4096,
        ..Options::default()
    });
    // Nobody reads: these fill the ring, and the opening of the last finds no room.
    let _others: Vec<_> = (0..80).map(|_| pair("127.0.0.1:0")).collect();
    let (dialled, accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.during(Duration::from_millis(50));
    assert!(tap.flow(ours, theirs).is_none() && tap.flow(theirs, ours).is_none());
    drop((dialled, accepted));
    tap.ended(ours, theirs);
}

#[test]
fn connections_whose_opening_found_no_room_are_told_by_a_scan() {
    let mut tap = Tap::with(Options {
        control_ring: 4096,
        ..Options::default()
    });
    // Nobody reads: these fill the ring.
    let mut idle: Vec<_> = (0..80)
        .map(|_| {
            let (mut dialled, mut accepted) = pair("127.0.0.1:0");
            accepted.write_all(b"x").unwrap();
            dialled.read_exact(&mut [0]).unwrap();
            (dialled, accepted)
        })
        .collect();
    let is_known = |tap: &Tap, (dialled, accepted): &(TcpStream, TcpStream)| {
        let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
        tap.flow(ours, theirs).is_some() && tap.flow(theirs, ours).is_some()
    };
    tap.during(Duration::from_millis(50));
    let known = |tap: &Tap, pairs: &[_]| pairs.iter().filter(|pair| is_known(tap, pair)).count();
    let at_first = known(&tap, &idle);
    assert!(at_first < 40, "the ring was too small");
    assert!(tap.control.opened_lost().unwrap() >= 80);

    let (mut scans, mut latest) = (0, at_first);
    while latest < idle.len() {
        tap.capture.scan_existing().unwrap();
        let unread = tap.control.counters().unwrap().get("control_ring_unread_bytes");
        assert!(
            unread.unwrap() < 4096 / 2 + 256,
            "half of it stays for what happens meanwhile"
        );
        tap.during(Duration::from_millis(10));
        scans += 1;
        assert!(scans < 100, "{latest} of {} are known", idle.len());
        latest = known(&tap, &idle);
    }

    let (mut dialled, mut accepted) = idle.pop().unwrap();
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"hello").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    drop((dialled, accepted));
    let (client, server) = tap.ended(ours, theirs);
    for flow in [&client, &server] {
        assert!(!flow.opened.midstream, "it was seen from its beginning");
        assert_eq!(flow.opened.pid, Pid(std::process::id()));
    }
    assert_eq!(client.bytes(Direction::Egress), b"hello");
    assert_eq!(server.bytes(Direction::Ingress), b"hello");
}

#[test]
fn an_idle_reader_is_woken_by_the_first_record() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    tap.until("the opening", |tap| tap.flow(ours, theirs).is_some());
    let id = tap.flow(ours, theirs).unwrap().opened.id;
    let mut delays = Vec::new();
    for _ in 0..9 {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // Long enough for the reader to go to sleep.
                std::thread::sleep(Duration::from_millis(120));
                dialled.write_all(b"wake up").unwrap();
            });
            let mut delay = None;
            while delay.is_none() {
                tap.reader
                    .poll(Duration::from_secs(5), &mut |event| {
                        if let Event::Data(data) = event
                            && data.id == id
                        {
                            delay = Some(qtap_capture::now().0 - data.time.0);
                        }
                    })
                    .unwrap();
            }
            delays.extend(delay);
            writer.join().unwrap();
        });
    }
    accepted.read_exact(&mut [0; 63]).unwrap();
    delays.sort_unstable();
    println!("delays in ns: {delays:?}");
    assert!(delays[4] < 20_000_000, "{delays:?}");
}
