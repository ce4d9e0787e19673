//! What a fuzz input means for the HTTP/2 parser: how the connection begins, then pieces, gaps and other
//! calls. Shared by the fuzz target and a property test.

use std::collections::BTreeMap;

use bytes::Bytes;
use qtap_protocol::http2::{Parser, Start, looks_like_frames};
use qtap_protocol::{Event, Limits, Parser as _, Side, StreamKey, Time};

/// Least bytes that a lane may hold for good: what a search keeps, what waits for a request, a field in
/// two strings, and the piece at hand.
const HELD: usize = (256 << 10) + (256 << 10) + (512 << 10) + (64 << 10);

/// Feeds `input` to a parser and checks what must hold whatever comes in (P-M3 to P-M5).
///
/// # Panics
/// When it does not hold.
pub(crate) fn run(input: &[u8]) {
    let _ = looks_like_frames(input);
    let Some((&first, mut rest)) = input.split_first() else {
        return;
    };
    let limits = Limits {
        streams: 8,
        ..Limits::default()
    };
    let mut parser = Parser::new(
        limits,
        if first & 1 == 0 {
            Start::Preface
        } else {
            Start::Midstream
        },
    );
    let (mut events, mut clock) = (Vec::new(), 0);
    if first & 2 == 0 {
        let preface = Bytes::from_static(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        let _ = parser.bytes(Side::Client, preface, Time(0), &mut events);
        let _ = parser.bytes(
            Side::Server,
            Bytes::from_static(b"\0\0\0\x04\0\0\0\0\0"),
            Time(0),
            &mut events,
        );
    }
    // Each step: a byte that says what, and for most a length.
    while let [what, length, tail @ ..] = rest {
        clock += 1;
        let side = if what & 1 == 0 { Side::Client } else { Side::Server };
        let (length, time) = (usize::from(*length), Time(clock));
        rest = tail;
        match what >> 1 & 0x0f {
            0 => {
                let _ = parser.gap(side, length as u64, time, &mut events);
            }
            1 if length < 8 => parser.resync(side, time, &mut events),
            2 if length < 8 => parser.expire(Time(clock.saturating_sub(3)), &mut events),
            3 if length < 8 => parser.eof(side, time, &mut events),
            // A frame header, so that frames are met more often than chance allows.
            4..=9 => {
                let (payload, after) = tail.split_at(length.min(tail.len()));
                let [kind, flags, stream] = [payload.first(), payload.get(1), payload.get(2)]
                    .map(|byte| byte.copied().unwrap_or_default());
                let size = u8::try_from(payload.len()).unwrap_or_default();
                let header = [0, 0, size, kind % 11, flags, 0, 0, 0, stream % 16];
                let frame = Bytes::from([&header[..], payload].concat());
                let _ = parser.bytes(side, frame, time, &mut events);
                rest = after;
            }
            _ => {
                let (piece, after) = tail.split_at(length.min(tail.len()));
                let _ = parser.bytes(side, Bytes::copy_from_slice(piece), time, &mut events);
                rest = after;
            }
        }
        assert!(
            parser.buffered(side) <= HELD,
            "{} bytes held",
            parser.buffered(side)
        );
    }
    parser.close(Time(clock + 1), &mut events);
    check(&events);
}

/// Every transaction begins with its request, goes forward only, and ends exactly once.
fn check(events: &[Event]) {
    let mut open: BTreeMap<StreamKey, [u8; 2]> = BTreeMap::new();
    for event in events {
        // How far a half is: 0 nothing, 1 head, 2 trailers, 3 ended.
        let (key, side, from, to) = match event {
            Event::RequestHead { key, .. } => {
                assert!(open.insert(*key, [1, 0]).is_none(), "{event:?} twice");
                continue;
            }
            Event::End { key, .. } => {
                assert!(open.remove(key).is_some(), "{event:?} without request");
                continue;
            }
            Event::Interim { key, .. } => (key, Side::Server, 0..=0, 0),
            Event::ResponseHead { key, .. } => (key, Side::Server, 0..=0, 1),
            Event::Body { key, side, .. } | Event::BodyGap { key, side, .. } => (key, *side, 1..=1, 1),
            Event::Trailers { key, side, .. } => (key, *side, 1..=1, 2),
            Event::HalfEnd { key, side, .. } => (key, *side, 1..=2, 3),
            Event::Resync { .. } | Event::Orphan { .. } => continue,
            Event::Upgraded { .. } => panic!("HTTP/2 never hands over"),
            Event::Command { .. }
            | Event::CommandNamed { .. }
            | Event::CommandEnd { .. }
            | Event::Query { .. }
            | Event::QueryEnd { .. }
            | Event::StartTls { .. } => {
                panic!("no event of HTTP")
            }
        };
        let halves = open
            .get_mut(key)
            .unwrap_or_else(|| panic!("{event:?} outside its transaction"));
        let half = &mut halves[side.index()];
        assert!(from.contains(half), "{event:?} out of order, at {half}");
        *half = to;
    }
    assert!(open.is_empty(), "left open: {open:?}");
}
