//! Missing bytes (P-L2), stalls (P-L3) and attaching in the middle (P-D3, §3.2).

use qtap_protocol::{Event, ParseError, Parser, Side, Time};

use crate::support::Talk;

const OK_EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn get(n: u32) -> String {
    format!("GET /{n} HTTP/1.1\r\n\r\n")
}

fn reply(n: u32) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{n:02}")
}

#[test]
fn p_l2_a_gap_in_a_body_of_known_length_is_passed_and_counted() {
    let talk = Talk::new()
        .client("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab")
        .gap(Side::Client, 8)
        .client(get(2))
        .server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        .gap(Side::Server, 5)
        .server("xyz")
        .server(OK_EMPTY)
        .says(&[
            "1 POST /",
            "1c body ab",
            "1c gap 8",
            "1c end",
            "2 GET /2",
            "2c end",
            "1 200",
            "1s body ab",
            "1s gap 5",
            "1s body xyz",
            "1s end",
            "1 Complete",
            "2 200",
            "2s end",
            "2 Complete",
        ]);
    let gaps: Vec<_> = talk
        .events
        .iter()
        .filter_map(|event| match event {
            Event::End {
                request, response, ..
            } => Some((request.body_bytes, request.gap_bytes, response.gap_bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [(10, 8, 5), (0, 0, 0)]);
}

#[test]
fn p_l2_a_gap_in_chunk_data_is_passed() {
    Talk::new()
        .client(get(1))
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab")
        .gap(Side::Server, 6)
        .server("\r\n1\r\nx\r\n0\r\n\r\n")
        .says(&[
            "1 GET /1",
            "1c end",
            "1 200",
            "1s body ab",
            "1s gap 6",
            "1s body x",
            "1s end",
            "1 Complete",
        ]);
}

#[test]
fn p_l2_a_gap_in_chunk_framing_ends_the_transaction_and_the_next_is_found() {
    Talk::new()
        .client(get(1))
        .server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab")
        .gap(Side::Server, 7)
        .server("junk")
        .client(get(2))
        .server(reply(2))
        .says(&[
            "1 GET /1",
            "1c end",
            "1 200",
            "1s body ab",
            "1 Incomplete",
            "2 GET /2",
            "2c end",
            "s resync 4 gap in chunk framing",
            "2 200",
            "2s body 02",
            "2s end",
            "2 Complete",
        ]);
}

#[test]
fn p_l2_a_gap_in_a_response_head_ends_that_transaction_only() {
    Talk::new()
        .client(get(1))
        .server("HTTP/1.1 200 O")
        .gap(Side::Server, 10)
        .server("th: 5\r\n\r\nhello")
        .client(get(2))
        .server(reply(2))
        .says(&[
            "1 GET /1",
            "1c end",
            "1 Incomplete",
            "2 GET /2",
            "2c end",
            "s resync 28 gap in head",
            "2 200",
            "2s body 02",
            "2s end",
            "2 Complete",
        ]);
}

#[test]
fn a_lost_request_leaves_the_next_ones_unpaired_until_the_client_is_seen_to_wait() {
    let talk = Talk::new().client(get(1)).server(reply(1)).gap(Side::Client, 18);
    let talk = talk
        .server(reply(2))
        .client(get(3))
        .server(reply(3))
        .client(get(4))
        .server(reply(4));
    talk.says(&[
        "1 GET /1",
        "1c end",
        "1 200",
        "1s body 01",
        "1s end",
        "1 Complete",
        "orphan 38",
        "c resync 0 gap in head",
        "2 GET /3",
        "2c end",
        "2 Incomplete",
        "orphan 38",
        "3 GET /4",
        "3c end",
        "3 200",
        "3s body 04",
        "3s end",
        "3 Complete",
    ]);
}

#[test]
fn pipelined_requests_around_a_lost_one_keep_what_is_certain() {
    Talk::new()
        .client(get(1))
        .gap(Side::Client, 18)
        .client(get(3))
        .server(reply(1))
        .server(reply(2))
        .server(reply(3))
        .says(&[
            "1 GET /1",
            "1c end",
            "c resync 0 gap in head",
            "2 GET /3",
            "2c end",
            "2 Incomplete",
            "1 200",
            "1s body 01",
            "1s end",
            "1 Complete",
            "orphan 38",
            "orphan 38",
        ]);
}

#[test]
fn a_lost_interim_response_leaves_the_final_one_certain() {
    Talk::new()
        .client(get(1))
        .gap(Side::Server, 25)
        .server(reply(1))
        .says(&[
            "1 GET /1",
            "1c end",
            "s resync 0 gap in head",
            "1 200",
            "1s body 01",
            "1s end",
            "1 Complete",
        ]);
}

/// Lost: the rest of the first request, its response, and the second request, of which TLS does not tell before the third.
#[test]
fn a_hole_in_a_body_may_hide_the_next_request() {
    let talk = Talk::new()
        .client("POST /1 HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        .gap(Side::Client, 1)
        .gap(Side::Server, 1)
        .server(reply(2))
        .gap(Side::Client, 150)
        .client(get(3))
        .server(reply(3));
    let said = talk.said();
    assert!(said.contains(&"1 Incomplete".to_owned()), "{said:?}");
    assert!(
        !said.contains(&"1 200".to_owned()),
        "that answers the second: {said:?}"
    );
}

#[test]
fn a_lost_response_is_told_by_the_next_request_of_a_client_that_waits() {
    Talk::new()
        .client(get(1))
        .gap(Side::Server, 40)
        .client(get(2))
        .server(reply(2))
        .says(&[
            "1 GET /1",
            "1c end",
            "1 Incomplete",
            "2 GET /2",
            "2c end",
            "s resync 0 gap in head",
            "2 200",
            "2s body 02",
            "2s end",
            "2 Complete",
        ]);
    Talk::new().client(get(1)).gap(Side::Server, 40).close().says(&[
        "1 GET /1",
        "1c end",
        "s resync 0 gap in head",
        "1 Incomplete",
    ]);
}

#[test]
fn a_damaged_response_of_two_leaves_the_other_certain() {
    let talk = Talk::new()
        .client(get(1) + &get(2))
        .server("HTTP/1.1 200 OK\r\nCon")
        .gap(Side::Server, 20);
    talk.server(reply(2)).says(&[
        "1 GET /1",
        "1c end",
        "2 GET /2",
        "2c end",
        "1 Incomplete",
        "s resync 20 gap in head",
        "2 200",
        "2s body 02",
        "2s end",
        "2 Complete",
    ]);
}

#[test]
fn a_hole_before_several_responses_leaves_none_certain() {
    let talk = Talk::new()
        .client(get(1) + &get(2))
        .gap(Side::Server, 40)
        .server(reply(2));
    talk.client(get(3))
        .server(reply(3))
        .client(get(4))
        .server(reply(4))
        .says(&[
            "1 GET /1",
            "1c end",
            "2 GET /2",
            "2c end",
            "s resync 0 gap in head",
            "1 Incomplete",
            "2 Incomplete",
            "orphan 38",
            "3 GET /3",
            "3c end",
            "3 Incomplete",
            "orphan 38",
            "4 GET /4",
            "4c end",
            "4 200",
            "4s body 04",
            "4s end",
            "4 Complete",
        ]);
}

#[test]
fn a_damaged_response_of_three_leaves_none_certain_until_all_are_answered() {
    let talk = Talk::new()
        .client(get(1) + &get(2) + &get(3))
        .server("HTTP/1.1 200 OK\r\nCon")
        .gap(Side::Server, 20);
    talk.server(reply(2))
        .server(reply(3))
        .client(get(4))
        .server(reply(4))
        .says(&[
            "1 GET /1",
            "1c end",
            "2 GET /2",
            "2c end",
            "3 GET /3",
            "3c end",
            "1 Incomplete",
            "s resync 20 gap in head",
            "2 Incomplete",
            "3 Incomplete",
            "orphan 38",
            "orphan 38",
            "4 GET /4",
            "4c end",
            "4 200",
            "4s body 04",
            "4s end",
            "4 Complete",
        ]);
}

#[test]
fn p_d3_joined_in_the_middle_from_the_next_request_on() {
    Talk::midstream()
        .server("rest of a body")
        .client(get(1))
        .server(reply(1))
        .says(&[
            "1 GET /1",
            "1c end",
            "s resync 14 joined in the middle",
            "1 200",
            "1s body 01",
            "1s end",
            "1 Complete",
        ]);
    Talk::midstream()
        .server(reply(1))
        .client(get(2))
        .server(reply(2))
        .says(&[
            "orphan 38",
            "1 GET /2",
            "1c end",
            "1 200",
            "1s body 02",
            "1s end",
            "1 Complete",
        ]);
}

#[test]
fn joined_in_an_upload_with_its_response_outstanding() {
    let talk = Talk::midstream()
        .client("rest of a form")
        .client(get(2))
        .server(reply(1))
        .server(reply(2));
    talk.client(get(3)).server(reply(3)).says(&[
        "c resync 14 joined in the middle",
        "1 GET /2",
        "1c end",
        "1 Incomplete",
        "orphan 38",
        "orphan 38",
        "2 GET /3",
        "2c end",
        "2 Incomplete",
        "orphan 38",
    ]);
}

#[test]
fn an_answer_to_an_unknown_head_request_does_not_swallow_the_next() {
    Talk::midstream()
        .server("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .client(get(1))
        .server(reply(1))
        .says(&[
            "orphan 41",
            "1 GET /1",
            "1c end",
            "1 200",
            "1s body 01",
            "1s end",
            "1 Complete",
        ]);
}

#[test]
fn p_l3_a_forced_search_finds_the_next_message() {
    let mut talk = Talk::new().client("GET / HTTP/1.1\r\nHost: a");
    talk.parser.resync(Side::Client, Time(9), &mut talk.events);
    assert_eq!(talk.parser.buffered(Side::Client), 0);
    talk.client(get(1))
        .says(&["c resync 23 no progress", "1 GET /1", "1c end", "1 Incomplete"]);
}

#[test]
fn p_l3_a_response_that_waits_in_vain_is_an_orphan() {
    let mut talk = Talk::new().server(reply(1));
    talk.parser.resync(Side::Server, Time(9), &mut talk.events);
    talk.says(&["orphan 38"]);
}

#[test]
fn p_d4_a_connection_of_nonsense_is_given_up() {
    let mut talk = Talk::new();
    let mut feed = |side: Side| {
        let data = match side {
            Side::Client => "GET / HTTP/1.1\r\n\r\n",
            Side::Server => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        };
        talk.parser.bytes(side, data.into(), Time(1), &mut talk.events)
    };
    // Two good heads for each bad chunk: it goes on.
    for _ in 0..60 {
        feed(Side::Client).unwrap();
        feed(Side::Server).unwrap();
    }
    let mut talk = Talk::new();
    let bad = "nonsense\r\nGET / HTTP/1.1\r\nno field\r\n\r\n".repeat(5);
    let result = talk
        .parser
        .bytes(Side::Client, bad.into(), Time(1), &mut talk.events);
    assert!(matches!(result, Err(ParseError::NotThisProtocol { .. })));
    talk.says(&[]);
}

#[test]
fn open_requests_are_bounded() {
    let mut talk = Talk::new().client(get(1).repeat(10_000));
    talk.parser.close(Time(9), &mut talk.events);
    let ends = talk
        .events
        .iter()
        .filter(|event| matches!(event, Event::End { .. }))
        .count();
    assert_eq!(ends, 10_000);
}
