//! Properties of every input (P-M4, P-M5), and of real traffic with losses.

use proptest::prelude::*;
use qtap_protocol::websocket::{Kind, Message};
use qtap_protocol::{Side, Time};

use crate::fuzz_body;
use crate::support::{Deflater, Talk, compressed, frame};

/// What one side sends: texts, each in one or two frames, compressed or not.
fn traffic(side: Side, lengths: &[(u16, bool, bool)]) -> (Vec<u8>, Vec<String>) {
    let mut deflater = Deflater::new();
    let (mut wire, mut texts) = (Vec::new(), Vec::new());
    for (number, (length, is_split, is_compressed)) in lengths.iter().enumerate() {
        let text: String = (0..*length)
            .map(|at| char::from(b'a' + ((u32::from(at) * 7 + number as u32 * 3) % 26) as u8))
            .collect();
        let text = format!("{number}:{text}");
        let (bits, payload) = if *is_compressed {
            (0x40, deflater.message(text.as_bytes()))
        } else {
            (0, text.clone().into_bytes())
        };
        if *is_split {
            let (first, rest) = payload.split_at(payload.len() / 2);
            wire.extend(frame(side, 0x01 | bits, first));
            wire.extend(frame(side, 0x80, rest));
        } else {
            wire.extend(frame(side, 0x81 | bits, &payload));
        }
        texts.push(text);
    }
    (wire, texts)
}

fn lengths() -> impl Strategy<Value = Vec<(u16, bool, bool)>> {
    prop::collection::vec((0_u16..400, any::<bool>(), any::<bool>()), 1..40)
}

fn is_right(message: &Message, texts: &[String]) -> bool {
    let is_whole =
        message.whole && message.gap_bytes == 0 && message.inflate_error.is_none() && !message.truncated;
    !is_whole || texts.iter().any(|text| message.payload == text.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1000 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn every_message_is_read_however_the_bytes_are_split(
        lengths in lengths(),
        step in 1_usize..200,
        is_client in any::<bool>(),
    ) {
        let side = if is_client { Side::Client } else { Side::Server };
        let (wire, texts) = traffic(side, &lengths);
        let mut talk = Talk::of(compressed());
        for piece in wire.chunks(step) {
            talk = talk.says(side, piece);
        }
        let read: Vec<_> = talk.messages.iter().map(|message| message.payload.to_vec()).collect();
        let sent: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn lost_bytes_never_make_a_wrong_message(
        lengths in lengths(),
        holes in prop::collection::vec((0_usize..4000, 1_usize..300), 1..5),
        is_client in any::<bool>(),
    ) {
        let side = if is_client { Side::Client } else { Side::Server };
        let (wire, texts) = traffic(side, &lengths);
        let mut missing = vec![false; wire.len()];
        for (start, length) in holes {
            let start = start.min(wire.len());
            let end = (start + length).min(wire.len());
            missing[start..end].fill(true);
        }
        let mut talk = Talk::of(compressed());
        let mut at = 0;
        while at < wire.len() {
            let end = (at..wire.len()).find(|&next| missing[next] != missing[at]).unwrap_or(wire.len());
            talk = if missing[at] {
                talk.loses(side, (end - at) as u64)
            } else {
                talk.says(side, &wire[at..end])
            };
            at = end;
        }
        let talk = talk.close();
        for message in talk.messages.iter().filter(|message| matches!(message.kind, Kind::Text | Kind::Binary)) {
            prop_assert!(is_right(message, &texts), "{:?}", message);
        }
        let lost = talk.messages.len() < texts.len()
            || talk.messages.iter().any(|message| !message.whole || message.gap_bytes > 0 || message.inflate_error.is_some());
        let traffic = talk.session.traffic(side);
        let is_told = traffic.incomplete > 0 || traffic.fault.is_some()
            || talk.messages.iter().any(|message| message.inflate_error.is_some());
        prop_assert!(!lost || is_told, "{:?}", traffic);
    }
}

#[test]
fn times_are_those_of_the_first_and_the_last_byte() {
    let sent = frame(Side::Server, 0x81, b"abc");
    let talk = Talk::new()
        .says(Side::Server, &sent[..1])
        .says(Side::Server, &sent[1..]);
    let message = &talk.messages[0];
    assert_eq!((message.started, message.time), (Time(1), Time(2)));
}
