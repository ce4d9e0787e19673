//! Every row of §3.1 and every case of §3.3, one transaction or one connection each.

use bytes::Bytes;
use qtap_protocol::{Event, Limits, Parser as _, Side, Time, http1};

use crate::support::Talk;

const OK_EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn request_head(talk: &Talk) -> Box<qtap_protocol::RequestHead> {
    talk.find(|event| match event {
        Event::RequestHead { head, .. } => Some(head.clone()),
        _ => None,
    })
}

fn response_head(talk: &Talk) -> Box<qtap_protocol::ResponseHead> {
    talk.find(|event| match event {
        Event::ResponseHead { head, .. } => Some(head.clone()),
        _ => None,
    })
}

/// A GET answered by `wire` and then closed.
fn answered(wire: &str) -> Talk {
    Talk::new()
        .client("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .server(wire)
}

#[test]
fn targets_are_kept_raw_and_their_parts_named() {
    for (line, scheme, authority) in [
        ("GET /a?b HTTP/1.1", None, Some("h")),
        ("GET http://o:8/a HTTP/1.1", Some("http"), Some("o:8")),
        ("GET https://o?x HTTP/1.1", Some("https"), Some("o")),
        ("CONNECT o:443 HTTP/1.1", None, Some("o:443")),
        ("OPTIONS * HTTP/1.1", None, Some("h")),
        ("GET /?u=http://x/ HTTP/1.1", None, Some("h")),
    ] {
        let talk = Talk::new().client(format!("{line}\r\nHost: h\r\n\r\n"));
        let head = request_head(&talk);
        let text = |part: &Option<bytes::Bytes>| {
            part.as_ref()
                .map(|part| String::from_utf8(part.to_vec()).unwrap())
        };
        assert_eq!(text(&head.scheme).as_deref(), scheme, "{line}");
        assert_eq!(text(&head.authority).as_deref(), authority, "{line}");
        assert_eq!(head.target, line.split(' ').nth(1).unwrap(), "{line}");
    }
}

#[test]
fn any_token_is_a_method_and_its_case_is_kept() {
    for method in ["get", "TRACE", "PROPFIND", "M-SEARCH", "BREW", "x"] {
        let talk = Talk::new()
            .client(format!("{method} / HTTP/1.1\r\n\r\n"))
            .server(OK_EMPTY);
        talk.says(&[
            &format!("1 {method} /"),
            "1c end",
            "1 200",
            "1s end",
            "1 Complete",
        ]);
    }
}

#[test]
fn a_missing_host_is_accepted() {
    assert_eq!(
        request_head(&Talk::new().client("GET / HTTP/1.1\r\n\r\n")).authority,
        None
    );
}

#[test]
fn a_body_of_known_length_is_exact_and_the_surplus_is_the_next_message() {
    let body = "x".repeat(27);
    answered(&format!("HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{body}")).says(&[
        "1 GET /",
        "1c end",
        "1 200",
        &format!("1s body {body}"),
        "1s end",
        "1 Complete",
    ]);
    Talk::new()
        .client("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\n\r\n")
        .says(&["1 POST /", "1c body hello", "1c end", "2 GET /2", "2c end"]);
}

#[test]
fn an_empty_reason_is_accepted() {
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 "] {
        let talk = answered(&format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        assert!(response_head(&talk).reason.is_empty());
    }
}

#[test]
fn chunked_wins_over_length_and_both_fields_stay() {
    let talk = answered(
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    .says(&[
        "1 GET /",
        "1c end",
        "1 200",
        "1s body abc",
        "1s end",
        "1 Complete",
    ]);
    let head = response_head(&talk);
    assert!(head.framing_conflict && head.fields.len() == 2);
}

#[test]
fn the_first_of_two_lengths_is_used_and_a_difference_told() {
    let talk = Talk::new().client("POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab");
    assert!(request_head(&talk).framing_conflict);
    talk.says(&["1 POST /", "1c body ab", "1c end"]);
    let same = Talk::new().client("POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab");
    assert!(!request_head(&same).framing_conflict);
}

#[test]
fn p_h2_chunks_extensions_and_trailers() {
    answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;e=1\r\na\r\nb\r\n2 \r\ncd\r\n0\r\nSum: 7\r\nEnd : x\r\n\r\n")
        .says(&["1 GET /", "1c end", "1 200", "1s body a\r\nbcd", "1s trailers Sum=7,End=x", "1s end", "1 Complete"]);
    Talk::new()
        .client("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        .says(&["1 PUT /", "1c body a", "1c trailers T=1", "1c end", "2 GET /2", "2c end"]);
}

#[test]
fn bare_line_feeds_and_leading_blank_lines() {
    Talk::new()
        .client("\r\n\n\r\nGET / HTTP/1.1\nHost: a\n\nGET /2 HTTP/1.1\n\n")
        .server("\nHTTP/1.1 200 OK\nContent-Length: 1\n\nxHTTP/1.1 204 No\n\n")
        .says(&[
            "1 GET /",
            "1c end",
            "2 GET /2",
            "2c end",
            "1 200",
            "1s body x",
            "1s end",
            "1 Complete",
            "2 204",
            "2s end",
            "2 Complete",
        ]);
}

#[test]
fn folding_blanks_before_the_colon_and_bare_cr() {
    let head =
        request_head(&Talk::new().client("GET / HTTP/1.1\r\nA : 1\r\n\t2\r\nB: x\ry\r\nnonsense\r\n\r\n"));
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| (&field.name[..], &field.value[..]))
        .collect();
    let expected: [(&[u8], &[u8]); 2] = [(b"A", b"1 2"), (b"B", b"x\ry")];
    assert_eq!(fields, expected);
    assert!(head.partial, "a line that is no field was left out");
}

#[test]
fn responses_without_body() {
    Talk::new()
        .client("HEAD / HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n")
        .server("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        .server("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n")
        .server("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
        .says(&[
            "1 HEAD /",
            "1c end",
            "2 GET /2",
            "2c end",
            "3 GET /3",
            "3c end",
            "1 200",
            "1s end",
            "1 Complete",
            "2 304",
            "2s end",
            "2 Complete",
            "3 204",
            "3s end",
            "3 Complete",
        ]);
}

#[test]
fn p_h1_response_without_length_runs_to_close() {
    for head in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let expected = [
            "1 GET /",
            "1c end",
            "1 200",
            "1s body abcd",
            "1s end",
            "1 Complete",
        ];
        answered(head)
            .server("ab")
            .server("cd")
            .eof(Side::Server)
            .says(&expected)
            .close()
            .says(&expected);
        answered(head).server("ab").server("cd").close().says(&expected);
    }
}

#[test]
fn p_h3_pipelined_requests_are_answered_in_order() {
    let talk = Talk::new().client(
        (1..=100)
            .map(|n| format!("GET /{n} HTTP/1.1\r\n\r\n"))
            .collect::<String>(),
    );
    let talk = talk.server(
        (1..=100)
            .map(|n| format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{n:03}"))
            .collect::<String>(),
    );
    let said = talk.said();
    for n in 1..=100 {
        assert!(said.contains(&format!("{n} GET /{n}")) && said.contains(&format!("{n}s body {n:03}")));
        assert!(said.contains(&format!("{n} Complete")));
    }
}

#[test]
fn p_h4_a_thousand_requests_on_one_connection() {
    let mut talk = Talk::new();
    for n in 1..=1000 {
        talk = talk.client(format!("GET /{n} HTTP/1.1\r\n\r\n"));
        talk = talk.server(format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{n:04}"));
    }
    let said = talk.said();
    assert_eq!(said.len(), 6000);
    for n in 1..=1000 {
        let expected = [
            format!("{n} GET /{n}"),
            format!("{n}c end"),
            format!("{n} 200"),
            format!("{n}s body {n:04}"),
            format!("{n}s end"),
            format!("{n} Complete"),
        ];
        assert_eq!(said[(n - 1) * 6..n * 6], expected);
    }
}

#[test]
fn p_h5_expect_never_gates_and_p_h6_interim_responses_are_listed() {
    let post = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    Talk::new()
        .client(post)
        .server("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        .client("ab")
        .server(OK_EMPTY)
        .says(&[
            "1 POST /",
            "1 interim 100",
            "1 interim 103",
            "1c body ab",
            "1c end",
            "1 200",
            "1s end",
            "1 Complete",
        ]);
    Talk::new().client(post).client("ab").server(OK_EMPTY).says(&[
        "1 POST /",
        "1c body ab",
        "1c end",
        "1 200",
        "1s end",
        "1 Complete",
    ]);
}

#[test]
fn an_interim_response_alone_is_canceled_at_close() {
    answered("HTTP/1.1 100 Continue\r\n\r\n").close().says(&[
        "1 GET /",
        "1c end",
        "1 interim 100",
        "1 Canceled",
    ]);
}

#[test]
fn an_early_response_leaves_the_request_its_own_end() {
    Talk::new()
        .client("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
        .server("HTTP/1.1 413 Too Large\r\nContent-Length: 1\r\n\r\nx")
        .client("cdGET /2 HTTP/1.1\r\n\r\n")
        .server(OK_EMPTY)
        .says(&[
            "1 POST /",
            "1c body ab",
            "1 413",
            "1s body x",
            "1s end",
            "1c body cd",
            "1c end",
            "1 Complete",
            "2 GET /2",
            "2c end",
            "2 200",
            "2s end",
            "2 Complete",
        ]);
}

#[test]
fn p_h7_a_cut_connection_is_canceled() {
    answered("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        .close()
        .says(&["1 GET /", "1c end", "1 200", "1s body ab", "1 Canceled"]);
}

#[test]
fn a_head_cut_by_close_is_told_once() {
    Talk::new()
        .client("GET / HTTP/1.1\r\nHos")
        .close()
        .close()
        .says(&["c resync 19 head cut by the end of the stream"]);
    answered("HTTP/1.1 200").close().says(&[
        "1 GET /",
        "1c end",
        "s resync 12 head cut by the end of the stream",
        "1 Canceled",
    ]);
}

#[test]
fn a_transaction_opens_only_once_a_head_was_read() {
    Talk::new().client("GET / HT").says(&[]);
}

#[test]
fn a_bad_request_line_is_passed_over() {
    Talk::new().client("NONSENSE\r\nGET / HTTP/1.1\r\n\r\n").says(&[
        "c resync 10 bad request line",
        "1 GET /",
        "1c end",
        "1 Incomplete",
    ]);
}

#[test]
fn a_response_ahead_of_its_request_waits_for_it() {
    Talk::new()
        .server("HTTP/1.1 204 No\r\n\r\n")
        .says(&[])
        .client("GET / HTTP/1.1\r\n\r\n")
        .says(&["1 GET /", "1c end", "1 204", "1s end", "1 Complete"]);
    Talk::new().server(OK_EMPTY).close().says(&["orphan 38"]);
}

#[test]
fn heads_beyond_the_limits_are_cut_and_framing_stays_right() {
    let many: String = (0..300).map(|n| format!("F{n}: {n}\r\n")).collect();
    let big: String = (0..2000)
        .map(|n| format!("F{n}: {}\r\n", "v".repeat(60)))
        .collect();
    for fields in [&many, &big] {
        let talk = Talk::new().client(format!(
            "POST /1 HTTP/1.1\r\n{fields}Content-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\n"
        ));
        assert_eq!(
            talk.said(),
            ["1 POST /1", "1c body ab", "1c end", "2 GET /2", "2c end"]
        );
        let Event::RequestHead { head, .. } = &talk.events[0] else {
            panic!("a head")
        };
        assert!(head.truncated && head.fields.len() == 256);
    }
}

#[test]
fn a_target_beyond_the_limit_is_cut_and_framing_stays_right() {
    let long = "x".repeat(100_000);
    let talk = Talk::new().client(format!(
        "PUT /{long} HTTP/1.1\r\nContent-Length: 1\r\n\r\naGET /2 HTTP/1.1\r\n\r\n"
    ));
    let Event::RequestHead { head, .. } = &talk.events[0] else {
        panic!("a head")
    };
    assert!(head.truncated && head.target.len() > 65_000 && head.target.len() < 66_000);
    assert_eq!(talk.said()[1..], ["1c body a", "1c end", "2 GET /2", "2c end"]);
}

#[test]
fn p_t1_times_and_p_t4_counts_are_exact() {
    let (post, rest) = ("\r\nPOST / HTTP/1.1\r\n", "Transfer-Encoding: chunked\r\n\r\n");
    let (chunks, trailers) = ("2\r\nab\r\n0\r\n", "T: 1\r\n\r\n");
    let (interim, reply) = (
        "HTTP/1.1 100 C\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    );
    let talk = Talk::new()
        .client(post)
        .client(rest)
        .server(interim)
        .client(chunks)
        .client(trailers)
        .server(&reply[..20])
        .server(&reply[20..])
        .server("abc");
    let (started, time) = talk.find(|event| match event {
        Event::RequestHead { started, time, .. } => Some((started.0, time.0)),
        _ => None,
    });
    assert_eq!((started, time), (1, 2));
    let (started, time) = talk.find(|event| match event {
        Event::ResponseHead { started, time, .. } => Some((started.0, time.0)),
        _ => None,
    });
    assert_eq!((started, time), (6, 7));
    let (request, response, end) = talk.find(|event| match event {
        Event::End {
            request,
            response,
            time,
            ..
        } => Some((*request, *response, time.0)),
        _ => None,
    });
    assert_eq!(end, 8);
    assert_eq!(
        request.head_bytes as usize,
        post.len() + rest.len() + trailers.len()
    );
    assert_eq!(request.body_bytes as usize, chunks.len());
    assert_eq!(response.head_bytes as usize, interim.len() + reply.len());
    assert_eq!((response.body_bytes, response.gap_bytes), (3, 0));
}

#[test]
fn body_pieces_share_memory_with_the_input() {
    use qtap_protocol::{Parser, Time};
    let mut talk = Talk::new();
    let data = bytes::Bytes::from(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello".to_vec());
    let at = data.as_ptr() as usize + data.len() - 5;
    talk.parser
        .bytes(Side::Client, data, Time(1), &mut talk.events)
        .unwrap();
    let body = talk.find(|event| match event {
        Event::Body { data, .. } => Some(data.as_ptr() as usize),
        _ => None,
    });
    assert_eq!(body, at);
}

#[test]
fn skippable_is_what_is_left_of_a_body() {
    use qtap_protocol::Parser;
    let talk = answered("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
    assert_eq!(
        (
            talk.parser.skippable(Side::Server),
            talk.parser.skippable(Side::Client)
        ),
        (97, 0)
    );
    let talk = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc");
    assert_eq!(talk.parser.skippable(Side::Server), 252);
    assert_eq!(talk.parser.buffered(Side::Server), 0);
    assert_eq!(answered("HTTP/1.1 20").parser.buffered(Side::Server), 11);
}

#[test]
fn p_s1_event_streams_do_not_expire() {
    use qtap_protocol::{Parser, Time};
    for (kind, expected) in [("text/event-stream", 0), ("text/plain", 1)] {
        let mut talk = answered(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\ndata: 1\n\n"
        ));
        talk.events.clear();
        talk.parser.expire(Time(1000), &mut talk.events);
        assert_eq!(talk.events.len(), expected, "{kind}");
    }
}

#[test]
fn a_late_answer_to_an_expired_request_is_not_taken_for_the_next() {
    use qtap_protocol::{Parser, Time};
    let mut talk = Talk::new().client("GET /1 HTTP/1.1\r\n\r\n");
    talk.parser.expire(Time(1000), &mut talk.events);
    talk.client("GET /2 HTTP/1.1\r\n\r\n")
        .server(OK_EMPTY)
        .server("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        .says(&[
            "1 GET /1",
            "1c end",
            "1 Timeout",
            "2 GET /2",
            "2c end",
            "orphan 38",
            "2 404",
            "2s end",
            "2 Complete",
        ]);
}

/// What a connection sends lies in large buffers that are used again once nobody holds a part of them.
#[test]
fn heads_and_trailers_do_not_pin_what_they_came_in() {
    let mut parser = http1::Parser::new(Limits::default(), false);
    let mut events = Vec::new();
    for (side, wire) in [
        (Side::Client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            Side::Server,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n",
        ),
    ] {
        let piece = Bytes::copy_from_slice(wire.as_bytes());
        parser.bytes(side, piece.clone(), Time(1), &mut events).unwrap();
        assert!(piece.is_unique(), "{side:?}");
    }
    let kinds: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::RequestHead { .. } => "request",
            Event::ResponseHead { .. } => "response",
            Event::Trailers { .. } => "trailers",
            _ => "",
        })
        .filter(|kind| !kind.is_empty())
        .collect();
    assert_eq!(kinds, ["request", "response", "trailers"]);
}
