//! P-W2 case by case: frames, fragments, masks, control frames, closing.

use qtap_protocol::websocket::{Agreement, Carrier, Closing, is_agreed};
use qtap_protocol::{
    Event, Field, Outcome, Parser, RequestHead, ResponseHead, Side, StreamKey, Time, Version,
};

use crate::support::{Talk, close, frame};

use Side::{Client, Server};

#[test]
fn p_w2_masked_and_unmasked_text() {
    // RFC 6455 §5.7.
    let talk = Talk::new()
        .says(Client, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
        .says(Server, b"\x81\x05\x48\x65\x6c\x6c\x6f");
    assert_eq!(talk.lines(), ["c text Hello", "s text Hello"]);
}

#[test]
fn p_w2_fragments_are_one_message_and_control_frames_lie_between() {
    let talk = Talk::new()
        .says(Server, &frame(Server, 0x01, b"Hel"))
        .says(Server, &frame(Server, 0x89, b"are you there"))
        .says(Client, &frame(Client, 0x8a, b"are you there"))
        .says(Server, &frame(Server, 0x00, b"l"))
        .says(Server, &frame(Server, 0x80, b"o"));
    assert_eq!(
        talk.lines(),
        [
            "s ping are you there",
            "c pong are you there",
            "s text Hello [3 frames]"
        ]
    );
    let traffic = talk.session.traffic(Server);
    assert_eq!(
        (traffic.frames, traffic.text, traffic.fragmented, traffic.pings),
        (4, 1, 1, 1)
    );
    assert_eq!((traffic.bytes, traffic.largest), (5, 5));
    assert_eq!((traffic.first, traffic.last), (Some(Time(1)), Some(Time(5))));
}

#[test]
fn p_w2_lengths_of_all_three_forms() {
    for length in [0, 1, 125, 126, 127, 65535, 65536, 100_000] {
        let payload: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
        for side in [Client, Server] {
            let talk = Talk::new().says(side, &frame(side, 0x82, &payload));
            let [message] = &talk.messages[..] else {
                panic!("{length}: {:?}", talk.lines())
            };
            assert_eq!(
                (message.length, &message.payload[..]),
                (u64::from(length), &payload[..])
            );
            assert!(message.whole && !message.truncated);
        }
    }
}

#[test]
fn p_w2_close_codes_and_reasons_of_both_sides() {
    let talk = Talk::new()
        .says(Client, &close(Client, 1000, "done"))
        .says(Server, &frame(Server, 0x88, b""))
        .says(Server, b"surplus")
        .close();
    let closing = |side| talk.session.closing(side).cloned().unwrap();
    assert_eq!(
        closing(Client),
        Closing {
            code: Some(1000),
            reason: "done".to_owned(),
            time: Time(1)
        }
    );
    assert_eq!(
        (closing(Server).code, closing(Server).reason),
        (None, String::new())
    );
    assert_eq!(talk.session.traffic(Server).dropped_bytes, 7);
    assert_eq!(talk.session.traffic(Client).messages(), 0);
}

#[test]
fn an_end_without_close_frames_cuts_the_message_under_way() {
    let whole = frame(Server, 0x81, b"hello");
    let talk = Talk::new().says(Server, &whole).says(Server, &whole[..4]).close();
    assert_eq!(talk.lines(), ["s text hello", "s text he [cut]"]);
    assert!(talk.session.closing(Server).is_none());
    assert_eq!(talk.session.traffic(Server).incomplete, 1);
}

#[test]
fn only_the_beginning_of_a_long_message_is_kept() {
    let talk = Talk::keeping(Agreement::default(), 4)
        .says(Server, &frame(Server, 0x01, b"abc"))
        .says(Server, &frame(Server, 0x80, b"defg"));
    assert_eq!(talk.lines(), ["s text abcd [2 frames] [truncated]"]);
    assert_eq!(talk.messages[0].length, 7);
}

#[test]
fn nothing_is_kept_that_nobody_wants_but_counts_and_the_close() {
    let talk = Talk::keeping(Agreement::default(), 0)
        .says(Server, &frame(Server, 0x81, b"abc"))
        .says(Server, &close(Server, 1011, "oops"));
    assert_eq!(talk.lines()[0], "s text ");
    assert!(!talk.messages[0].truncated);
    assert_eq!(talk.session.traffic(Server).bytes, 3);
    assert_eq!(talk.session.closing(Server).unwrap().code, Some(1011));
}

#[test]
fn a_frame_against_the_rules_is_passed_over_and_said() {
    // The client does not mask; five good frames later the reader is on its feet again, and reads from the fifth.
    let mut talk = Talk::new().says(Client, b"\x81\x02hi");
    for number in 0..6 {
        talk = talk.says(Client, &frame(Client, 0x81, format!("m{number}").as_bytes()));
    }
    assert_eq!(talk.lines(), ["c text m4", "c text m5"]);
    let traffic = talk.session.traffic(Client);
    assert_eq!(traffic.fault, Some("mask of the wrong direction"));
    assert_eq!((traffic.searches, traffic.dropped_bytes), (1, 4 + 4 * 8));
}

#[test]
fn a_continuation_of_nothing_is_no_message() {
    let talk = Talk::new()
        .says(Server, &frame(Server, 0x80, b"rest"))
        .says(Server, &frame(Server, 0x81, b"next"));
    assert_eq!(talk.lines(), ["s text next"]);
    assert_eq!(
        talk.session.traffic(Server).fault,
        Some("continuation of no message")
    );
}

#[test]
fn bytes_that_are_no_frames_at_all_are_given_up_bounded() {
    let noise: Vec<u8> = (0..200_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let talk = Talk::new().says(Server, &noise).close();
    assert!(talk.session.held() < 16 << 10);
    assert!(talk.session.traffic(Server).fault.is_some());
}

#[test]
fn unknown_extensions_may_use_what_is_reserved() {
    let foreign = Agreement {
        is_foreign: true,
        ..Agreement::default()
    };
    let talk = Talk::of(foreign).says(Server, &frame(Server, 0xb3, b"x"));
    assert_eq!(talk.lines(), ["s other x"]);
}

fn field(name: &str, value: &str) -> Field {
    Field {
        name: name.to_owned().into(),
        value: value.to_owned().into(),
    }
}

fn heads(method: &'static str, protocol: Option<&'static str>, status: u16) -> (RequestHead, ResponseHead) {
    let request = RequestHead {
        method: method.into(),
        target: "/chat".into(),
        scheme: None,
        authority: None,
        protocol: protocol.map(Into::into),
        version: Version::Http11,
        fields: vec![field("Upgrade", "websocket")],
        partial: false,
        truncated: false,
        framing_conflict: false,
    };
    let response = ResponseHead {
        status,
        reason: "".into(),
        version: Version::Http11,
        fields: vec![field("upgrade", "WebSocket")],
        partial: false,
        truncated: false,
        framing_conflict: false,
    };
    (request, response)
}

#[test]
fn p_w1_and_rfc_8441_both_handshakes_are_recognised() {
    for (method, protocol, status, expected) in [
        ("GET", None, 101, true),
        ("GET", None, 200, false),
        ("CONNECT", Some("websocket"), 200, true),
        ("CONNECT", Some("websocket"), 403, false),
        ("CONNECT", Some("connect-udp"), 200, false),
        ("CONNECT", None, 200, false),
    ] {
        let (request, response) = heads(method, protocol, status);
        assert_eq!(
            is_agreed(&request, &response),
            expected,
            "{method} {protocol:?} {status}"
        );
    }
}

#[test]
fn p_w1_the_carrier_makes_the_connection_the_body_of_its_transaction() {
    let (key, mut out) = (StreamKey(3), Vec::new());
    let mut carrier = Carrier::new(key);
    carrier.bytes(Client, "ab".into(), Time(1), &mut out).unwrap();
    carrier.gap(Server, 9, Time(2), &mut out).unwrap();
    carrier.eof(Client, Time(3), &mut out);
    carrier.eof(Client, Time(4), &mut out);
    carrier.close(Time(5), &mut out);
    carrier.close(Time(6), &mut out);
    assert_eq!(out.len(), 4);
    let Event::End {
        outcome,
        request,
        response,
        ..
    } = &out[3]
    else {
        panic!("{out:?}")
    };
    assert_eq!(*outcome, Outcome::Upgraded);
    assert_eq!(
        (request.body_bytes, response.body_bytes, response.gap_bytes),
        (2, 9, 9)
    );
}
