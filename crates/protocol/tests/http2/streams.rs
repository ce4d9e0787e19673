//! Streams beyond the cases of 4.3: what opens them, what they turn into, their times.

use qtap_protocol::http2::{Parser, Start};
use qtap_protocol::{Event, Limits, Outcome, ParseError, Parser as _, Side, Time, Version};

use super::wire::*;

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
        (Some(413), Some(Outcome::Complete))
    );
    assert_eq!(seen.ended, [false, true], "the request was cut");
}

/// A request with a body of `declared` bytes of which `sent` come, an answer that is whole if `whole`, and a reset.
fn reset_after(declared: &str, sent: &[u8], whole: bool, side: Side, code: u32) -> Seen {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    let head = [&request("POST", "/upload")[..], &[("content-length", declared)]].concat();
    tap.client(&client.headers(1, 0, &head));
    tap.client(&data(1, 0, sent));
    let flags = if whole { END_STREAM } else { 0 };
    tap.server(&server.headers(1, flags, &[(":status", "200")]));
    tap.try_bytes(side, &rst(1, code)).unwrap();
    // What was on its way when the reset came changes nothing.
    tap.client(&data(1, END_STREAM, b""));
    tap.close();
    tap.stream(1)
}

/// RFC 9113 §8.1: "a server MAY request that the client abort transmission of a request without error by sending a RST_STREAM with an error
/// code of NO_ERROR after sending a complete response". Apache sends it before it has read an END_STREAM that comes alone.
#[test]
fn a_whole_response_before_no_error_is_complete() {
    let whole = reset_after("4", b"body", true, Side::Server, 0);
    assert_eq!(
        (whole.outcome(), whole.ended),
        (Some(Outcome::Complete), [true, true])
    );
    for (declared, sent) in [("5", &b"body"[..]), ("3", b"body"), ("x", b"body")] {
        let cut = reset_after(declared, sent, true, Side::Server, 0);
        assert_eq!(
            (cut.outcome(), cut.ended),
            (Some(Outcome::Complete), [false, true])
        );
        assert_eq!(cut.body_text(Side::Client), "body");
    }
}

#[test]
fn any_other_reset_is_one() {
    for (declared, whole, side, code) in [
        ("4", false, Side::Server, 0),
        ("4", true, Side::Server, 8),
        ("4", false, Side::Client, 8),
        ("4", true, Side::Client, 2),
        ("5", true, Side::Client, 0),
        ("5", true, Side::Client, 5),
    ] {
        let seen = reset_after(declared, b"body", whole, side, code);
        assert_eq!(seen.outcome(), Some(Outcome::Reset(code)));
    }
}

/// libcurl is done with a stream when it has a response by its length, though the END_STREAM comes alone, and resets it.
#[test]
fn a_client_that_has_everything_may_reset() {
    for (body, code, outcome) in [
        (&b"body"[..], 5, Outcome::Complete),
        (b"body", 8, Outcome::Complete),
        (b"bod", 5, Outcome::Reset(5)),
        (b"body", 1, Outcome::Reset(1)),
    ] {
        let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
        tap.client(&client.get(1, "/"));
        tap.server(&server.headers(1, 0, &[(":status", "200"), ("content-length", "4")]));
        tap.server(&data(1, 0, body));
        tap.client(&rst(1, code));
        tap.server(&data(1, END_STREAM, b""));
        let seen = tap.stream(1);
        assert_eq!(seen.outcome(), Some(outcome));
        assert_eq!(seen.ended, [true, outcome == Outcome::Complete]);
    }
}

/// A program that counts the bytes of a response may leave its end unread: libcurl does, when the END_STREAM comes alone.
#[test]
fn messages_of_declared_length_are_whole_at_close() {
    let ends = |fields: &[(&str, &str)], body: &[u8], lost: usize| {
        let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
        tap.client(&client.get(1, "/"));
        tap.server(&server.headers(1, 0, &[&[(":status", "200")], fields].concat()));
        tap.server(&data(1, 0, body));
        let last = tap.now;
        if lost > 0 {
            tap.gap(Side::Server, lost);
        }
        tap.close();
        let seen = tap.stream(1);
        let is_whole = seen.outcome() == Some(Outcome::Complete);
        assert_eq!(seen.ended, [true, is_whole]);
        assert!(
            !is_whole || seen.times.last() == Some(&last),
            "it ended with its last byte"
        );
        seen.outcome()
    };
    let four = ("content-length", "4");
    assert_eq!(ends(&[four], b"body", 0), Some(Outcome::Complete));
    assert_eq!(ends(&[four], b"bod", 0), Some(Outcome::Canceled));
    assert_eq!(ends(&[], b"body", 0), Some(Outcome::Canceled));
    assert_eq!(
        ends(&[four, ("trailer", "x-end")], b"body", 0),
        Some(Outcome::Canceled)
    );
    assert_eq!(
        ends(&[four, ("content-length", "5")], b"body", 0),
        Some(Outcome::Canceled)
    );
    assert_eq!(ends(&[four], b"body", 100), Some(Outcome::Incomplete));
    let call = ("content-type", "application/grpc");
    assert_eq!(ends(&[four, call], b"body", 0), Some(Outcome::Canceled));
}

/// The same where a connection rests: no byte is outstanding, so nothing has timed out.
#[test]
fn messages_of_declared_length_are_whole_when_nothing_more_comes() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/"));
    tap.server(&server.headers(1, 0, &[(":status", "200"), ("content-length", "4")]));
    tap.server(&data(1, 0, b"body"));
    tap.client(&client.get(3, "/"));
    tap.server(&server.headers(3, 0, &[(":status", "200"), ("content-length", "4")]));
    tap.server(&data(3, 0, b"bo"));
    let mut events = Vec::new();
    tap.parser.expire(Time(tap.now + 1), &mut events);
    tap.events.append(&mut events);
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Complete));
    assert_eq!(tap.stream(3).outcome(), Some(Outcome::Timeout));
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
