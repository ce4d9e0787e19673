//! Calls on whole connections of HTTP/2.

use qtap_protocol::grpc::{Code, Source};
use qtap_protocol::http2::Start;
use qtap_protocol::{Event, Outcome, Side};

use crate::support::{calls, message};
use crate::wire::*;

fn call_head(path: &str) -> Vec<(&str, &str)> {
    let mut head = request("POST", path).to_vec();
    head.extend([("content-type", "application/grpc"), ("te", "trailers")]);
    head
}

const OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

/// All four kinds, interleaved on one connection, messages cut across DATA frames.
#[test]
fn interleaved_calls_have_their_own_messages_and_status() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    for (id, path) in [
        (1, "/s.S/Unary"),
        (3, "/s.S/Up"),
        (5, "/s.S/Down"),
        (7, "/s.S/Both"),
    ] {
        tap.client(&client.headers(id, 0, &call_head(path)));
    }
    tap.client(&data(1, END_STREAM, &message(0, b"one")));
    let up = [message(0, b"a"), message(0, b"bb"), message(1, b"ccc")].concat();
    for part in up.chunks(2) {
        tap.client(&data(3, 0, part));
        tap.client(&data(7, 0, part));
    }
    tap.client(&data(3, END_STREAM, b""));
    tap.client(&data(7, END_STREAM, b""));
    tap.client(&data(
        5,
        END_STREAM | PADDED,
        &[&[3][..], &message(0, b"x"), &[0; 3]].concat(),
    ));
    for (id, replies) in [(5, 4), (1, 1), (7, 2), (3, 1)] {
        tap.server(&server.headers(id, 0, &OK));
        let body = message(0, b"reply").repeat(replies);
        for part in body.chunks(7) {
            tap.server(&data(id, 0, part));
        }
        let code = id.to_string();
        tap.server(&server.headers(
            id,
            END_STREAM,
            &[("grpc-status", &*code), ("grpc-message", "m%21")],
        ));
    }
    tap.close();
    let told = calls(&tap.events);
    for (id, path, sent, received) in [
        (1, "/s.S/Unary", 1, 1),
        (3, "/s.S/Up", 3, 1),
        (5, "/s.S/Down", 1, 4),
        (7, "/s.S/Both", 3, 2),
    ] {
        let one = &told[&id];
        assert_eq!((&*one.path, one.outcome), (path, Outcome::Complete));
        let [client, server] = &one.call.messages;
        assert_eq!((client.count, server.count), (sent, received), "{path}");
        assert_eq!((client.lost, server.lost), (None, None), "{path}");
        assert_eq!(server.bytes, 5 * received);
        let status = one.status.clone().unwrap();
        assert_eq!(u64::from(status.code.0), id);
        assert_eq!(
            (status.message.as_deref(), status.source),
            (Some("m!"), Source::Trailers)
        );
    }
}

/// "trailers-only": the head carries the status and ends the stream.
#[test]
fn a_head_that_ends_the_stream_has_the_status() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &call_head("/s.S/Nothing")));
    tap.client(&data(1, END_STREAM, &message(0, b"")));
    let head = [&OK[..], &[("grpc-status", "12")]].concat();
    tap.server(&server.headers(1, END_STREAM, &head));
    let told = calls(&tap.events);
    let status = told[&1].status.clone().unwrap();
    assert_eq!((status.code, status.source), (Code(12), Source::Head));
    assert_eq!(told[&1].call.messages.clone().map(|side| side.count), [1, 0]);
}

#[test]
fn a_cancelled_call_keeps_what_passed() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &call_head("/s.S/Long")));
    tap.client(&data(1, 0, &message(0, b"a")));
    tap.server(&server.headers(1, 0, &OK));
    tap.server(&data(1, 0, &[&message(0, b"first")[..], &[0, 0]].concat()));
    tap.client(&rst(1, 8));
    let told = calls(&tap.events);
    assert_eq!(told[&1].outcome, Outcome::Reset(8));
    let status = told[&1].status.clone().unwrap();
    assert_eq!((status.code.name(), status.source), ("CANCELLED", Source::Reset));
    let [_, received] = &told[&1].call.messages;
    assert_eq!(
        (received.count, received.unfinished, received.lost),
        (1, true, None)
    );
}

/// P-G7: of a connection that is older than the agent, path and status may be unknown entries of the tables. What is known is told, the
/// messages are counted, and what is not known is not made up.
#[test]
fn p_g7_with_partial_heads_messages_are_counted_and_nothing_is_guessed() {
    let (mut client, mut server) = (Encoder::new(), Encoder::new());
    let trailers = [("grpc-status", "0"), ("grpc-message", "")];
    // Seen by nobody: it fills the tables.
    client.headers(1, 0, &call_head("/s.S/Method"));
    server.headers(1, 0, &OK);
    server.headers(1, END_STREAM, &trailers);
    let mut tap = Tap::new(Start::Midstream);
    tap.client(&client.headers(3, 0, &call_head("/s.S/Method")));
    tap.client(&data(3, END_STREAM, &message(0, b"abc")));
    tap.client(&frame(6, 0, 0, &[0; 8]));
    tap.server(&server.headers(3, 0, &OK));
    tap.server(&data(3, 0, &message(0, b"defg")));
    tap.server(&server.headers(3, END_STREAM, &trailers));
    tap.server(&frame(6, 0, 0, &[0; 8]));
    tap.close();
    // Neither head says that it is a call, and neither do the trailers; the bodies do.
    let told = calls(&tap.events);
    assert_eq!((&*told[&3].path, told[&3].outcome), ("*", Outcome::Complete));
    assert_eq!(
        told[&3].call.messages.clone().map(|side| (side.count, side.lost)),
        [(1, None); 2]
    );
    assert_eq!(told[&3].status, None);
    let partial = tap.events.iter().any(|event| {
        matches!(event, Event::Trailers { side: Side::Server, partial: true, fields, .. } if fields.is_empty())
    });
    assert!(partial, "trailers with fields unknown: {:?}", tap.events);
    // Once the server's table began anew, its fields are known, though the path still is not.
    server.resize(0);
    server.resize(4096);
    tap.client(&client.headers(5, 0, &call_head("/s.S/Method")));
    tap.client(&data(5, END_STREAM, &message(0, b"abc")));
    tap.server(&server.headers(5, 0, &OK));
    tap.server(&server.headers(5, END_STREAM, &[("grpc-status", "7")]));
    // Neither bodies that are messages on one side only, nor others, make a call.
    for (id, up, down) in [(7, message(0, b"a"), vec![]), (9, b"{}".to_vec(), b"{}".to_vec())] {
        tap.client(&client.headers(id, 0, &request("POST", "/s.S/Method")));
        tap.client(&data(id, END_STREAM, &up));
        tap.server(&server.headers(id, 0, &[(":status", "200")]));
        tap.server(&data(id, END_STREAM, &down));
    }
    tap.close();
    let told = calls(&tap.events);
    assert_eq!((&*told[&5].path, told[&5].outcome), ("*", Outcome::Complete));
    assert_eq!(told[&5].status.clone().unwrap().code.name(), "PERMISSION_DENIED");
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [3, 5]);
}

/// Frames of unknown streams are lost: what a body lacks is not known, so the count is a lower bound.
#[test]
fn lost_frames_make_the_counts_of_every_open_call_lower_bounds() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    for id in [1, 3] {
        tap.client(&client.headers(id, 0, &call_head("/s.S/Down")));
        tap.client(&data(id, END_STREAM, &message(0, b"x")));
        tap.server(&server.headers(id, 0, &OK));
        tap.server(&data(id, 0, &message(0, b"first")));
    }
    tap.server(&server.headers(3, END_STREAM, &[("grpc-status", "0")]));
    // A whole frame of stream 1, though the tap does not know.
    tap.gap(Side::Server, data(1, 0, &message(0, b"lost")).len());
    for _ in 0..4 {
        tap.server(&data(1, 0, &message(0, b"later")));
    }
    tap.server(&server.headers(1, END_STREAM, &[("grpc-status", "0")]));
    tap.close();
    let told = calls(&tap.events);
    let [_, whole] = &told[&3].call.messages;
    assert_eq!((whole.count, whole.lost), (1, None));
    let [sent, broken] = &told[&1].call.messages;
    assert_eq!((broken.count, broken.lost), (1, Some("bytes are missing")));
    assert_eq!((sent.count, sent.lost), (1, None));
}

/// The length of the padding is missing: how much of the frame was body is not known.
#[test]
fn a_hole_over_the_padding_length_makes_the_count_a_lower_bound() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.client(&client.headers(1, 0, &call_head("/s.S/Up")));
    tap.client(&data(1, 0, &message(0, &[1; 100])[..50]));
    let padded = data(
        1,
        PADDED,
        &[&[4][..], &message(0, &[1; 100])[50..], &[0; 4]].concat(),
    );
    tap.client(&padded[..9]);
    tap.gap(Side::Client, 1);
    tap.client(&padded[10..]);
    tap.client(&data(1, END_STREAM, &message(0, b"next")));
    tap.close();
    let told = calls(&tap.events);
    let [sent, _] = &told[&1].call.messages;
    assert_eq!((sent.count, sent.lost), (0, Some("bytes are missing")));
}

#[test]
fn other_requests_of_the_connection_are_no_calls() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/healthz"));
    tap.server(&server.headers(1, END_STREAM, &[(":status", "204")]));
    tap.client(&client.headers(3, END_STREAM, &call_head("/s.S/Empty")));
    tap.server(&server.headers(3, END_STREAM, &[&OK[..], &[("grpc-status", "0")]].concat()));
    let told = calls(&tap.events);
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [3]);
    assert_eq!(told[&3].call.messages[0].count, 0);
}
