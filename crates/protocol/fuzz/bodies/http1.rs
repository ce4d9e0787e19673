//! One run of the HTTP/1 parser over a script of bytes, gaps and other calls made from arbitrary data.
//! Shared by the fuzz target and by the property tests; panics when a rule of `protocols.md` is broken.

use std::collections::HashMap;

use bytes::Bytes;
use qtap_protocol::{Event, Limits, ParseError, Parser as _, Side, Time, http1::Parser};

/// Fragments that make arbitrary data look like traffic often enough to get deep.
const WORDS: [&[u8]; 32] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /p HTTP/1.1\r\n",
    b"HEAD /h HTTP/1.0\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"BREW /pot HTTP/1.1\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n",
    b"HTTP/1.1 304 Not Modified\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 40\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Upgrade: websocket\r\n",
    b"X: folded\r\n  more\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nT: 1\r\n\r\n",
    b"a;x=y\r\n",
    b"hello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b": no name\r\n",
    b"\x00\xff\x16\x03",
];

/// One call of the parser.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Bytes of a side.
    Bytes(Side, Vec<u8>),
    /// Missing bytes.
    Gap(Side, u64),
    /// End of a side.
    Eof(Side),
    /// Forced search.
    Resync(Side),
    /// Transactions expire.
    Expire,
}

/// Makes a script of calls from `data`.
pub(crate) fn script(data: &[u8]) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut bytes = data.iter().copied();
    while let (Some(kind), Some(value)) = (bytes.next(), bytes.next()) {
        let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
        calls.push(match kind >> 1 {
            0..=90 => Call::Bytes(side, words(value, kind)),
            91..=110 => Call::Bytes(side, bytes.by_ref().take(usize::from(value) % 64).collect()),
            111..=122 => Call::Gap(side, u64::from(value) + 1),
            123..=124 => Call::Resync(side),
            125..=126 => Call::Expire,
            _ => Call::Eof(side),
        });
    }
    calls
}

/// One word, or two in one piece.
fn words(value: u8, kind: u8) -> Vec<u8> {
    let word = |index: u8| WORDS[usize::from(index) % WORDS.len()];
    let second = if kind > 100 { word(value / 8 + kind) } else { b"" };
    [word(value), second].concat()
}

/// Runs a script, each piece cut after every `step` bytes, and closes.
pub(crate) fn play(calls: &[Call], midstream: bool, step: usize) -> (Vec<Event>, Result<(), ParseError>) {
    let limits = Limits {
        head_bytes: 2048,
        head_fields: 4,
        ..Limits::default()
    };
    let (mut parser, mut out) = (Parser::new(limits, midstream), Vec::new());
    let mut result = Ok(());
    for (index, call) in calls.iter().enumerate() {
        let time = Time(index as u64 + 1);
        match call {
            Call::Bytes(side, data) => result = feed(&mut parser, *side, data, step, time, &mut out),
            Call::Gap(side, length) => result = parser.gap(*side, *length, time, &mut out),
            Call::Eof(side) => parser.eof(*side, time, &mut out),
            Call::Resync(side) => parser.resync(*side, time, &mut out),
            Call::Expire => parser.expire(Time(time.0.saturating_sub(5)), &mut out),
        }
        assert!(
            parser.buffered(Side::Client) <= (1 << 20) + (64 << 10),
            "memory is bounded"
        );
        assert!(parser.buffered(Side::Server) <= 64 << 10, "memory is bounded");
        if result.is_err() || is_upgraded(&out) {
            break;
        }
    }
    parser.close(Time(calls.len() as u64 + 1), &mut out);
    (out, result)
}

/// Feeds one piece in steps. What is left after a change of protocol is added to what was handed back.
fn feed(
    parser: &mut Parser,
    side: Side,
    data: &[u8],
    step: usize,
    time: Time,
    out: &mut Vec<Event>,
) -> Result<(), ParseError> {
    for piece in data.chunks(step) {
        match out.last_mut() {
            Some(Event::Upgraded { client, server, .. }) => {
                let rest = if side == Side::Client { client } else { server };
                *rest = [&rest[..], piece].concat().into();
            }
            _ => parser.bytes(side, Bytes::copy_from_slice(piece), time, out)?,
        }
    }
    Ok(())
}

fn is_upgraded(events: &[Event]) -> bool {
    matches!(events.last(), Some(Event::Upgraded { .. }))
}

/// Joins neighbouring body pieces, so that runs that differ in splits can be compared.
pub(crate) fn normalise(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), &event) {
            (
                Some(Event::Body {
                    key: last_key,
                    side: last_side,
                    data: last_data,
                    time: last_time,
                }),
                Event::Body {
                    key,
                    side,
                    data,
                    time,
                },
            ) if (key, side) == (&*last_key, &*last_side) => {
                *last_data = [&last_data[..], data].concat().into();
                *last_time = *time;
                continue;
            }
            _ => {}
        }
        joined.push(event);
    }
    joined
}

/// The order that `Event` promises, and one `End` for each `RequestHead`.
pub(crate) fn check_order(events: &[Event]) {
    let mut open: HashMap<u64, [bool; 2]> = HashMap::new();
    let mut last_key = 0;
    for event in events {
        let (key, side) = match event {
            Event::RequestHead { key, .. } => {
                assert!(key.0 > last_key, "keys rise and are not used again");
                last_key = key.0;
                assert!(open.insert(key.0, [false; 2]).is_none());
                continue;
            }
            Event::Resync { .. } | Event::Orphan { .. } => continue,
            Event::Command { .. }
            | Event::CommandNamed { .. }
            | Event::CommandEnd { .. }
            | Event::Query { .. }
            | Event::QueryEnd { .. }
            | Event::StartTls { .. } => {
                panic!("no event of HTTP")
            }
            Event::Upgraded { .. } => {
                assert!(open.is_empty(), "the last transaction ended before the upgrade");
                continue;
            }
            Event::End { key, .. } => {
                assert!(open.remove(&key.0).is_some(), "ends once, after its head");
                continue;
            }
            Event::Body { key, side, .. }
            | Event::BodyGap { key, side, .. }
            | Event::Trailers { key, side, .. }
            | Event::HalfEnd { key, side, .. } => (key, *side),
            Event::Interim { key, .. } | Event::ResponseHead { key, .. } => (key, Side::Server),
        };
        let halves = open.get_mut(&key.0).expect("belongs to an open transaction");
        assert!(!halves[side.index()], "nothing comes after the end of a half");
        halves[side.index()] = matches!(event, Event::HalfEnd { .. });
    }
    assert!(open.is_empty(), "every transaction ends");
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else {
        return;
    };
    let (midstream, step) = (flags & 1 == 1, usize::from(flags >> 1).max(1));
    let calls = script(rest);
    let (whole, result) = play(&calls, midstream, usize::MAX);
    check_order(&whole);
    let (split, split_result) = play(&calls, midstream, step);
    assert_eq!(
        normalise(whole),
        normalise(split),
        "the same events however the bytes are split"
    );
    assert_eq!(result, split_result);
}
