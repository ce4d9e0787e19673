//! `protocols.md` 4.3, case by case.

use qtap_protocol::http2::Start;
use qtap_protocol::{Event, Outcome, Parser as _, Side};

use super::wire::*;

#[test]
fn back_reference_across_streams_in_one_direction() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    let fields = [&request("GET", "/a")[..], &[("x-token", "secret")]].concat();
    tap.client(&client.headers(1, END_STREAM, &fields));
    let again = client.headers(3, END_STREAM, &fields);
    assert!(again.len() < 9 + 7, "all fields are references");
    tap.client(&again);
    for id in [1, 3] {
        assert_eq!(text(tap.stream(id).request.field("x-token")), "secret");
        assert_eq!(tap.stream(id).path(), "/a");
        assert!(!tap.stream(id).request.partial);
    }
}

#[test]
fn tables_of_both_directions_are_independent() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    for id in [1, 3] {
        tap.client(&client.headers(
            id,
            END_STREAM,
            &[&request("GET", "/")[..], &[("x", "from client")]].concat(),
        ));
        tap.server(&server.headers(id, END_STREAM, &[(":status", "200"), ("x", "from server")]));
    }
    for id in [1, 3] {
        let seen = tap.stream(id);
        assert_eq!(text(seen.request.field("x")), "from client");
        assert_eq!(text(seen.response.as_ref().unwrap().field("x")), "from server");
        assert_eq!(seen.outcome(), Some(Outcome::Complete));
    }
}

#[test]
fn interleaved_request_and_response_heads() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/one"));
    tap.client(&client.get(3, "/three"));
    tap.server(&server.headers(3, 0, &[(":status", "404")]));
    tap.client(&client.get(5, "/five"));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    tap.server(&data(1, END_STREAM, b"1"));
    tap.server(&server.headers(5, END_STREAM, &[(":status", "204")]));
    tap.server(&data(3, END_STREAM, b"3"));
    let statuses = [1, 3, 5].map(|id| (tap.stream(id).status(), tap.stream(id).outcome()));
    let complete = Some(Outcome::Complete);
    assert_eq!(
        statuses,
        [
            (Some(200), complete),
            (Some(404), complete),
            (Some(204), complete)
        ]
    );
}

#[test]
fn ten_streams_with_the_same_path() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    for n in 0..10 {
        tap.client(&client.get(2 * n + 1, "/same"));
    }
    assert_eq!(tap.streams().len(), 10);
    assert!(
        tap.streams()
            .iter()
            .all(|seen| seen.path() == "/same" && !seen.request.partial)
    );
}

#[test]
fn three_concurrent_streams_in_one_write() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.client(&[client.get(1, "/a"), client.get(3, "/b"), client.get(5, "/c")].concat());
    assert_eq!(
        tap.streams().iter().map(Seen::path).collect::<Vec<_>>(),
        ["/a", "/b", "/c"]
    );
}

/// P-2d: what only literals and the static table say stays right; references to the dropped table are left out.
#[test]
fn bad_hpack_on_stream_3_leaves_stream_5_intact() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.client(&client.get(1, "/one"));
    tap.client(&frame(
        1,
        END_STREAM | END_HEADERS,
        3,
        &[0x82, 0x87, 0x44, 0x84, 0xff, 0xff, 0xff, 0xff],
    ));
    tap.client(&client.get(5, "/five"));
    let third = tap.stream(3);
    assert!(third.request.partial);
    assert_eq!(
        (&third.request.method[..], &third.request.target[..]),
        (&b"GET"[..], &b"*"[..])
    );
    let fifth = tap.stream(5);
    assert_eq!(
        (&fifth.request.method[..], fifth.path()),
        (&b"GET"[..], "/five".into())
    );
    assert_eq!(
        fifth.request.authority, None,
        "a reference to what was dropped is not guessed"
    );
    assert!(fifth.request.partial && tap.parser.is_hpack_unsynced());
    assert!(tap.events.iter().any(|event| matches!(
        event,
        Event::Resync {
            reason: "bad huffman string",
            ..
        }
    )));
}

/// The parser knows sides, not roles: bytes read by a server are the client's, as for the client itself.
#[test]
fn server_role_connection() {
    let (mut tap, mut client, mut server) = (Tap::new(Start::Preface), Encoder::new(), Encoder::new());
    // A server may speak first.
    tap.server(&settings(&[(3, 100)]));
    tap.client(PREFACE);
    tap.client(&settings(&[]));
    tap.client(&client.get(1, "/"));
    tap.server(
        &[
            frame(4, 1, 0, &[]),
            server.headers(1, END_STREAM, &[(":status", "200")]),
        ]
        .concat(),
    );
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Complete));
}

/// P-2e.
#[test]
fn continuation_chain() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    let long = "v".repeat(300);
    let block = client.encode(&[&request("POST", "/chain")[..], &[("x-long", &long)]].concat());
    let mut wire = frame(1, END_STREAM, 1, &block[..1]);
    for piece in block[1..].chunks(50) {
        wire.extend(frame(9, 0, 1, piece));
    }
    wire.extend(frame(9, END_HEADERS, 1, &[]));
    let length = wire.len() as u64;
    tap.client(&wire);
    let seen = tap.stream(1);
    assert_eq!(seen.path(), "/chain");
    assert_eq!(text(seen.request.field("x-long")), long);
    assert_eq!(seen.ended, [true, false]);
    tap.close();
    assert_eq!(
        tap.stream(1).end.unwrap().1.head_bytes,
        length,
        "whole frames are counted"
    );
}

/// P-2c.
#[test]
fn table_size_raised_to_64_kib_then_lowered() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.server(&settings(&[(1, 65_536)]));
    client.resize(65_536);
    let values: Vec<String> = (0..200).map(|n| format!("{n:0>200}")).collect();
    for (n, value) in values.iter().enumerate() {
        tap.client(&client.headers(
            2 * n as u32 + 1,
            END_STREAM,
            &[&request("GET", "/")[..], &[("x", value)]].concat(),
        ));
    }
    let old = client.headers(
        1001,
        END_STREAM,
        &[&request("GET", "/")[..], &[("x", &values[0])]].concat(),
    );
    assert!(old.len() < 30, "still in the large table");
    tap.client(&old);
    assert_eq!(text(tap.stream(1001).request.field("x")), values[0]);

    tap.server(&settings(&[(1, 0)]));
    client.resize(0);
    tap.client(&client.get(1003, "/lowered"));
    client.resize(4096);
    tap.client(&client.get(1005, "/again"));
    tap.client(&client.get(1007, "/again"));
    assert_eq!(
        [1003, 1005, 1007].map(|id| tap.stream(id).path()),
        ["/lowered", "/again", "/again"]
    );
    assert!(!tap.parser.is_hpack_unsynced());
}

/// P-2b: nothing of a large frame is held.
#[test]
fn data_of_a_1_mib_frame_is_streamed() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&settings(&[(5, 1 << 20)]));
    tap.client(&client.get(1, "/big"));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    let wire = data(1, END_STREAM, &body);
    for (n, piece) in wire.chunks(10_000).enumerate() {
        tap.server(piece);
        assert_eq!(tap.parser.buffered(Side::Server), 0);
        let passed = ((n + 1) * 10_000).min(wire.len());
        assert_eq!(tap.parser.skippable(Side::Server), (wire.len() - passed) as u64);
    }
    let seen = tap.stream(1);
    assert!(seen.body[1] == body);
    assert_eq!(seen.end.unwrap().2.body_bytes, wire.len() as u64);
}

/// P-2g.
#[test]
fn interim_103_then_200() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/"));
    tap.server(&server.headers(1, 0, &[(":status", "100")]));
    tap.server(&server.headers(1, 0, &[(":status", "103"), ("link", "</a.css>")]));
    tap.server(&server.headers(1, END_STREAM, &[(":status", "200")]));
    let seen = tap.stream(1);
    assert_eq!(
        (seen.interim, seen.response.unwrap().status),
        (vec![100, 103], 200)
    );
}

#[test]
fn trailers_of_both_directions() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &request("POST", "/")));
    tap.client(&data(1, 0, b"request"));
    tap.client(&client.headers(1, END_STREAM, &[("checksum", "abc")]));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    tap.server(&data(1, 0, b"response"));
    tap.server(&server.headers(1, END_STREAM, &[("grpc-status", "0"), ("grpc-message", "")]));
    let seen = tap.stream(1);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(seen.trailers[0], [pair("checksum", "abc")]);
    assert_eq!(
        seen.trailers[1],
        [pair("grpc-status", "0"), pair("grpc-message", "")]
    );
    assert_eq!(
        (seen.body_text(Side::Client), seen.body_text(Side::Server)),
        ("request".into(), "response".into())
    );
    assert_eq!(seen.outcome(), Some(Outcome::Complete));
}

#[test]
fn head_with_content_length_has_no_body() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, END_STREAM, &request("HEAD", "/")));
    tap.server(&server.headers(1, END_STREAM, &[(":status", "200"), ("content-length", "1000")]));
    let seen = tap.stream(1);
    assert_eq!((seen.outcome(), seen.body[1].len()), (Some(Outcome::Complete), 0));
}

#[test]
fn rst_after_head() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/"));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    tap.client(&rst(1, 8));
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Reset(8)));
    // What the server sent before it learned of the reset belongs to nothing.
    tap.server(&data(1, END_STREAM, b"late"));
    tap.server(&server.headers(1, END_STREAM, &[("late", "trailer")]));
    assert_eq!((tap.streams().len(), tap.orphans()), (1, 0));
}

#[test]
fn goaway_with_three_open_streams() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&[client.get(1, "/1"), client.get(3, "/3"), client.get(5, "/5")].concat());
    tap.server(&goaway(0x7fff_ffff));
    tap.server(&goaway(3));
    // Sent before the client heard of it.
    tap.client(&client.get(7, "/7"));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "200")]));
    tap.close();
    let outcomes = [1, 3, 5, 7].map(|id| tap.stream(id).outcome().unwrap());
    assert_eq!(
        outcomes,
        [
            Outcome::Canceled,
            Outcome::Complete,
            Outcome::Refused,
            Outcome::Refused
        ]
    );
}

/// P-2f.
#[test]
fn bidi_stream_with_interleaved_data() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &request("POST", "/bidi")));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    for n in 0..5 {
        tap.client(&data(1, 0, format!("q{n} ").as_bytes()));
        tap.server(&data(1, 0, format!("a{n} ").as_bytes()));
    }
    tap.server(&data(1, END_STREAM, b"bye"));
    assert_eq!(tap.stream(1).outcome(), None, "the client's half goes on");
    tap.client(&data(1, END_STREAM, b"too"));
    let seen = tap.stream(1);
    assert_eq!(seen.body_text(Side::Client), "q0 q1 q2 q3 q4 too");
    assert_eq!(seen.body_text(Side::Server), "a0 a1 a2 a3 a4 bye");
    assert_eq!(seen.outcome(), Some(Outcome::Complete));
}

/// P-2a.
#[test]
fn preface_cut_at_every_byte() {
    let mut client = Encoder::new();
    let wire = [PREFACE, &settings(&[]), &client.get(1, "/cut")].concat();
    for start in [Start::Preface, Start::Midstream] {
        for cut in 1..wire.len() {
            let mut tap = Tap::new(start.clone());
            tap.client(&wire[..cut]);
            tap.client(&wire[cut..]);
            assert_eq!(tap.stream(1).path(), "/cut", "cut at {cut}");
            assert!(!tap.stream(1).request.partial);
        }
    }
}
