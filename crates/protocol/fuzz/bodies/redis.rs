//! One run of the Redis parser over a script of bytes, gaps and other calls made from arbitrary data.
//! Shared by the fuzz target and by the property tests; panics when a rule of `protocols.md` is broken.

use std::collections::HashSet;

use bytes::Bytes;
use qtap_protocol::{Event, Limits, ParseError, Parser as _, Side, Time, redis::Parser};

/// Fragments that make arbitrary data look like traffic often enough to get deep.
const WORDS: [&[u8]; 48] = [
    b"*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
    b"*1\r\n$11\r\nUNSUBSCRIBE\r\n",
    b"*1\r\n$7\r\nMONITOR\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n",
    b"*2\r\n$4\r\nAUTH\r\n$6\r\nhunter\r\n",
    b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nhunter\r\n",
    b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$6\r\nhunter\r\n",
    b"PING\r\n",
    b"SET a \"b c\"\r\n",
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"-ERR no\r\n",
    b":1\r\n",
    b":-7\r\n",
    b"$1\r\nv\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"*2\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    b"*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n",
    b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
    b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    b">2\r\n+invalidate\r\n_\r\n",
    b"%1\r\n+a\r\n:1\r\n",
    b"~2\r\n#t\r\n#f\r\n",
    b",1.5\r\n",
    b"(123456789\r\n",
    b"!5\r\nERR x\r\n",
    b"=5\r\ntxt:a\r\n",
    b"|1\r\n+k\r\n+v\r\n",
    b"$?\r\n;1\r\na\r\n;0\r\n",
    b"*?\r\n:1\r\n.\r\n",
    b"*1\r\n*1\r\n",
    b"$20\r\nabc",
    b"defgh",
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$536870913\r\n",
    b"\x00\xff\x16\x03",
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
    let mut calls = Vec::new();
    let mut bytes = data.iter().copied();
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

/// Runs a script, each piece cut after every `step` bytes, and closes.
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
                    result = parser.bytes(*side, Bytes::copy_from_slice(piece), time, &mut out);
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
        if result.is_err() {
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
                let words = command.statement();
                assert!(
                    !(words.starts_with("AUTH") && words.contains("hunter")),
                    "{words}"
                );
                assert!(
                    !(words.starts_with("HELLO") && words.contains("hunter")),
                    "{words}"
                );
                assert!(words.len() <= 4096, "what is kept of a statement is bounded");
            }
            Event::CommandEnd { key, .. } => assert!(open.remove(&key.0), "ends once, after it began"),
            Event::Resync { .. } | Event::Orphan { .. } => {}
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
