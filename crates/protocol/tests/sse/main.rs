//! Event streams: P-S1 of `protocols.md` §6, the rules of the WHATWG for `text/event-stream`, and properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may fail by panicking, in its helpers too"
)]

#[path = "../../fuzz/bodies/sse.rs"]
mod fuzz_body;

use std::io::Write;

use proptest::prelude::*;
use qtap_protocol::encoding::StreamDecoder;
use qtap_protocol::sse::{Decoder, ServerEvent, Traffic, is_event_stream};
use qtap_protocol::{Time, encoding::DecodeError};

fn read(text: &str) -> (Traffic, Vec<ServerEvent>) {
    let (mut decoder, mut out) = (Decoder::new(1 << 10), Vec::new());
    decoder.bytes(text.as_bytes(), Time(1), &mut out);
    decoder.close();
    (decoder.traffic().clone(), out)
}

fn data(text: &str) -> Vec<String> {
    let (_, events) = read(text);
    events
        .iter()
        .map(|event| String::from_utf8(event.data.to_vec()).unwrap())
        .collect()
}

/// The examples of the standard, 9.2.6 "Interpreting an event stream".
#[test]
fn p_s1_the_examples_of_the_standard() {
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    let (traffic, events) =
        read(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n");
    assert_eq!((traffic.events, traffic.comments, traffic.incomplete), (2, 1, 1));
    assert_eq!(events[0].id.as_deref(), Some("1"));
    assert_eq!(
        (events[1].id.as_deref(), &events[1].data[..]),
        (Some(""), &b"second event"[..])
    );
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn p_s1_names_ids_retry_and_comments() {
    let (traffic, events) = read(concat!(
        "\u{feff}retry: 2500\nretry: x1\n\n",
        "event: delta\nid: a\u{0}b\nid: 41\ndata: {\"n\":1}\n\n",
        "ignored: field\n: keep-alive\n\n",
        "event: done\n\n",
        "data: last\n\n",
    ));
    assert_eq!((traffic.events, traffic.comments), (2, 1));
    assert_eq!(
        (traffic.retry_ms, traffic.last_id.as_deref()),
        (Some(2500), Some("41"))
    );
    assert_eq!((events[0].name.as_str(), events[0].length), ("delta", 7));
    assert_eq!(events[1].name, "", "a name does not outlive its event");
    assert_eq!((traffic.bytes, traffic.largest), (11, 7));
}

#[test]
fn line_ends_of_all_three_kinds() {
    assert_eq!(data("data: a\r\ndata: b\r\n\r\n"), ["a\nb"]);
    assert_eq!(data("data: a\rdata: b\r\r"), ["a\nb"]);
    assert_eq!(data("data: a\n\r\ndata: b\r\n\n"), ["a", "b"]);
}

#[test]
fn behind_a_hole_the_next_event_begins_after_a_blank_line() {
    let (mut decoder, mut out) = (Decoder::new(100), Vec::new());
    decoder.bytes(b"data: one\n\ndata: tw", Time(1), &mut out);
    decoder.gap();
    decoder.bytes(b"o\ndata: half\n\ndata: three\n\n", Time(2), &mut out);
    let read: Vec<_> = out.iter().map(|event| &event.data[..]).collect();
    assert_eq!(read, [&b"one"[..], b"three"]);
    assert_eq!(decoder.traffic().incomplete, 1);
}

#[test]
fn only_the_beginning_of_long_data_is_kept() {
    let (mut decoder, mut out) = (Decoder::new(4), Vec::new());
    decoder.bytes(b"data: abc\ndata: def\n\ndata: x\n\n", Time(1), &mut out);
    assert_eq!(
        (&out[0].data[..], out[0].truncated, out[0].length),
        (&b"abc\n"[..], true, 7)
    );
    assert!(!out[1].truncated);
}

#[test]
fn content_types() {
    assert!(is_event_stream(b"text/event-stream; charset=utf-8") && is_event_stream(b"Text/Event-Stream"));
    assert!(!is_event_stream(b"text/event-streams") && !is_event_stream(b"text/plain"));
}

const EVENTS: &[&str] = &[
    "data: one\n\n",
    "data: two, somewhat longer\n\n",
    "event: end\ndata: three\n\n",
];

/// Each event coded and flushed on its own, as servers do.
fn coded(coding: &str) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    macro_rules! by {
        ($encoder:expr, $inner:ident) => {{
            let mut encoder = $encoder;
            for event in EVENTS {
                encoder.write_all(event.as_bytes()).unwrap();
                encoder.flush().unwrap();
                pieces.push(std::mem::take(encoder.$inner()));
            }
        }};
    }
    let level = flate2::Compression::default();
    match coding {
        "gzip" => by!(flate2::write::GzEncoder::new(Vec::new(), level), get_mut),
        "deflate" => by!(flate2::write::ZlibEncoder::new(Vec::new(), level), get_mut),
        "raw" => by!(flate2::write::DeflateEncoder::new(Vec::new(), level), get_mut),
        "br" => by!(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22), get_mut),
        "zstd" => by!(zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap(), get_mut),
        other => panic!("{other}"),
    }
    pieces
}

/// P-B1: each event is there as soon as its coded bytes are, not at the end.
#[test]
fn coded_streams_are_decoded_while_they_pass() {
    for coding in ["gzip", "deflate", "raw", "br", "zstd"] {
        let name = if coding == "raw" { "deflate" } else { coding };
        for step in [1, 3, usize::MAX] {
            let mut decoder = StreamDecoder::new(name).unwrap().unwrap();
            let (mut events, mut out) = (Decoder::new(100), Vec::new());
            for (number, piece) in coded(coding).iter().enumerate() {
                for part in piece.chunks(step) {
                    decoder
                        .push(part, |text| events.bytes(text, Time(1), &mut out))
                        .unwrap();
                }
                assert_eq!(out.len(), number + 1, "{coding} in steps of {step}");
            }
            assert_eq!(&out[2].data[..], b"three");
        }
    }
}

#[test]
fn codings_that_cannot_be_removed_are_said() {
    assert!(StreamDecoder::new("identity").unwrap().is_none());
    assert!(matches!(StreamDecoder::new("x"), Err(DecodeError::Unknown(_))));
    assert!(matches!(
        StreamDecoder::new("gzip, br"),
        Err(DecodeError::TooMany(2))
    ));
    let mut decoder = StreamDecoder::new("gzip").unwrap().unwrap();
    assert!(decoder.push(b"this is no gzip at all", |_| {}).is_err());
    assert!(decoder.push(b"more", |_| {}).is_err(), "and stays so");
}

/// P-B3.
#[test]
fn a_bomb_is_not_decoded() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b'x'; 8 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let (mut decoder, mut decoded) = (StreamDecoder::new("gzip").unwrap().unwrap(), 0);
    assert!(decoder.push(&bomb, |piece| decoded += piece.len()).is_err());
    assert!(decoded <= bomb.len() * 200 + (2 << 20), "{decoded}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

    #[test]
    fn arbitrary_scripts_keep_every_rule(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_body::run(&data);
    }

    #[test]
    fn lost_bytes_never_make_a_wrong_event(
        count in 1_usize..30,
        holes in prop::collection::vec((0_usize..600, 1_usize..60), 1..4),
    ) {
        let texts: Vec<String> = (0..count).map(|number| format!("{{\"number\":{number}}}")).collect();
        let wire: Vec<u8> = texts.iter().flat_map(|text| format!("id: 1\ndata: {text}\n\n").into_bytes()).collect();
        let mut missing = vec![false; wire.len()];
        for (start, length) in holes {
            let start = start.min(wire.len());
            let end = (start + length).min(wire.len());
            missing[start..end].fill(true);
        }
        let (mut decoder, mut out) = (Decoder::new(1 << 10), Vec::new());
        let mut at = 0;
        while at < wire.len() {
            let end = (at..wire.len()).find(|&next| missing[next] != missing[at]).unwrap_or(wire.len());
            if missing[at] {
                decoder.gap();
            } else {
                decoder.bytes(&wire[at..end], Time(1), &mut out);
            }
            at = end;
        }
        decoder.close();
        for event in &out {
            prop_assert!(texts.iter().any(|text| event.data == text.as_bytes()), "{:?}", event);
        }
        prop_assert!(out.len() == texts.len() || decoder.traffic().incomplete > 0);
    }
}
