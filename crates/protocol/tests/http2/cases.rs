//! `protocols.md` 4.3, case by case.

use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Event, Limits, Outcome, ParseError, Parser as _, Side, Time, Version};

use super::wire::*;

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or(b"<none>")).into_owned()
}

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

#[test]
fn padding_and_priority_are_stripped() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    let block = client.encode(&request("POST", "/padded"));
    let payload = [&[4][..], &[0x80, 0, 0, 0, 15], &block, &[0; 4]].concat();
    tap.client(&frame(1, END_HEADERS | PADDED | 0x20, 1, &payload));
    tap.client(&frame(2, 0, 1, &[0, 0, 0, 0, 15]));
    tap.client(&data(1, PADDED, b"\x03body\0\0\0"));
    tap.client(&data(1, PADDED | END_STREAM, b"\x02\0\0"));
    tap.server(&server.headers(1, END_STREAM, &[(":status", "200")]));
    let seen = tap.stream(1);
    assert_eq!(
        (seen.path(), seen.body_text(Side::Client)),
        ("/padded".into(), "body".into())
    );
    let (_, request, _) = seen.end.unwrap();
    assert_eq!(request.head_bytes, 9 + payload.len() as u64);
    assert_eq!(
        request.body_bytes,
        9 + 8 + 9 + 3,
        "frame headers and padding included"
    );
}

#[test]
fn connection_frames_and_unknown_ones_pass_by() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.client(
        &[
            frame(6, 0, 0, &[0; 8]),
            frame(8, 0, 0, &[0, 1, 0, 0]),
            frame(0x0b + 0x1f * 3, 0xff, 0, b"grease"),
            client.get(1, "/"),
            frame(8, 0, 1, &[0, 1, 0, 0]),
            frame(0x10, 0, 0, b"\0\0\0\x01u=1"),
        ]
        .concat(),
    );
    assert_eq!(
        tap.events.len(),
        2,
        "a request head and its end: {:?}",
        tap.events
    );
}

#[test]
fn early_response_keeps_the_request_body_apart() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &request("POST", "/upload")));
    tap.server(&server.headers(1, END_STREAM, &[(":status", "413")]));
    tap.client(&data(1, 0, b"still sending"));
    assert_eq!(tap.stream(1).outcome(), None);
    tap.server(&rst(1, 0));
    let seen = tap.stream(1);
    assert_eq!(seen.body_text(Side::Client), "still sending");
    assert_eq!(
        (seen.status(), seen.outcome()),
        (Some(413), Some(Outcome::Reset(0)))
    );
}

#[test]
fn push_promise_makes_the_request() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/page"));
    let block = server.encode(&request("GET", "/style.css"));
    tap.server(&frame(
        5,
        END_HEADERS,
        1,
        &[&2u32.to_be_bytes()[..], &block].concat(),
    ));
    tap.server(&server.headers(1, END_STREAM, &[(":status", "200")]));
    tap.server(&server.headers(2, 0, &[(":status", "200")]));
    tap.server(&data(2, END_STREAM, b"a{}"));
    let pushed = tap.stream(2);
    assert_eq!(
        (pushed.path(), pushed.body_text(Side::Server)),
        ("/style.css".into(), "a{}".into())
    );
    assert_eq!(pushed.outcome(), Some(Outcome::Complete));
}

#[test]
fn extended_connect_names_its_protocol() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.server(&settings(&[(8, 1)]));
    tap.client(&client.headers(
        1,
        0,
        &[&request("CONNECT", "/chat")[..], &[(":protocol", "websocket")]].concat(),
    ));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    tap.client(&data(1, 0, b"\x81\x80"));
    tap.server(&data(1, END_STREAM, b"\x81\x00"));
    let seen = tap.stream(1);
    assert_eq!(seen.request.protocol.as_deref(), Some(&b"websocket"[..]));
    assert_eq!(seen.path(), "/chat");
    assert_eq!(seen.body[0], b"\x81\x80");
}

#[test]
fn plain_connect_is_a_tunnel_in_its_bodies() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &[(":method", "CONNECT"), (":authority", "db:5432")]));
    tap.server(&server.headers(1, 0, &[(":status", "200")]));
    tap.client(&data(1, END_STREAM, b"to"));
    tap.server(&data(1, END_STREAM, b"fro"));
    let seen = tap.stream(1);
    assert_eq!(seen.path(), "db:5432");
    assert_eq!(
        (seen.body_text(Side::Client), seen.body_text(Side::Server)),
        ("to".into(), "fro".into())
    );
}

#[test]
fn authority_falls_back_to_host() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.client(&client.headers(
        1,
        END_STREAM,
        &[(":method", "GET"), (":path", "/"), ("host", "a.example")],
    ));
    assert_eq!(
        tap.stream(1).request.authority.as_deref(),
        Some(&b"a.example"[..])
    );
    assert_eq!(tap.stream(1).request.version, Version::Http2);
}

/// P-T1: first and last byte of each part, whenever the pieces came.
#[test]
fn times_are_those_of_first_and_last_bytes() {
    let mut parser = Parser::new(Limits::default(), Start::Preface);
    let (mut events, mut client, mut server) = (Vec::new(), Encoder::new(), Encoder::new());
    let mut feed = |side, bytes: &[u8], time| {
        parser
            .bytes(side, bytes.to_vec().into(), Time(time), &mut events)
            .unwrap();
    };
    feed(Side::Client, &[PREFACE, &settings(&[])].concat(), 1);
    feed(Side::Server, &settings(&[]), 2);
    let head = client.headers(1, 0, &request("POST", "/"));
    feed(Side::Client, &head[..4], 10);
    feed(Side::Client, &head[4..], 20);
    feed(Side::Client, &data(1, END_STREAM, b"x"), 30);
    let head = server.headers(1, 0, &[(":status", "200")]);
    feed(Side::Server, &head[..9], 40);
    feed(Side::Server, &head[9..], 50);
    let body = data(1, END_STREAM, b"xy");
    feed(Side::Server, &body[..10], 60);
    feed(Side::Server, &body[10..], 70);
    let times: Vec<(u64, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::RequestHead { started, time, .. } | Event::ResponseHead { started, time, .. } => {
                Some((started.0, time.0))
            }
            Event::HalfEnd { time, .. } | Event::End { time, .. } => Some((0, time.0)),
            _ => None,
        })
        .collect();
    assert_eq!(times, [(10, 20), (0, 30), (40, 50), (0, 70), (0, 70)]);
}

/// A reader thread may be captured before the writer whose request it answers.
#[test]
fn response_captured_before_its_request_waits_for_it() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    let request = client.get(1, "/fast");
    tap.server(
        &[
            server.headers(1, 0, &[(":status", "200")]),
            data(1, END_STREAM, b"body"),
        ]
        .concat(),
    );
    assert!(tap.events.is_empty() && tap.parser.buffered(Side::Server) > 0);
    tap.client(&request);
    let seen = tap.stream(1);
    assert_eq!(
        (seen.body_text(Side::Server), seen.outcome()),
        ("body".into(), Some(Outcome::Complete))
    );
    assert_eq!(tap.parser.buffered(Side::Server), 0);
}

#[test]
fn response_whose_request_never_comes_is_an_orphan() {
    let (mut tap, mut server) = (Tap::open(), Encoder::new());
    tap.server(&server.headers(1, END_STREAM, &[(":status", "200")]));
    tap.close();
    assert_eq!((tap.orphans(), tap.streams().len()), (1, 0));
}

/// `protocols.md` 4.5.
#[test]
fn h2c_upgrade_reports_stream_1_with_the_http_1_request() {
    let head = qtap_protocol::RequestHead {
        method: "GET".into(),
        target: "/up".into(),
        scheme: None,
        authority: Some("h".into()),
        protocol: None,
        version: Version::Http11,
        fields: Vec::new(),
        partial: false,
        truncated: false,
        framing_conflict: false,
    };
    let start = Start::UpgradedFrom {
        request: Box::new(head.clone()),
        started: Time(3),
        time: Time(4),
    };
    let (mut tap, mut client, mut server) = (Tap::new(start), Encoder::new(), Encoder::new());
    tap.server(
        &[
            settings(&[]),
            server.headers(1, END_STREAM, &[(":status", "200")]),
        ]
        .concat(),
    );
    tap.client(&[PREFACE, &settings(&[]), &client.get(3, "/next")].concat());
    tap.server(&server.headers(3, END_STREAM, &[(":status", "204")]));
    let first = tap.stream(1);
    assert_eq!((first.request, first.times[0]), (head, 3));
    assert_eq!(first.end.unwrap().0, Outcome::Complete);
    assert_eq!(
        (tap.stream(3).status(), tap.stream(3).outcome()),
        (Some(204), Some(Outcome::Complete))
    );
}

#[test]
fn http_1_answer_to_the_preface_is_not_this_protocol() {
    let mut tap = Tap::new(Start::Preface);
    tap.client(PREFACE);
    let error = tap
        .try_bytes(Side::Server, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .unwrap_err();
    assert!(matches!(
        error,
        ParseError::NotThisProtocol {
            protocol: "http2",
            ..
        }
    ));
}

/// P-L3: event streams and gRPC may rest, others may not.
#[test]
fn idle_transactions_expire_but_streaming_ones_stay() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/idle"));
    tap.client(&client.get(3, "/events"));
    tap.server(&server.headers(3, 0, &[(":status", "200"), ("content-type", "text/event-stream")]));
    let grpc = [
        &request("POST", "/s/m")[..],
        &[("content-type", "application/grpc+proto")],
    ]
    .concat();
    tap.client(&client.headers(5, 0, &grpc));
    tap.client(&client.get(7, "/young"));
    let before = Time(tap.now);
    tap.parser.expire(before, &mut tap.events);
    let outcomes = [1, 3, 5, 7].map(|id| tap.stream(id).outcome());
    assert_eq!(outcomes, [Some(Outcome::Timeout), None, None, None]);
}

#[test]
fn two_hundred_concurrent_streams_keep_their_bodies_apart() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    let ids = || (0..200u32).map(|n| 2 * n + 1);
    for id in ids() {
        tap.client(&client.headers(id, 0, &request("POST", &format!("/{id}"))));
    }
    for round in 0..3 {
        let last = if round == 2 { END_STREAM } else { 0 };
        for id in ids() {
            tap.client(&data(id, last, format!("q{id}.{round} ").as_bytes()));
        }
        for id in ids().rev() {
            if round == 0 {
                tap.server(&server.headers(id, 0, &[(":status", "200"), ("x-id", &id.to_string())]));
            }
            tap.server(&data(id, last, format!("a{id}.{round} ").as_bytes()));
        }
    }
    let all = tap.streams();
    assert_eq!(all.len(), 200);
    for seen in all {
        let id = seen.id;
        assert_eq!(seen.path(), format!("/{id}"));
        assert_eq!(
            text(seen.response.as_ref().unwrap().field("x-id")),
            id.to_string()
        );
        assert_eq!(seen.body_text(Side::Client), format!("q{id}.0 q{id}.1 q{id}.2 "));
        assert_eq!(seen.body_text(Side::Server), format!("a{id}.0 a{id}.1 a{id}.2 "));
        assert_eq!(seen.outcome(), Some(Outcome::Complete));
    }
}

#[test]
fn more_streams_than_allowed_end_the_oldest() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    tap.parser = Parser::new(limits, Start::Preface);
    tap.client(&[PREFACE, &settings(&[])].concat());
    for id in [1, 3, 5] {
        tap.client(&client.get(id, "/"));
    }
    assert_eq!(
        [1, 3, 5].map(|id| tap.stream(id).outcome()),
        [Some(Outcome::Incomplete), None, None]
    );
}

/// P-M4, `protocols.md` §15: what is kept of a list is bounded, the table is followed all the same.
#[test]
fn header_list_beyond_the_limit_is_cut_but_the_table_goes_on() {
    let (mut tap, mut client) = (Tap::open(), Encoder::new());
    let big = "x".repeat(3000);
    let mut fields = request("GET", "/big").to_vec();
    fields.extend(std::iter::repeat_n(("x-big", &big[..]), 100));
    fields.push(("x-last", "inserted"));
    tap.client(&client.headers(1, END_STREAM, &fields));
    assert!(tap.stream(1).request.truncated);
    let kept: usize = tap
        .stream(1)
        .request
        .fields
        .iter()
        .map(|field| field.name.len() + field.value.len())
        .sum();
    assert!((200_000..=256 << 10).contains(&kept), "{kept}");
    tap.client(&client.headers(
        3,
        END_STREAM,
        &[(":method", "GET"), (":path", "/"), ("x-last", "inserted")],
    ));
    assert_eq!(text(tap.stream(3).request.field("x-last")), "inserted");
    assert!(!tap.stream(3).request.partial && !tap.stream(3).request.truncated);
}
