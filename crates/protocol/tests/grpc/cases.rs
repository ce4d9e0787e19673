//! One call at a time (P-G3, P-G5, P-G7).

use qtap_protocol::grpc::{Call, Dialect, Messages, Tracker};
use qtap_protocol::{Outcome, Side};

use crate::fuzz_body::base64;
use crate::support::{fields, message, request, response};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// The call in which the client and the server send these bodies.
fn call(content_type: &str, client: &[u8], server: &[u8]) -> Call {
    let head = [("content-type", content_type)];
    let mut tracker = Tracker::begin(&request(&head)).unwrap();
    assert!(tracker.response(&response(&head)));
    tracker.bytes(Side::Client, client);
    tracker.bytes(Side::Server, server);
    tracker.finish(&[], Outcome::Complete, [true; 2]).unwrap()
}

fn counts(messages: &Messages) -> (u64, u64, u64, u32) {
    (
        messages.count,
        messages.bytes,
        messages.compressed,
        messages.largest,
    )
}

/// P-G3: counts, sizes and the compressed flag of each direction.
#[test]
fn p_g3_messages_are_counted_and_sized_by_direction() {
    let sent = [message(0, b"abc"), message(1, b"packed"), message(0, b"")].concat();
    let call = call("application/grpc+proto", &sent, &message(0, &[7; 70_000]));
    let [client, server] = &call.messages;
    assert_eq!(counts(client), (3, 9, 1, 6));
    assert_eq!(counts(server), (1, 70_000, 0, 70_000));
    assert!(!client.unfinished && client.lost.is_none() && client.whole_bytes.is_none());
    assert_eq!(call.dialects, [Dialect::Native; 2]);
}

/// A message that does not come to its end is not counted, and said.
#[test]
fn a_message_cut_short_is_unfinished_and_not_counted() {
    for (body, unfinished) in [
        (&b""[..], false),
        (b"\0", true),
        (b"\0\0\0\0\x02", true),
        (b"\0\0\0\0\x02a", true),
        (b"\0\0\0\0\x02ab", false),
    ] {
        let call = call("application/grpc", body, b"");
        assert_eq!(call.messages[0].unfinished, unfinished, "{body:?}");
        assert_eq!(
            call.messages[0].count,
            u64::from(body.ends_with(b"b")),
            "{body:?}"
        );
    }
}

/// P-M4: 4 GiB announced, nothing allocated, nothing counted.
#[test]
fn p_m4_an_announced_length_is_not_believed() {
    let call = call("application/grpc", b"\0\xff\xff\xff\xffabc", b"");
    assert_eq!(counts(&call.messages[0]), (0, 0, 0, 0));
    assert!(call.messages[0].unfinished);
}

/// P-L2: a hole inside of a message is passed over, and the counts stay exact.
#[test]
fn a_hole_inside_of_a_message_leaves_the_counts_exact() {
    let body = [message(0, &[1; 100]), message(0, &[2; 50])].concat();
    let mut tracker = Tracker::begin(&request(&[GRPC])).unwrap();
    tracker.bytes(Side::Client, &body[..30]);
    tracker.gap(Side::Client, 75);
    tracker.bytes(Side::Client, &body[105..]);
    let call = tracker.finish(&[], Outcome::Complete, [true; 2]).unwrap();
    assert_eq!(counts(&call.messages[0]), (2, 150, 0, 100));
    assert_eq!(
        (call.messages[0].lost, call.messages[0].whole_bytes),
        (None, Some(30))
    );
}

/// P-L2: behind any other hole nothing is counted, and that is said.
#[test]
fn a_hole_over_the_start_of_a_message_makes_the_count_a_lower_bound() {
    let body = [message(0, &[1; 100]), message(0, &[2; 50])].concat();
    for (from, length) in [(30, 76), (105, 1), (105, 55), (30, 0), (2, 1)] {
        let mut tracker = Tracker::begin(&request(&[GRPC])).unwrap();
        tracker.bytes(Side::Client, &body[..from]);
        tracker.gap(Side::Client, length as u64);
        tracker.bytes(Side::Client, &body[from + length..]);
        let call = tracker.finish(&[], Outcome::Complete, [true; 2]).unwrap();
        assert_eq!(
            call.messages[0].lost,
            Some("bytes are missing"),
            "{from} {length}"
        );
        assert_eq!(call.messages[0].count, u64::from(from >= 105), "{from} {length}");
    }
}

#[test]
fn what_is_no_message_is_told_and_not_counted() {
    let body = [&message(0, b"abc")[..], b"<html>"].concat();
    let call = call("application/grpc", &body, &message(0x80, b"grpc-status: 0\r\n"));
    assert_eq!(call.messages[0].count, 1);
    assert_eq!(call.messages[0].lost, Some("not a message prefix"));
    // Trailers in the body are gRPC-Web's alone.
    assert_eq!(call.messages[1].lost, Some("not a message prefix"));
    assert!(call.web_trailers.is_empty());
}

/// P-G5: the status of gRPC-Web is in the last frame of the body.
#[test]
fn p_g5_trailers_of_the_web_are_read_from_the_body() {
    let trailers = b"grpc-status: 5\r\nGRPC-Message:no%20such\r\n: nameless\r\nbroken\r\nx-empty:\r\n";
    let body = [message(0, b"abc"), message(0x80, trailers)].concat();
    for (content_type, body) in [
        ("application/grpc-web", body.clone()),
        ("application/grpc-web+proto", body.clone()),
        ("application/grpc-web-text", base64(&body, 1000)),
        ("application/grpc-web-text+proto", base64(&body, 8)),
    ] {
        let call = call(content_type, b"", &body);
        let expected = fields(&[
            ("grpc-status", "5"),
            ("grpc-message", "no%20such"),
            ("x-empty", ""),
        ]);
        assert_eq!(call.web_trailers, expected, "{content_type}");
        assert_eq!(counts(&call.messages[1]), (1, 3, 0, 3), "{content_type}");
        assert_eq!(call.messages[1].lost, None, "{content_type}");
    }
}

#[test]
fn trailers_of_the_web_with_a_hole_or_beyond_the_limit_are_left_out() {
    let head = [("content-type", "application/grpc-web")];
    let body = message(0x80, b"grpc-status: 0\r\n");
    let mut tracker = Tracker::begin(&request(&head)).unwrap();
    assert!(tracker.response(&response(&head)));
    tracker.bytes(Side::Server, &body[..10]);
    tracker.gap(Side::Server, 3);
    tracker.bytes(Side::Server, &body[13..]);
    let broken = tracker.finish(&[], Outcome::Complete, [true; 2]).unwrap();
    assert!(broken.web_trailers.is_empty());
    let long = message(0x80, "a: b\r\n".repeat(20_000).as_bytes());
    let long = call("application/grpc-web", b"", &long);
    assert!(long.web_trailers.is_empty());
    let many = message(0x80, "a: b\r\n".repeat(1_000).as_bytes());
    let many = call("application/grpc-web", b"", &many);
    assert_eq!(many.web_trailers.len(), 256);
    let after = [message(0x80, b""), message(0, b"a")].concat();
    let after = call("application/grpc-web", b"", &after);
    assert_eq!(after.messages[1].lost, Some("bytes after the trailers"));
}

/// A body that a proxy compressed is counted once that is removed.
#[test]
fn a_body_under_a_content_coding_is_counted_when_it_was_removed() {
    let coded = [
        ("content-type", "application/grpc-web"),
        ("content-encoding", "gzip"),
    ];
    for is_whole in [true, false] {
        let mut tracker = Tracker::begin(&request(&[("content-type", "application/grpc-web")])).unwrap();
        assert!(tracker.response(&response(&coded)));
        tracker.bytes(Side::Server, b"\x1f\x8b no matter");
        if is_whole {
            let body = [message(0, b"abc"), message(0x80, b"grpc-status: 0\r\n")].concat();
            tracker.recount(Side::Server, &body);
            tracker.recount(Side::Client, &message(0, b"not looked at: it had no coding"));
        }
        let call = tracker.finish(&[], Outcome::Complete, [true; 2]).unwrap();
        assert_eq!(call.messages[0].count, 0);
        assert_eq!(call.messages[1].count, u64::from(is_whole));
        assert_eq!(call.web_trailers.len(), usize::from(is_whole));
        let lost = (!is_whole).then_some("the body has a content coding");
        assert_eq!(call.messages[1].lost, lost);
    }
}

/// A proxy that answers in its own words leaves no messages, and no complaint.
#[test]
fn the_body_of_an_intermediary_is_not_looked_at() {
    let mut tracker = Tracker::begin(&request(&[GRPC])).unwrap();
    assert!(tracker.response(&response(&[("content-type", "text/html")])));
    tracker.bytes(Side::Server, b"<html>bad gateway</html>");
    let call = tracker.finish(&[], Outcome::Complete, [true; 2]).unwrap();
    assert_eq!(call.messages[1], Messages::default());
}

/// P-G7: a request whose content type is not known is a call if the response, or its trailers, say so.
#[test]
fn p_g7_a_request_with_fields_unknown_is_told_by_its_response() {
    let unknown = || {
        let mut head = request(&[]);
        head.partial = true;
        let mut tracker = Tracker::begin(&head).unwrap();
        assert!(!tracker.is_certain());
        tracker.bytes(Side::Client, &message(0, b"abc"));
        tracker
    };
    let finish = |tracker: Tracker, trailers| tracker.finish(trailers, Outcome::Complete, [true; 2]);
    let mut told = unknown();
    assert!(told.response(&response(&[GRPC])) && told.is_certain());
    assert_eq!(finish(told, &[]).unwrap().messages[0].count, 1);
    // Text of the web was taken for messages up to here.
    let mut text = unknown();
    assert!(text.response(&response(&[("content-type", "application/grpc-web-text")])));
    assert!(finish(text, &[]).unwrap().messages[0].lost.is_some());
    let mut other = unknown();
    assert!(!other.response(&response(&[("content-type", "application/json")])));
    let mut silent = unknown();
    assert!(!silent.response(&response(&[])));
    let mut partial = response(&[]);
    partial.partial = true;
    let mut undecided = unknown();
    assert!(undecided.response(&partial));
    assert_eq!(finish(undecided, &[]), None);
    let mut late = unknown();
    assert!(late.response(&partial));
    assert!(finish(late, &fields(&[("grpc-status", "0")])).is_some());
    assert!(Tracker::begin(&request(&[("content-type", "application/json")])).is_none());
    assert!(Tracker::begin(&request(&[])).is_none());
}

/// A response whose head was lost: the beginning of its body may be lost too.
#[test]
fn behind_a_lost_head_nothing_is_counted() {
    let mut lost = response(&[]);
    lost.status = 0;
    lost.partial = true;
    let mut tracker = Tracker::begin(&request(&[GRPC])).unwrap();
    assert!(tracker.response(&lost));
    tracker.bytes(Side::Server, &message(0, b"abc"));
    let call = tracker.finish(&[], Outcome::Incomplete, [true, false]).unwrap();
    assert_eq!(
        (call.messages[1].count, call.messages[1].lost),
        (0, Some("bytes are missing"))
    );
    assert_eq!(call.messages[0].lost, None);
}
