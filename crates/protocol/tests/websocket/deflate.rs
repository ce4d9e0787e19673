//! permessage-deflate (RFC 7692): windows, bounds, loss.

use qtap_protocol::Side::{self, Client, Server};
use qtap_protocol::websocket::{Agreement, Deflate};

use crate::support::{Deflater, Talk, compressed, frame};

fn send(talk: Talk, side: Side, deflater: &mut Deflater, text: &str) -> Talk {
    talk.says(side, &frame(side, 0xc1, &deflater.message(text.as_bytes())))
}

#[test]
fn the_window_is_taken_over_from_message_to_message() {
    let (mut client, mut server) = (Deflater::new(), Deflater::new());
    let mut talk = Talk::of(compressed());
    for round in 0..50 {
        let text = format!("{{\"type\":\"tick\",\"round\":{round},\"symbol\":\"QTAP\"}}");
        talk = send(talk, Client, &mut client, &text);
        talk = send(talk, Server, &mut server, &text);
        let last = talk.messages.last().unwrap();
        assert_eq!(
            (&last.payload[..], last.inflated),
            (text.as_bytes(), Some(text.len() as u64))
        );
        assert!(
            round == 0 || last.length < text.len() as u64 / 2,
            "it was really compressed"
        );
    }
    assert_eq!(talk.session.traffic(Server).compressed, 50);
}

#[test]
fn without_takeover_each_message_stands_alone() {
    let agreement = Agreement {
        deflate: Some(Deflate {
            client_no_context_takeover: true,
            server_no_context_takeover: true,
        }),
        ..Agreement::default()
    };
    let mut talk = Talk::of(agreement);
    for text in ["alone", "alone"] {
        talk = send(talk, Server, &mut Deflater::new(), text);
    }
    assert_eq!(talk.lines(), ["s text alone", "s text alone"]);
}

#[test]
fn a_compressed_message_may_come_in_fragments_and_beside_uncompressed_ones() {
    let data = Deflater::new().message(b"fragmented and compressed");
    let (first, rest) = data.split_at(5);
    let talk = Talk::of(compressed())
        .says(Server, &frame(Server, 0x41, first))
        .says(Server, &frame(Server, 0x89, b""))
        .says(Server, &frame(Server, 0x80, rest))
        .says(Server, &frame(Server, 0x81, b"plain"));
    assert_eq!(
        talk.lines(),
        [
            "s ping ",
            "s text fragmented and compressed [2 frames]",
            "s text plain"
        ]
    );
}

#[test]
fn p_b3_a_bomb_is_inflated_to_its_bound_only() {
    let bomb = Deflater::new().message(&vec![0; 8 << 20]);
    let length = bomb.len();
    let talk = Talk::of(compressed()).says(Server, &frame(Server, 0xc2, &bomb));
    let message = &talk.messages[0];
    assert_eq!(message.inflate_error, Some("grows beyond what is inflated"));
    assert!(message.truncated && message.inflated.is_none());
    assert_eq!((message.length, message.payload.len()), (length as u64, 1 << 20));
    assert!(talk.session.held() < 256 << 10, "{}", talk.session.held());
}

#[test]
fn after_a_loss_messages_come_out_right_or_not_at_all() {
    let mut server = Deflater::new();
    let texts: Vec<String> = (0..40)
        .map(|number| format!("message {number} of a stream that repeats itself, message after message"))
        .collect();
    let mut talk = Talk::of(compressed());
    for (number, text) in texts.iter().enumerate() {
        let sent = frame(Server, 0xc1, &server.message(text.as_bytes()));
        talk = if number == 3 {
            // All of the payload is missing, the header is there.
            let header = if sent.len() > 128 { 4 } else { 2 };
            let missing = (sent.len() - header) as u64;
            talk.says(Server, &sent[..header]).loses(Server, missing)
        } else {
            talk.says(Server, &sent)
        };
    }
    assert_eq!(talk.messages.len(), 40);
    for (message, text) in talk.messages.iter().zip(&texts) {
        match message.inflated {
            Some(_) => assert_eq!(&message.payload[..], text.as_bytes()),
            None => {
                assert!(message.inflate_error.is_some(), "{message:?}");
                assert!(text.as_bytes().starts_with(&message.payload), "{message:?}");
            }
        }
    }
    let failed = |from: usize| {
        talk.messages[from..]
            .iter()
            .filter(|message| message.inflated.is_none())
            .count()
    };
    assert!(failed(0) > 1, "the one behind the loss refers to what is lost");
    assert_eq!(talk.messages[2].inflated, Some(texts[2].len() as u64));
}

#[test]
fn data_that_are_no_deflate_stream_are_said_to_be_none() {
    let talk = Talk::of(compressed()).says(Server, &frame(Server, 0xc1, b"\x07nonsense"));
    assert_eq!(
        talk.lines(),
        ["s text  [corrupt, or refers to messages that were not captured]"]
    );
}

#[test]
fn given_up_windows_are_said_and_forgotten() {
    let mut server = Deflater::new();
    let mut talk = send(Talk::of(compressed()), Server, &mut server, "first first first");
    talk.session.relieve();
    assert_eq!(talk.session.held(), 0);
    talk = send(talk, Server, &mut server, "first first first");
    assert!(talk.messages[1].inflate_error.is_some());
}
