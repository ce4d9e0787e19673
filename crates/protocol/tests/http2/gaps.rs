//! Missing bytes (P-L2).

use qtap_protocol::{Event, Outcome, Parser as _, Side};

use super::wire::*;

fn exchange_begun() -> (Tap, Encoder, Encoder) {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.get(1, "/one"));
    tap.server(&server.headers(1, 0, &[(":status", "200"), ("x-a", "b")]));
    (tap, client, server)
}

#[test]
fn inside_data_the_gap_is_a_body_gap_and_framing_goes_on() {
    let (mut tap, mut client, mut server) = exchange_begun();
    let body = data(1, END_STREAM, &[b'x'; 1000]);
    tap.server(&body[..109]);
    assert_eq!(tap.parser.skippable(Side::Server), 900);
    tap.gap(Side::Server, 500);
    tap.server(&body[609..]);
    let seen = tap.stream(1);
    assert_eq!(
        (seen.body[1].len(), seen.gaps[1], seen.outcome()),
        (500, 500, Some(Outcome::Complete))
    );
    let (_, _, response) = seen.end.unwrap();
    assert_eq!((response.gap_bytes, response.body_bytes), (500, 1009));
    tap.client(&client.get(3, "/one"));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "200"), ("x-a", "b")]));
    assert_eq!(
        tap.stream(3).response.unwrap().field("x-a"),
        Some(&b"b"[..]),
        "HPACK is untouched"
    );
}

#[test]
fn a_gap_to_the_exact_end_of_a_frame_keeps_step() {
    let (mut tap, _, _) = exchange_begun();
    let body = data(1, 0, &[b'x'; 100]);
    tap.server(&body[..9]);
    tap.gap(Side::Server, 100);
    tap.server(&data(1, END_STREAM, b"rest"));
    let seen = tap.stream(1);
    assert_eq!((seen.body_text(Side::Server), seen.gaps[1]), ("rest".into(), 100));
    assert_eq!(seen.outcome(), Some(Outcome::Complete));
}

/// The header said END_STREAM, so the end is known though its bytes are not.
#[test]
fn a_gap_beyond_the_last_frame_of_a_stream_still_ends_it() {
    let (mut tap, mut client, mut server) = exchange_begun();
    let body = data(1, END_STREAM, &[b'x'; 100]);
    tap.server(&body[..59]);
    tap.gap(Side::Server, 50 + 13);
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Complete));
    tap.client(&client.get(3, "/three"));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "200")]));
    assert_eq!(tap.stream(3).outcome(), Some(Outcome::Complete));
}

#[test]
fn padding_length_lost_means_the_frame_is_no_body() {
    let (mut tap, _, _) = exchange_begun();
    let body = data(1, PADDED | END_STREAM, b"\x04body\0\0\0\0");
    tap.server(&body[..9]);
    tap.gap(Side::Server, 1);
    tap.server(&body[10..]);
    let seen = tap.stream(1);
    assert_eq!((seen.body_text(Side::Server), seen.gaps[1]), (String::new(), 9));
}

#[test]
fn gap_in_a_header_block_keeps_what_came_before_it() {
    let (mut tap, mut client, mut server) = exchange_begun();
    let head = client.headers(
        3,
        END_STREAM,
        &[&request("GET", "/three")[..], &[("x-lost", "value")]].concat(),
    );
    tap.client(&head[..head.len() - 4]);
    tap.gap(Side::Client, 4);
    let seen = tap.stream(3);
    assert_eq!((seen.path(), seen.request.partial), ("/three".into(), true));
    assert_eq!(seen.request.field("x-lost"), None);
    // The entry of the lost field is unknown from here on, and so are all before it.
    tap.client(&client.headers(
        5,
        END_STREAM,
        &[&request("GET", "/three")[..], &[("x-lost", "value")]].concat(),
    ));
    assert_eq!(
        (tap.stream(5).path(), tap.stream(5).request.field("x-lost")),
        ("*".into(), None)
    );
    tap.server(&server.headers(3, END_STREAM, &[(":status", "200"), ("x-a", "b")]));
    assert!(
        !tap.stream(3).response.unwrap().partial,
        "the other direction is untouched"
    );
}

#[test]
fn a_lost_request_leaves_an_orphan_and_its_neighbours_right() {
    let (mut tap, mut client, mut server) = exchange_begun();
    let lost = client.get(3, "/lost");
    tap.gap(Side::Client, lost.len());
    tap.client(&client.get(5, "/five"));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "404")]));
    tap.server(&server.headers(5, END_STREAM, &[(":status", "200")]));
    tap.server(&data(1, END_STREAM, b"one"));
    assert_eq!(tap.orphans(), 1);
    let statuses: Vec<_> = tap
        .streams()
        .iter()
        .map(|seen| (seen.id, seen.status().unwrap()))
        .collect();
    assert_eq!(statuses, [(1, 200), (5, 200)]);
    assert_eq!(
        tap.stream(1).outcome(),
        Some(Outcome::Complete),
        "its request had ended before"
    );
}

#[test]
fn a_lost_end_of_stream_is_incomplete_at_close() {
    let (mut tap, mut client, mut server) = exchange_begun();
    tap.server(&data(1, 0, b"part"));
    let end = data(1, END_STREAM, b"end");
    tap.gap(Side::Server, end.len());
    tap.client(&client.get(3, "/three"));
    tap.server(&server.headers(3, END_STREAM, &[(":status", "200")]));
    assert_eq!(tap.stream(3).outcome(), Some(Outcome::Complete));
    assert_eq!(tap.stream(1).outcome(), None);
    tap.close();
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Incomplete));
}

#[test]
fn data_lost_between_frames_makes_the_stream_incomplete() {
    let (mut tap, _, _) = exchange_begun();
    tap.server(&data(1, 0, b"part"));
    tap.gap(Side::Server, 500);
    tap.server(&data(1, END_STREAM, b"end"));
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Incomplete));
}

#[test]
fn a_response_tells_that_the_end_of_a_damaged_request_was_lost() {
    let (mut tap, mut client, mut server) = (Tap::open(), Encoder::new(), Encoder::new());
    tap.client(&client.headers(1, 0, &request("POST", "/")));
    tap.gap(Side::Client, 2000);
    tap.server(&server.headers(1, END_STREAM, &[(":status", "200")]));
    assert_eq!(tap.stream(1).outcome(), Some(Outcome::Incomplete));
}

#[test]
fn a_lost_response_head_has_status_0_and_its_body_is_kept() {
    let (mut tap, mut client, mut server) = exchange_begun();
    tap.client(&client.get(3, "/three"));
    let lost = server.headers(3, 0, &[(":status", "200")]);
    tap.gap(Side::Server, lost.len());
    tap.server(&data(3, END_STREAM, b"body"));
    let seen = tap.stream(3);
    let head = seen.response.clone().unwrap();
    assert_eq!((head.status, head.partial), (0, true));
    assert_eq!(
        (seen.body_text(Side::Server), seen.outcome()),
        ("body".into(), Some(Outcome::Incomplete))
    );
}

/// A request always names its scheme, and that the static table has; trailers of which nothing is known do not.
#[test]
fn unknown_trailers_of_a_lost_request_make_no_request() {
    let (mut tap, mut client, mut server) = exchange_begun();
    let trailers = [("x-end", "known before")];
    tap.client(&client.headers(3, 0, &request("POST", "/three")));
    tap.client(&client.headers(3, END_STREAM, &trailers));
    let lost = client.headers(5, 0, &request("POST", "/five"));
    tap.gap(Side::Client, lost.len());
    tap.client(&client.headers(5, END_STREAM, &trailers));
    tap.server(&server.headers(5, END_STREAM, &[(":status", "200")]));
    assert_eq!(
        tap.streams().iter().map(|seen| seen.id).collect::<Vec<_>>(),
        [1, 3]
    );
    assert_eq!(tap.orphans(), 1);
}

/// What was lost came before the head.
#[test]
fn a_response_whose_head_comes_after_a_loss_is_complete() {
    let (mut tap, mut client, mut server) = exchange_begun();
    tap.client(&client.get(3, "/three"));
    tap.gap(Side::Server, 500);
    tap.server(&server.headers(3, 0, &[(":status", "200")]));
    tap.server(&data(3, END_STREAM, b"body"));
    assert_eq!(tap.stream(3).outcome(), Some(Outcome::Complete));
}

#[test]
fn trailers_of_a_lost_response_are_not_taken_for_its_head() {
    let (mut tap, mut client, mut server) = exchange_begun();
    tap.client(&client.get(3, "/three"));
    tap.gap(Side::Server, 500);
    tap.server(&server.headers(3, END_STREAM, &[("x-end", "3")]));
    let seen = tap.stream(3);
    assert_eq!((seen.status(), seen.trailers[1].len()), (Some(0), 1));
    assert_eq!(seen.outcome(), Some(Outcome::Incomplete));
}

#[test]
fn lost_bytes_are_told_with_their_reason() {
    let (mut tap, mut client, _) = exchange_begun();
    let lost = client.get(3, "/three");
    tap.client(&lost[..5]);
    tap.gap(Side::Client, lost.len() - 5);
    tap.client(&client.get(5, "/five"));
    let resync = Event::Resync {
        side: Side::Client,
        reason: "bytes missing",
        dropped: 5,
    };
    assert!(tap.events.contains(&resync), "{:?}", tap.events);
    assert_eq!(tap.stream(5).id, 5);
}

#[test]
fn forced_resync_lets_the_next_frames_in() {
    let (mut tap, mut client, _) = exchange_begun();
    tap.client(&client.get(3, "/three")[..20]);
    let time = qtap_protocol::Time(tap.now);
    tap.parser.resync(Side::Client, time, &mut tap.events);
    tap.client(&client.headers(5, END_STREAM, &[(":method", "GET"), ("x", "y")]));
    assert_eq!(tap.stream(5).request.field("x"), Some(&b"y"[..]));
}
