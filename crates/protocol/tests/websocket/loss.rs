//! Holes (P-L2): what is known stays right, what is not is said.

use qtap_protocol::Side::{Client, Server};
use qtap_protocol::Time;
use qtap_protocol::websocket::{Session, is_joined};

use crate::support::{Talk, close, frame, mask};

#[test]
fn a_hole_inside_of_a_payload_is_passed_over() {
    let sent = frame(Client, 0x81, b"0123456789");
    let next = frame(Client, 0x81, b"next");
    let talk = Talk::new()
        .says(Client, &sent[..9])
        .loses(Client, 4)
        .says(Client, &sent[13..])
        .says(Client, &next);
    assert_eq!(talk.lines(), ["c text 012789 [4 missing]", "c text next"]);
    assert_eq!(talk.session.traffic(Client).incomplete, 1);
    assert_eq!(talk.session.traffic(Client).searches, 0);
}

#[test]
fn a_hole_up_to_the_end_of_a_payload_ends_it() {
    let sent = frame(Server, 0x82, b"0123456789");
    let talk = Talk::new()
        .says(Server, &sent[..7])
        .loses(Server, 5)
        .says(Server, &frame(Server, 0x81, b"next"));
    assert_eq!(talk.lines(), ["s binary 01234 [5 missing]", "s text next"]);
}

#[test]
fn behind_a_hole_between_frames_the_fifth_of_a_chain_is_read() {
    let mut talk = Talk::new()
        .says(Server, &frame(Server, 0x81, b"before"))
        .loses(Server, 1000);
    for number in 0..8 {
        talk = talk.says(
            Server,
            &frame(Server, 0x81, format!("message {number}").as_bytes()),
        );
    }
    assert_eq!(
        talk.lines(),
        [
            "s text before",
            "s text message 4",
            "s text message 5",
            "s text message 6",
            "s text message 7"
        ]
    );
    let traffic = talk.session.traffic(Server);
    assert_eq!(traffic.fault, Some("bytes are missing between frames"));
    assert_eq!(traffic.dropped_bytes, 4 * 11);
}

#[test]
fn a_chain_is_found_from_the_middle_of_a_frame() {
    let cut = frame(Server, 0x81, b"{\"of this frame the beginning is missing\":1}");
    let mut talk = Talk::new().loses(Server, 10).says(Server, &cut[10..]);
    for number in 0..6 {
        talk = talk.says(Server, &frame(Server, 0x82, &[number; 300]));
    }
    assert_eq!(talk.messages.len(), 2);
    assert!(
        talk.messages
            .iter()
            .all(|message| message.length == 300 && message.whole)
    );
}

/// Two in 65,536 masks make a header of text with 22 bytes of what comes next, whose end is at the next one.
#[test]
fn a_masked_run_of_one_letter_is_no_chain() {
    let letters = [b'x'; 250];
    let mut cut = vec![0x81, 0x80 | 126, 0, 250];
    mask(&mut cut, &letters, [b'x' ^ 0x81, b'x' ^ 0x96, 0x55, 0xaa]);
    let mut talk = Talk::new()
        .says(Client, &frame(Client, 0x81, b"before"))
        .loses(Client, 20)
        .says(Client, &cut[20..]);
    for number in 0..7 {
        talk = talk.says(
            Client,
            &frame(Client, 0x81, format!("message {number}").as_bytes()),
        );
    }
    assert_eq!(
        talk.lines(),
        [
            "c text before",
            "c text message 4",
            "c text message 5",
            "c text message 6"
        ]
    );
}

/// Clients that do not mind RFC 6455: their frames are told apart by their lengths.
#[test]
fn one_mask_for_all_frames_is_found_again_by_their_lengths() {
    let mut talk = Talk::new().loses(Client, 20);
    for number in 0..7 {
        let text = "y".repeat(10 + number);
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap()];
        mask(&mut frame, text.as_bytes(), [0; 4]);
        talk = talk.says(Client, &frame);
    }
    assert_eq!(talk.messages.len(), 3);
}

#[test]
fn chains_are_followed_over_long_frames_without_holding_them() {
    let mut talk = Talk::new().loses(Server, 10);
    for number in 0..6_u8 {
        talk = talk.says(Server, &frame(Server, 0x82, &vec![number; 300_000]));
        assert!(talk.session.held() < 2 << 20);
    }
    assert_eq!(talk.messages.len(), 2);
    assert_eq!(talk.messages[1].payload[..], [5; 300_000]);
}

#[test]
fn the_rest_of_a_message_whose_beginning_is_lost_is_no_message() {
    let mut talk = Talk::new().loses(Server, 10);
    for _ in 0..5 {
        talk = talk.says(Server, &frame(Server, 0x00, b"part"));
    }
    let talk = talk
        .says(Server, &frame(Server, 0x80, b"last"))
        .says(Server, &frame(Server, 0x81, b"whole"));
    assert_eq!(talk.lines(), ["s text whole"]);
    assert_eq!(talk.session.traffic(Server).incomplete, 1);
}

#[test]
fn a_fragmented_message_that_loses_frames_is_cut() {
    let talk = Talk::new()
        .says(Server, &frame(Server, 0x01, b"begun"))
        .loses(Server, 20)
        .close();
    assert_eq!(talk.lines(), ["s text begun [cut]"]);
}

#[test]
fn a_close_frame_with_a_hole_has_no_code() {
    let sent = close(Server, 1000, "bye");
    let talk = Talk::new()
        .says(Server, &sent[..3])
        .loses(Server, 2)
        .says(Server, &sent[5..]);
    let closing = talk.session.closing(Server).unwrap();
    assert_eq!((closing.code, closing.reason.as_str()), (None, ""));
}

#[test]
fn a_websocket_that_is_older_than_the_capture_is_told_by_chains_of_frames() {
    let frames = |side, count: usize| -> Vec<u8> {
        (0..count)
            .flat_map(|number| frame(side, 0x81, format!("message {number}").as_bytes()))
            .collect()
    };
    let (client, server) = (frames(Client, 5), frames(Server, 5));
    for (from_client, from_server, expected) in [
        (&client[..], &server[..], true),
        (&client[..], b"".as_slice(), true),
        (b"", &server[..], true),
        (&client[..], &server[..13], true),
        (&client[7..], &server[3..], false),
        (&frames(Client, 6)[7..], &frames(Server, 6)[3..], true),
        (&client[..], b"HTTP/1.1 200 OK\r\n", false),
        (b"no frames", &server[..], false),
        (&frames(Client, 4), &frames(Server, 4), false),
        (b"", b"", false),
        (&server[..], &client[..], false),
    ] {
        let said = is_joined(from_client, from_server);
        assert_eq!(said, expected, "{from_client:x?} {from_server:x?}");
    }
    let mut session = Session::joined(100);
    let mut messages = Vec::new();
    session.bytes(Server, &frames(Server, 8), Time(1), &mut messages);
    assert_eq!(messages.len(), 4);
    assert_eq!(session.traffic(Server).fault, Some("joined in the middle"));
}
