//! Whose calls are of which the kernel could not tell that.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::num::NonZeroU64;

use bytes::Bytes;
use qtap_capture::{Closed, ConnectionId, Data, Direction, Event, KernelTime, Layer, Role, Unattributed};
use qtap_protocol::Outcome;
use support::{Bench, MS, PID, client_hello};

const ONE: ConnectionId = ConnectionId(1);
const TWO: ConnectionId = ConnectionId(2);
/// Sessions of a library.
const FIRST: u64 = 0x7f01;
const SECOND: u64 = 0x7f02;
/// Time after which a call that waits for something certain does so no more.
const PATIENCE_MS: u64 = 400;

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n").into_bytes()
}

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server whose connections are read by calls.
fn bench() -> Bench {
    let mut bench = Bench::reading_calls();
    bench.host.0.lock().unwrap().tls = Some(qtap_engine::ProcessTls::default());
    bench.now = 1000 * MS;
    bench
}

fn open(bench: &mut Bench, id: ConnectionId) {
    bench.id = id;
    bench.open(Role::Server, false);
}

/// The client says hello, by which the connection is known as one of TLS.
fn greet(bench: &mut Bench, id: ConnectionId) {
    let mut data = record(bench, Direction::Ingress, 0, &client_hello());
    (data.id, data.layer) = (id, Layer::Socket);
    bench.send(Event::Data(data));
}

fn begin(bench: &mut Bench, id: ConnectionId) {
    open(bench, id);
    greet(bench, id);
}

fn record(bench: &Bench, direction: Direction, position: u64, bytes: &[u8]) -> Data {
    Data {
        id: ConnectionId(0),
        time: KernelTime(bench.now),
        pid: PID,
        tid: PID.0,
        direction,
        layer: Layer::Calls,
        position,
        bytes: Bytes::copy_from_slice(bytes),
        missing: None,
        call_start: true,
        other_settled: 0,
        session: None,
    }
}

/// A call within which nothing was moved at a socket.
fn in_memory(bench: &Bench, session: u64, direction: Direction, position: u64, bytes: &[u8]) -> Event {
    let data = record(bench, direction, position, bytes);
    Event::Unattributed(Box::new(Unattributed {
        pid: PID,
        tid: PID.0,
        session,
        data: Data {
            session: NonZeroU64::new(session),
            ..data
        },
    }))
}

/// A request, and the answer to it, within whose call the kernel saw the connection.
fn answer(bench: &mut Bench, id: ConnectionId, session: u64, request: &[u8]) {
    let data = Data {
        id,
        session: NonZeroU64::new(session),
        other_settled: request.len() as u64,
        ..record(bench, Direction::Egress, 0, RESPONSE)
    };
    bench.send(Event::Data(data));
}

/// A request and its answer in memory.
fn exchange_in_memory(bench: &mut Bench, session: u64, positions: [u64; 2], request: &[u8]) {
    let question = in_memory(bench, session, Direction::Ingress, positions[0], request);
    bench.send(question);
    let answer = in_memory(bench, session, Direction::Egress, positions[1], RESPONSE);
    bench.send(answer);
}

fn close(bench: &mut Bench, id: ConnectionId) {
    close_with(bench, id, 0);
}

/// It ends, and records of `missing` bytes may still come.
fn close_with(bench: &mut Bench, id: ConnectionId, missing: u64) {
    let read = client_hello().len() as u64;
    let closed = Closed {
        id,
        time: KernelTime(bench.now),
        written: missing,
        read,
        calls_written: 0,
        calls_read: 0,
        kernel_sent: missing,
        kernel_received: read,
        unread: 0,
        lost_ring_full: 0,
        reset: false,
        io_uring: false,
    };
    bench.send(Event::Closed(closed));
}

/// The exchanges that were told: connection, target, whether it is whole.
fn told(bench: &Bench) -> Vec<(ConnectionId, String, bool)> {
    let received = bench.received.lock().unwrap();
    let told = received.transactions.iter().zip(&received.facts);
    told.map(|(transaction, facts)| {
        let target = String::from_utf8_lossy(&transaction.request.target).into_owned();
        let is_whole = transaction.outcome == Outcome::Complete && transaction.response.is_some();
        (facts.id, target, is_whole)
    })
    .collect()
}

fn whole(id: ConnectionId, target: &str) -> (ConnectionId, String, bool) {
    (id, target.to_owned(), true)
}

#[test]
fn a_request_that_was_read_ahead_is_its_answers() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    let asked = request("/one");
    bench.send(in_memory(&bench, FIRST, Direction::Ingress, 0, &asked));
    answer(&mut bench, ONE, FIRST, &asked);
    assert_eq!(told(&bench), [whole(ONE, "/one")]);
    assert_eq!(bench.stats.lost_unattributed.get(), 0);
}

/// Another connection idles, and alone is known when the request comes.
#[test]
fn a_request_that_comes_before_its_connection_is_not_anothers() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    bench.wait_ms(PATIENCE_MS);
    open(&mut bench, TWO);
    let asked = request("/two");
    bench.send(in_memory(&bench, SECOND, Direction::Ingress, 0, &asked));
    greet(&mut bench, TWO);
    answer(&mut bench, TWO, SECOND, &asked);
    let asked = request("/one");
    let data = Data {
        id: ONE,
        session: NonZeroU64::new(FIRST),
        ..record(&bench, Direction::Ingress, 0, &asked)
    };
    bench.send(Event::Data(data));
    answer(&mut bench, ONE, FIRST, &asked);
    assert_eq!(told(&bench), [whole(TWO, "/two"), whole(ONE, "/one")]);
}

#[test]
fn a_program_that_encrypts_in_memory_is_read_before_its_connection_ends() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    let asked = request("/one");
    exchange_in_memory(&mut bench, FIRST, [0, 0], &asked);
    assert!(told(&bench).is_empty(), "it waits for something certain");
    bench.wait_ms(PATIENCE_MS);
    assert_eq!(told(&bench), [whole(ONE, "/one")]);
    let positions = [asked.len() as u64, RESPONSE.len() as u64];
    exchange_in_memory(&mut bench, FIRST, positions, &request("/again"));
    assert_eq!(told(&bench), [whole(ONE, "/one"), whole(ONE, "/again")]);
}

/// What waits is settled early where it takes much room: by that it is known whose the next call is.
#[test]
fn an_answer_to_a_request_that_takes_half_of_the_room_is_of_its_connection() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    let body = vec![b'x'; 600 << 10];
    let head = format!(
        "POST /one HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    exchange_in_memory(&mut bench, FIRST, [0, 0], &[head.into_bytes(), body].concat());
    bench.wait_ms(PATIENCE_MS);
    assert_eq!(told(&bench), [whole(ONE, "/one")]);
    bench.wait_ms(3000);
    assert_eq!(bench.stats.lost_unattributed.get(), 0);
}

/// The library frees one session, and the next one is at its address: it has another number, and counts anew.
#[test]
fn two_connections_that_use_one_object_one_after_the_other_keep_their_own() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/one"));
    bench.wait_ms(PATIENCE_MS);
    begin(&mut bench, TWO);
    // The end of the one before is told after this.
    exchange_in_memory(&mut bench, SECOND, [0, 0], &request("/two"));
    close(&mut bench, ONE);
    close(&mut bench, TWO);
    assert_eq!(told(&bench), [whole(ONE, "/one"), whole(TWO, "/two")]);
    assert_eq!(bench.stats.lost_unattributed.get(), 0);
}

/// Nobody tells that the object was freed: to the kernel it is the same session, which goes on to count.
#[test]
fn a_session_that_serves_a_second_connection_goes_over_to_it() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    let asked = request("/one");
    exchange_in_memory(&mut bench, FIRST, [0, 0], &asked);
    close(&mut bench, ONE);
    assert_eq!(told(&bench), [whole(ONE, "/one")], "before its end");
    begin(&mut bench, TWO);
    let positions = [asked.len() as u64, RESPONSE.len() as u64];
    exchange_in_memory(&mut bench, FIRST, positions, &request("/two"));
    bench.wait_ms(PATIENCE_MS);
    assert_eq!(told(&bench), [whole(ONE, "/one"), whole(TWO, "/two")]);
}

#[test]
fn a_call_is_not_of_a_connection_that_was_over_and_waits_for_its_last_records() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    let asked = request("/one");
    exchange_in_memory(&mut bench, FIRST, [0, 0], &asked);
    close_with(&mut bench, ONE, 10);
    begin(&mut bench, TWO);
    assert_eq!(bench.worker.connections(), 2);
    let positions = [asked.len() as u64, RESPONSE.len() as u64];
    exchange_in_memory(&mut bench, FIRST, positions, &request("/two"));
    bench.wait_ms(PATIENCE_MS);
    assert_eq!(told(&bench), [whole(ONE, "/one"), whole(TWO, "/two")]);
}

/// It counts anew under the number of one that is known: what cannot come next on a connection is not its own.
#[test]
fn a_call_that_begins_anew_is_not_of_a_connection_that_has_come_farther() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/one"));
    bench.wait_ms(PATIENCE_MS);
    begin(&mut bench, TWO);
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/two"));
    bench.wait_ms(PATIENCE_MS);
    assert_eq!(told(&bench), [whole(ONE, "/one"), whole(TWO, "/two")]);
}

/// The same, and there is no other connection.
#[test]
fn a_call_that_begins_anew_where_nobody_does_is_lost() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/one"));
    bench.wait_ms(PATIENCE_MS);
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/two"));
    bench.wait_ms(3000);
    assert_eq!(told(&bench), [whole(ONE, "/one")]);
    let lost = (request("/two").len() + RESPONSE.len()) as u64;
    assert_eq!(bench.stats.lost_unattributed.get(), lost);
}

#[test]
fn a_call_is_not_of_a_connection_that_began_after_it() {
    let mut bench = bench();
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/nobody"));
    begin(&mut bench, ONE);
    bench.wait_ms(3000);
    assert!(told(&bench).is_empty());
    let lost = (request("/nobody").len() + RESPONSE.len()) as u64;
    assert_eq!(bench.stats.lost_unattributed.get(), lost);
}

/// Both are older than the capture, and used one after the other before there was time for something certain.
#[test]
fn what_was_read_before_anything_came_for_a_connection_is_not_its_own() {
    let mut bench = bench();
    for id in [ONE, TWO] {
        bench.id = id;
        bench.open(Role::Server, true);
    }
    for (id, session, target) in [(ONE, FIRST, "/one"), (TWO, SECOND, "/two")] {
        let ciphertext = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
        let mut data = record(&bench, Direction::Ingress, 0, &ciphertext);
        (data.id, data.layer) = (id, Layer::Socket);
        bench.send(Event::Data(data));
        exchange_in_memory(&mut bench, session, [0, 0], &request(target));
        bench.now += MS;
    }
    bench.wait_ms(PATIENCE_MS);
    assert_eq!(told(&bench), [whole(ONE, "/one"), whole(TWO, "/two")]);
    assert_eq!(bench.stats.lost_unattributed.get(), 0);
}

#[test]
fn what_two_connections_can_have_said_is_neithers() {
    let mut bench = bench();
    begin(&mut bench, ONE);
    begin(&mut bench, TWO);
    exchange_in_memory(&mut bench, FIRST, [0, 0], &request("/either"));
    bench.wait_ms(3000);
    assert!(told(&bench).is_empty());
    let lost = (request("/either").len() + RESPONSE.len()) as u64;
    assert_eq!(bench.stats.lost_unattributed.get(), lost);
}

/// Both workers see each call of which nobody knows whose it is.
#[test]
fn what_is_another_workers_is_not_taken_and_not_lost() {
    let mut one = bench();
    let mut two = one.beside();
    two.now = one.now;
    begin(&mut one, ONE);
    begin(&mut two, TWO);
    let asked = request("/two");
    for worker in [&mut one, &mut two] {
        worker.send(in_memory(worker, SECOND, Direction::Ingress, 0, &asked));
    }
    answer(&mut two, TWO, SECOND, &asked);
    close(&mut two, TWO);
    for worker in [&mut one, &mut two] {
        worker.wait_ms(3000);
        assert_eq!(worker.stats.lost_unattributed.get(), 0);
    }
    assert!(told(&one).is_empty());
    assert_eq!(told(&two), [whole(TWO, "/two")]);
}

#[test]
fn what_connections_of_two_workers_can_have_said_is_neithers_and_lost_once() {
    let mut one = bench();
    let mut two = one.beside();
    two.now = one.now;
    begin(&mut one, ONE);
    begin(&mut two, TWO);
    for worker in [&mut one, &mut two] {
        exchange_in_memory(worker, SECOND, [0, 0], &request("/either"));
        worker.wait_ms(3000);
        assert!(told(worker).is_empty());
    }
    let lost = one.stats.lost_unattributed.get() + two.stats.lost_unattributed.get();
    assert_eq!(lost, (request("/either").len() + RESPONSE.len()) as u64);
}
