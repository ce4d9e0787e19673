//! The header of a TLS record that is read by itself comes with the rest of the record.

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

use common::{Flow, Tap, pair};
use qtap_capture::{Direction, Layer, Options, Verdict};

const HEADER: &[u8] = &[0x17, 3, 3, 0, 20];
const BODY: &[u8] = &[7; 20];

/// Position and bytes of each record that was read.
fn told(flow: &Flow) -> Vec<(u64, Vec<u8>)> {
    flow.records(Direction::Ingress, Layer::Socket)
        .map(|data| (data.position, data.bytes.to_vec()))
        .collect()
}

fn read(stream: &mut TcpStream, length: usize) {
    stream.read_exact(&mut vec![0; length]).unwrap();
}

/// What is told of reads of `lengths`, after `bytes` were written.
fn reads_of(tap: &mut Tap, bytes: &[u8], lengths: &[usize]) -> Flow {
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(bytes).unwrap();
    for &length in lengths {
        read(&mut accepted, length);
    }
    drop(accepted);
    drop(dialled);
    tap.ended(ours, theirs).1
}

#[test]
fn a_header_comes_with_its_record() {
    let mut tap = Tap::start();
    let record = [HEADER, BODY].concat();
    let flow = reads_of(&mut tap, &record.repeat(2), &[5, 20, 5, 20]);
    assert_eq!(told(&flow), [(0, record.clone()), (25, record)]);
    assert_eq!(flow.closed[0].read, 50);
    let starts: Vec<_> = flow.data.iter().map(|data| data.call_start).collect();
    assert_eq!(starts, [true, true]);
}

#[test]
fn a_header_without_the_rest_of_its_record_comes_at_the_end() {
    let mut tap = Tap::start();
    let flow = reads_of(&mut tap, HEADER, &[5]);
    assert_eq!(told(&flow), [(0, HEADER.to_vec())]);
    assert_eq!((flow.closed[0].read, flow.closed[0].lost_ring_full), (5, 0));
    tap.closed_order_holds(flow.opened.id);
}

#[test]
fn two_headers_in_a_row_come_together() {
    let mut tap = Tap::start();
    let flow = reads_of(&mut tap, &HEADER.repeat(3), &[5, 5, 5]);
    assert_eq!(told(&flow), [(0, HEADER.repeat(2)), (10, HEADER.to_vec())]);
}

/// An answer of five bytes is whole; it must not wait for the next.
#[test]
fn five_bytes_that_are_no_header_are_told_at_once() {
    let mut tap = Tap::start();
    for bytes in [
        b"+OK\r\n".as_slice(),
        &[0x17, 3, 3, 0, 0],
        &[0x17, 3, 5, 0, 1],
        &[0x17, 2, 3, 0, 1],
        &[0x13, 3, 3, 0, 1],
        &[0x18, 3, 3, 0, 1],
    ] {
        let (mut dialled, mut accepted) = pair("127.0.0.1:0");
        let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
        dialled.write_all(bytes).unwrap();
        read(&mut accepted, 5);
        tap.until("the bytes, while the connection is open", |tap| {
            tap.flow(theirs, ours)
                .is_some_and(|flow| told(&flow) == [(0, bytes.to_vec())])
        });
    }
}

/// A header that is held when the rest is not wanted any more is not lost.
#[test]
fn a_header_is_told_when_its_record_is_not_wanted() {
    let mut tap = Tap::start();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    dialled.write_all(b"hello").unwrap();
    read(&mut accepted, 5);
    tap.until("the opening", |tap| tap.flow(theirs, ours).is_some());
    let id = tap.flow(theirs, ours).unwrap().opened.id;
    dialled.write_all(&[HEADER, BODY].concat()).unwrap();
    read(&mut accepted, 5);
    tap.control.verdict(id, Verdict::COUNT_ONLY);
    read(&mut accepted, 20);
    drop(accepted);
    drop(dialled);
    let flow = tap.ended(ours, theirs).1;
    assert_eq!(told(&flow), [(0, b"hello".to_vec()), (5, HEADER.to_vec())]);
}

/// Nothing of it is lost silently when the ring is full.
#[test]
fn a_header_for_which_there_is_no_room_is_counted() {
    let mut tap = Tap::with(Options {
        data_ring: 4096,
        ..Options::default()
    });
    let record = [HEADER, BODY].concat();
    let (mut dialled, mut accepted) = pair("127.0.0.1:0");
    let (ours, theirs) = (dialled.local_addr().unwrap(), accepted.local_addr().unwrap());
    // Nobody reads the ring meanwhile.
    for _ in 0..200 {
        dialled.write_all(&record).unwrap();
        read(&mut accepted, 5);
        read(&mut accepted, 20);
    }
    drop(accepted);
    drop(dialled);
    let flow = tap.ended(ours, theirs).1;
    let seen: usize = told(&flow).iter().map(|(_, bytes)| bytes.len()).sum();
    let closed = &flow.closed[0];
    assert!(closed.lost_ring_full > 0, "{closed:?}");
    assert_eq!(seen as u64 + closed.lost_ring_full, closed.read);
}
