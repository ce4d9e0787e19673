//! WebSockets and event streams: what is told of them at their end, and while they last.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

mod support;

use qtap_capture::{Direction, Role};
use qtap_engine::{EventStream, HealthStatus, Interest, Messages, Transaction, WebSocket};
use qtap_protocol::websocket::{Kind, Message};
use qtap_protocol::{Outcome, Side, Upgrade};

use support::Bench;

const UPGRADE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// A frame of the client, of which each has another mask.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mask = [length, payload.last().copied().unwrap_or_default(), 0x21, 0x3d];
    let masked: Vec<u8> = (payload.iter().zip(mask.iter().cycle()))
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    [&[first, 0x80 | length], &mask[..], &masked].concat()
}

fn server(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, length], payload].concat()
}

fn opened(interest: Interest) -> Bench {
    let mut bench = Bench::with(true, interest);
    bench.open(Role::Client, false);
    bench.writes(UPGRADE);
    bench.reads(SWITCHED);
    bench
}

fn socket(transaction: &Transaction) -> &WebSocket {
    match &transaction.messages {
        Some(Messages::WebSocket(socket)) => socket,
        other => panic!("{other:?}"),
    }
}

fn events(transaction: &Transaction) -> &EventStream {
    match &transaction.messages {
        Some(Messages::Events(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
        .collect()
}

fn only(bench: &Bench) -> Transaction {
    let mut transactions = bench.transactions();
    assert_eq!(transactions.len(), 1);
    transactions.remove(0)
}

#[test]
fn p_w1_p_w2_a_websocket_is_one_transaction_that_lives_until_close() {
    let mut bench = opened(Interest::Body(1 << 20));
    bench.writes(&client(0x81, b"hello"));
    bench.reads(&server(0x82, b"\x01\x02"));
    bench.reads(&server(0x89, b""));
    assert!(bench.transactions().is_empty(), "it goes on");
    bench.writes(&client(0x88, b"\x03\xe8bye"));
    bench.reads(&server(0x88, b"\x03\xe8"));
    bench.close();
    let transaction = only(&bench);
    assert_eq!(
        (
            transaction.outcome,
            transaction.upgraded_to.clone(),
            transaction.partial
        ),
        (Outcome::Upgraded, Some(Upgrade::WebSocket), false)
    );
    let socket = socket(&transaction);
    assert_eq!(socket.agreement.subprotocol.as_deref(), Some("chat"));
    assert_eq!(socket.traffic[0].text, 1);
    assert_eq!((socket.traffic[1].binary, socket.traffic[1].pings), (1, 1));
    let closing = socket.closing[0].as_ref().unwrap();
    assert_eq!((closing.code, closing.reason.as_str()), (Some(1000), "bye"));
    let kinds: Vec<_> = socket.messages.iter().map(|message| message.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Text, Kind::Binary, Kind::Ping, Kind::Close, Kind::Close]
    );
    let waited = transaction.ttfb_ns().unwrap();
    assert!(waited > 0 && waited < transaction.duration_ns().unwrap() + 1);
    // Bytes are those of the whole connection, heads and frames.
    let moved = |side: Side| match side {
        Side::Client => transaction.request_half.counts.total(),
        Side::Server => transaction.response_half.counts.total(),
    };
    assert_eq!(
        moved(Side::Client),
        bench.end(qtap_capture::Layer::Socket, Direction::Egress)
    );
    assert_eq!(
        moved(Side::Server),
        bench.end(qtap_capture::Layer::Socket, Direction::Ingress)
    );
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
    assert_eq!(bench.final_report().transactions, 1);
}

#[test]
fn a_server_that_does_not_say_what_it_switches_to_means_what_was_asked_for() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(UPGRADE);
    bench.reads(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    bench.reads(&server(0x81, b"hi"));
    bench.close();
    let transaction = only(&bench);
    assert_eq!(texts(&socket(&transaction).messages), ["hi"]);
    assert_eq!(transaction.upgraded_to, Some(Upgrade::WebSocket));
}

#[test]
fn frames_that_come_with_the_handshake_are_its_messages() {
    let mut bench = Bench::new();
    bench.open(Role::Server, false);
    bench.reads(&[UPGRADE, &client(0x81, b"early")].concat());
    bench.writes(&[SWITCHED, &server(0x81, b"at once")].concat());
    bench.close();
    assert_eq!(texts(&socket(&only(&bench)).messages), ["early", "at once"]);
}

#[test]
fn a_websocket_that_lasts_is_told_of_before_it_ends() {
    let mut bench = opened(Interest::Body(1 << 20));
    bench.writes(&client(0x81, b"one"));
    bench.wait_ms(10_100);
    let progress = bench.received.lock().unwrap().progress.clone();
    assert_eq!(progress.len(), 1, "after 10 s");
    assert!(progress[0].partial && progress[0].outcome == Outcome::Upgraded);
    assert_eq!(texts(&socket(&progress[0]).messages), ["one"]);
    assert!(progress[0].request_half.counts.head_bytes > 0);
    assert_eq!(progress[0].request_half.counts.body_bytes, 9);
    // Silence is not reported; what comes after it is, a minute after the last report.
    bench.wait_ms(120_000);
    assert_eq!(bench.received.lock().unwrap().progress.len(), 1);
    bench.reads(&server(0x81, b"two"));
    bench.wait_ms(1_000);
    let progress = bench.received.lock().unwrap().progress.clone();
    assert_eq!(progress.len(), 2);
    assert_eq!(texts(&socket(&progress[1]).messages), ["two"], "only what is new");
    assert_eq!(
        socket(&progress[1]).traffic[0].text,
        1,
        "counts are from the beginning"
    );
    assert_eq!(progress[1].id, progress[0].id);
    bench.close();
    let last = only(&bench);
    assert_eq!((last.id.clone(), last.partial), (progress[0].id.clone(), false));
    assert!(socket(&last).messages.is_empty());
}

#[test]
fn a_websocket_that_rests_costs_no_reports() {
    let mut bench = opened(Interest::Body(1 << 20));
    bench.wait_ms(60_000);
    let before = bench.reports();
    bench.wait_ms(120_000);
    assert_eq!(bench.reports(), before, "nothing moved");
    bench.reads(&server(0x81, b"two"));
    bench.wait_ms(1_000);
    assert_eq!(bench.reports(), before + 1);
}

#[test]
fn a_stream_that_fills_its_limit_is_told_of_every_ten_seconds() {
    let mut bench = opened(Interest::Body(1000));
    for _ in 0..1000 {
        bench.reads(&server(0x82, &[7; 100]));
        bench.wait_ms(35);
    }
    let progress = bench.received.lock().unwrap().progress.clone();
    assert!(
        (3..=4).contains(&progress.len()),
        "{} reports in 35 s",
        progress.len()
    );
    for report in &progress {
        let socket = socket(report);
        assert_eq!(socket.messages.len(), 10, "1000 bytes");
        assert!(
            socket.dropped > 100,
            "what was not kept is counted: {}",
            socket.dropped
        );
    }
}

#[test]
fn without_bodies_messages_are_counted_only() {
    let mut bench = opened(Interest::Head);
    bench.writes(&client(0x81, b"secret"));
    bench.close();
    let transaction = only(&bench);
    assert_eq!(socket(&transaction).traffic[0].bytes, 6);
    assert!(socket(&transaction).messages.is_empty() && socket(&transaction).dropped == 0);
}

#[test]
fn a_large_message_that_nobody_wants_is_skipped_in_the_kernel() {
    let mut bench = opened(Interest::Head);
    let length = 1_u64 << 20;
    let head = [&[0x82, 127][..], &length.to_be_bytes()].concat();
    bench.reads(&[&head[..], &[0; 1000]].concat());
    let verdict = bench.host.0.lock().unwrap().verdicts.last().unwrap().1;
    let skip_until = verdict.skip_until[1];
    assert!(skip_until > length - (32 << 10), "{verdict:?}");
    let position = bench.end(qtap_capture::Layer::Socket, Direction::Ingress);
    // What is lost of it is counted, and missed by nobody.
    bench.loses(Direction::Ingress, 5000);
    bench.passes(Direction::Ingress, skip_until - position - 5000);
    let rest = SWITCHED.len() as u64 + head.len() as u64 + length - skip_until;
    bench.reads(&vec![0; usize::try_from(rest).unwrap()]);
    bench.reads(&server(0x81, b"next"));
    bench.close();
    let transaction = only(&bench);
    let traffic = &socket(&transaction).traffic[1];
    assert_eq!(
        (traffic.binary, traffic.text, traffic.incomplete, traffic.fault),
        (1, 1, 0, None)
    );
    assert_eq!(transaction.gap_bytes(), 0);
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
    assert_eq!(bench.stats.unwanted_ring_full.get(), 5000);
}

#[test]
fn lost_frames_are_said_and_messages_found_again() {
    let mut bench = opened(Interest::Body(1 << 20));
    bench.reads(&server(0x81, b"before"));
    bench.loses(Direction::Ingress, 100);
    for number in 0..6_u8 {
        bench.reads(&server(0x81, format!("message {number}").as_bytes()));
    }
    bench.wait_ms(1000);
    bench.close();
    let transaction = only(&bench);
    let socket = socket(&transaction);
    assert_eq!(texts(&socket.messages), ["before", "message 4", "message 5"]);
    assert_eq!(socket.traffic[1].fault, Some("bytes are missing between frames"));
    assert_eq!(bench.stats.unwanted_ring_full.get(), 0);
    assert_eq!(transaction.gap_bytes(), 100);
    assert_eq!(bench.final_report().health.status, HealthStatus::Degraded);
}

#[test]
fn memory_that_a_websocket_holds_is_given_back() {
    let mut bench = opened(Interest::Body(1 << 20));
    for _ in 0..100 {
        bench.writes(&client(0x81, &[b'x'; 100]));
    }
    assert!(bench.budget.used() > 10_000);
    bench.close();
    assert_eq!(socket(&only(&bench)).messages.len(), 100);
    assert_eq!(bench.budget.used(), 0);
}

const REQUEST: &[u8] = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n";
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

#[test]
fn p_s1_events_are_counted_and_the_body_stays_what_it_is() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(STREAM);
    bench.reads(&chunk("id: 1\ndata: a\n\n"));
    bench.reads(&chunk("event: b\ndata: b"));
    bench.reads(&chunk("b\n\n: ping\n\n"));
    bench.reads(b"0\r\n\r\n");
    bench.close();
    let transaction = only(&bench);
    let stream = events(&transaction);
    assert_eq!((stream.traffic.events, stream.traffic.comments), (2, 1));
    assert_eq!(stream.traffic.last_id.as_deref(), Some("1"));
    assert_eq!(&stream.events[1].data[..], b"bb");
    assert!(stream.traffic.first < stream.traffic.last);
    assert_eq!(
        &transaction.response_half.body.data[..],
        b"id: 1\ndata: a\n\nevent: b\ndata: bb\n\n: ping\n\n"
    );
    assert_eq!(transaction.outcome, Outcome::Complete);
}

#[test]
fn p_s1_an_endless_stream_is_told_of_before_it_ends() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(STREAM);
    for number in 0..75 {
        bench.reads(&chunk(&format!("data: {number}\n\n")));
        bench.wait_ms(1000);
    }
    let progress = bench.received.lock().unwrap().progress.clone();
    assert_eq!(progress.len(), 2, "after 10 s, and a minute later");
    assert_eq!(
        events(&progress[0]).traffic.events + events(&progress[0]).dropped,
        events(&progress[0]).events.len() as u64
    );
    assert_eq!(events(&progress[1]).traffic.events, 70);
    assert!(progress[1].response_half.counts.body_bytes > 70 * 9);
    assert!(progress[1].response_half.body.data.is_empty());
    bench.close();
    assert_eq!(only(&bench).outcome, Outcome::Canceled);
}

#[test]
fn p_s1_a_hole_costs_the_event_it_touches() {
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(REQUEST);
    bench.reads(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    bench.reads(b"data: 1\n\ndata: ");
    bench.loses(Direction::Ingress, 20);
    bench.reads(b"xx\n\ndata: 3\n\n");
    bench.wait_ms(1000);
    bench.close();
    let transaction = only(&bench);
    let stream = events(&transaction);
    let data: Vec<_> = stream.events.iter().map(|event| &event.data[..]).collect();
    assert_eq!((data, stream.traffic.incomplete), (vec![&b"1"[..], b"3"], 1));
}

/// P-D3 for WebSockets: those that were upgraded before the agent came.
#[test]
fn a_websocket_that_is_older_than_the_capture_is_told_by_its_frames() {
    let mut bench = Bench::new();
    bench.open(Role::Client, true);
    for number in 0..12_u8 {
        bench.writes(&client(0x81, format!("question {number}").as_bytes()));
        bench.reads(&server(0x81, format!("answer {number}").as_bytes()));
    }
    bench.writes(&client(0x88, b"\x03\xe8"));
    bench.close();
    let transaction = only(&bench);
    assert_eq!(
        (transaction.outcome, transaction.upgraded_to.clone()),
        (Outcome::Upgraded, Some(Upgrade::WebSocket))
    );
    assert!(transaction.response.is_none() && transaction.duration_ns().is_none());
    let socket = socket(&transaction);
    // The first of either side are passed over, what follows is whole.
    assert_eq!(texts(&socket.messages)[0], "question 4");
    assert_eq!((socket.traffic[0].text, socket.traffic[1].text), (8, 8));
    assert_eq!(socket.traffic[0].fault, Some("joined in the middle"));
    assert_eq!(socket.closing[0].as_ref().unwrap().code, Some(1000));
    let report = bench.final_report();
    assert_eq!(report.upgraded_to, Some(Upgrade::WebSocket));
    assert_eq!(report.health.status, HealthStatus::Degraded);
    assert_eq!(bench.codes(), [qtap_engine::ReasonCode::JoinedMidstream]);
    assert_eq!(bench.budget.used(), 0);
}

#[test]
fn what_only_looks_like_frames_on_one_side_is_no_websocket() {
    let mut bench = Bench::new();
    bench.open(Role::Client, true);
    for number in 0..12_u8 {
        bench.writes(b"this is what no WebSocket says\n");
        bench.reads(&server(0x81, format!("answer {number}").as_bytes()));
    }
    bench.close();
    assert!(bench.transactions().is_empty());
}

/// A frame of HTTP/2.
fn h2(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A field that is not indexed, by its name's place in the static table.
fn indexed_name(name: u8, value: &str) -> Vec<u8> {
    [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn connect_over_h2(protocol: Option<&str>) -> Bench {
    let mut block = [indexed_name(2, "CONNECT"), indexed_name(1, "a.example:443")].concat();
    if let Some(protocol) = protocol {
        // A literal with a literal name; then scheme https and path /.
        block.extend(
            [
                &[0, 9][..],
                b":protocol",
                &[9],
                protocol.as_bytes(),
                &[0x87, 0x84],
            ]
            .concat(),
        );
    }
    let mut bench = Bench::new();
    bench.open(Role::Client, false);
    bench.writes(&[PREFACE, &h2(4, 0, 0, b""), &h2(1, END_HEADERS, 1, &block)].concat());
    bench.reads(&[h2(4, 0, 0, b""), h2(1, END_HEADERS, 1, &[0x88])].concat());
    bench
}

/// RFC 8441: frames may lie anywhere in those of HTTP/2.
#[test]
fn p_w2_a_websocket_on_a_stream_of_http2_is_read_alike() {
    let mut bench = connect_over_h2(Some("websocket"));
    let sent = [client(0x81, b"one"), client(0x81, b"two")].concat();
    for part in sent.chunks(4) {
        bench.writes(&h2(0, 0, 1, part));
    }
    bench.reads(&h2(0, 0, 1, &server(0x82, b"answer")));
    bench.wait_ms(10_100);
    assert_eq!(bench.received.lock().unwrap().progress.len(), 1);
    bench.writes(&h2(0, END_STREAM, 1, &client(0x88, b"\x03\xe9")));
    bench.reads(&h2(0, END_STREAM, 1, &server(0x88, b"\x03\xe9")));
    let transaction = only(&bench);
    assert_eq!(
        (transaction.outcome, transaction.upgraded_to.clone()),
        (Outcome::Upgraded, Some(Upgrade::WebSocket))
    );
    let progress = bench.received.lock().unwrap().progress[0].clone();
    assert_eq!(texts(&socket(&progress).messages), ["one", "two", "answer"]);
    assert!(
        progress.request_half.counts.body_bytes > sent.len() as u64,
        "with the frames of HTTP/2"
    );
    assert_eq!(socket(&transaction).closing[1].as_ref().unwrap().code, Some(1001));
    bench.close();
    assert_eq!(bench.final_report().upgraded_to, None);
    assert_eq!(bench.final_report().health.status, HealthStatus::Healthy);
}

/// P-C1 on a stream, see `tunnels.rs`: the request ends with its response head, its stream goes on.
#[test]
fn p_c1_a_tunnel_on_a_stream_of_http2_is_told_as_one() {
    let mut bench = connect_over_h2(None);
    let transaction = only(&bench);
    assert_eq!(
        (transaction.outcome, transaction.upgraded_to),
        (Outcome::Upgraded, Some(Upgrade::Tunnel))
    );
    bench.writes(&h2(0, END_STREAM, 1, b"\x16\x03\x01"));
    bench.reads(&h2(0, END_STREAM, 1, b"\x16\x03\x03"));
    bench.close();
    assert_eq!(only(&bench).request_half.counts.body_bytes, 0);
}

/// Frames of HTTP/2 that are lost may be of any stream: a WebSocket on one does not read on as if nothing had happened.
#[test]
fn a_websocket_on_a_stream_searches_after_lost_frames() {
    let mut bench = connect_over_h2(Some("websocket"));
    // Thirty bytes are announced, five are here: what follows the loss is no part of them.
    bench.reads(&h2(0, 0, 1, b"\x81\x1ebegun"));
    bench.loses(Direction::Ingress, 50);
    for number in 0..12_u8 {
        bench.reads(&h2(
            0,
            0,
            1,
            &server(0x81, format!("message {number}").as_bytes()),
        ));
    }
    bench.wait_ms(1000);
    bench.close();
    let transaction = only(&bench);
    let socket = socket(&transaction);
    assert_eq!(socket.traffic[1].fault, Some("bytes are missing between frames"));
    let whole = socket.messages.iter().filter(|message| message.whole);
    assert!(
        whole
            .clone()
            .all(|message| message.payload.starts_with(b"message"))
    );
    assert!(whole.count() > 0);
}
