//! One run of the PostgreSQL parser over a script of bytes, gaps and other calls made from arbitrary data.
//! Shared by the fuzz target and by the property tests; panics when a rule of `protocols.md` is broken.

use std::collections::HashSet;

use bytes::Bytes;
use qtap_protocol::{Event, Limits, ParseError, Parser as _, Side, Time, postgres::Parser};

/// Fragments that make arbitrary data look like traffic often enough to get deep.
const WORDS: [&[u8]; 48] = [
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"\0\0\0\x08\x04\xd2\x16\x30",
    b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
    b"\0\0\0\x13\0\x03\0\0user\0hal\0\0\0",
    b"S",
    b"N",
    b"R\0\0\0\x08\0\0\0\0",
    b"p\0\0\0\x0bhunter\0",
    b"Z\0\0\0\x05I",
    b"Z\0\0\0\x05T",
    b"Z\0\0\0\x05E",
    b"Q\0\0\0\x0dselect 1\0",
    b"Q\0\0\0\x24ALTER USER a PASSWORD 'hunter2'\0",
    b"Q\0\0\0\x05\0",
    b"P\0\0\0\x10\0select 2\0\0\0",
    b"P\0\0\0\x11n\0select 3\0\0\0",
    b"B\0\0\0\x0c\0\0\0\0\0\0\0\0",
    b"B\0\0\0\x0d\0n\0\0\0\0\0\0\0",
    b"D\0\0\0\x06P\0",
    b"D\0\0\0\x07Sn\0",
    b"E\0\0\0\x09\0\0\0\0\0",
    b"C\0\0\0\x07Sn\0",
    b"S\0\0\0\x04",
    b"H\0\0\0\x04",
    b"X\0\0\0\x04",
    b"1\0\0\0\x04",
    b"2\0\0\0\x04",
    b"3\0\0\0\x04",
    b"n\0\0\0\x04",
    b"s\0\0\0\x04",
    b"t\0\0\0\x06\0\0",
    b"T\0\0\0\x1a\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
    b"D\0\0\0\x0b\0\x01\0\0\0\x011",
    b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff",
    b"C\0\0\0\x0dSELECT 1\0",
    b"C\0\0\0\x0fINSERT 0 3\0",
    b"I\0\0\0\x04",
    b"E\0\0\0\x12SERROR\0C42601\0\0",
    b"N\0\0\0\x0cSNOTICE\0\0",
    b"A\0\0\0\x0c\0\0\0\x01a\0b\0",
    b"G\0\0\0\x07\0\0\0",
    b"d\0\0\0\x061\n",
    b"c\0\0\0\x04",
    b"W\0\0\0\x07\0\0\0",
    b"Q\0\0\0\x40half of it",
    b"D\x3f\xff\xff\xff",
    b"\0",
    b"\xff\xff\xff\xff\xff",
];

/// One call of the parser.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    /// Bytes of a side.
    Bytes(Side, Vec<u8>),
    /// Missing bytes.
    Gap(Side, u64),
    /// Forced search.
    Resync(Side),
    /// Commands expire.
    Expire,
}

/// Makes a script of calls from `data`.
pub(crate) fn script(data: &[u8]) -> Vec<Call> {
    let mut calls = vec![Call::Bytes(Side::Client, WORDS[3].to_vec())];
    let mut bytes = data.iter().copied();
    if data.first().is_some_and(|first| first & 3 == 0) {
        calls.clear();
    }
    while let (Some(kind), Some(value)) = (bytes.next(), bytes.next()) {
        let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
        let word = |index: u8| WORDS[usize::from(index) % WORDS.len()];
        calls.push(match kind >> 1 {
            0..=60 => Call::Bytes(side, word(value).to_vec()),
            61..=95 => Call::Bytes(side, [word(value), word(value.wrapping_add(kind))].concat()),
            96..=112 => Call::Bytes(side, bytes.by_ref().take(usize::from(value) % 64).collect()),
            113..=123 => Call::Gap(side, u64::from(value) + 1),
            124..=125 => Call::Resync(side),
            _ => Call::Expire,
        });
    }
    calls
}

/// Runs a script, each piece cut after every `step` bytes, and closes. Ends where TLS begins.
pub(crate) fn play(calls: &[Call], midstream: bool, step: usize) -> (Vec<Event>, Result<(), ParseError>) {
    let limits = Limits {
        statement_bytes: 512,
        preview_bytes: 64,
        pending_commands: 8,
        ..Limits::default()
    };
    let (mut parser, mut out) = (Parser::new(limits, midstream), Vec::new());
    let mut result = Ok(());
    for (index, call) in calls.iter().enumerate() {
        let time = Time((index as u64 + 1) * 400_000_000);
        match call {
            Call::Bytes(side, data) => {
                for piece in data.chunks(step) {
                    match out.last_mut() {
                        Some(Event::StartTls { client, server, .. }) => {
                            let rest = if *side == Side::Client { client } else { server };
                            *rest = [&rest[..], piece].concat().into();
                        }
                        _ => result = parser.bytes(*side, Bytes::copy_from_slice(piece), time, &mut out),
                    }
                    if result.is_err() {
                        break;
                    }
                }
            }
            Call::Gap(side, length) => result = parser.gap(*side, *length, time, &mut out),
            Call::Resync(side) => parser.resync(*side, time, &mut out),
            Call::Expire => parser.expire(Time(time.0.saturating_sub(2_000_000_000)), &mut out),
        }
        for side in [Side::Client, Side::Server] {
            assert!(parser.buffered(side) <= 160 << 10, "memory is bounded");
        }
        if result.is_err() || matches!(out.last(), Some(Event::StartTls { .. })) {
            break;
        }
    }
    parser.close(Time((calls.len() as u64 + 1) * 400_000_000), &mut out);
    (out, result)
}

/// One end for each command, and no password.
pub(crate) fn check(events: &[Event]) {
    let mut open = HashSet::new();
    let mut last_key = 0;
    for event in events {
        match event {
            Event::Command {
                key,
                command,
                started,
                time,
            } => {
                assert!(key.0 > last_key, "keys rise and are not used again");
                last_key = key.0;
                assert!(open.insert(key.0) && started <= time);
                assert!(!command.statement().contains("hunter2"), "{command:?}");
                assert!(command.held() <= 4096, "what is kept of a statement is bounded");
            }
            Event::CommandEnd { key, .. } => assert!(open.remove(&key.0), "ends once, after it began"),
            Event::Resync { .. } | Event::Orphan { .. } | Event::StartTls { .. } => {}
            other => panic!("no event of this parser: {other:?}"),
        }
    }
    assert!(open.is_empty(), "every command ends");
}

/// The whole check.
pub(crate) fn run(data: &[u8]) {
    let Some((flags, rest)) = data.split_first() else {
        return;
    };
    let (midstream, step) = (flags & 1 == 1, usize::from(flags >> 1).max(1));
    let calls = script(rest);
    let (whole, result) = play(&calls, midstream, usize::MAX);
    check(&whole);
    let (split, split_result) = play(&calls, midstream, step);
    assert_eq!(whole, split, "the same events however the bytes are split");
    assert_eq!(result, split_result);
}
