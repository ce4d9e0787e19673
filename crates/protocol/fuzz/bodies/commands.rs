//! One run of a parser of commands over a script of bytes, gaps and other calls made from arbitrary data.
//! Shared by the bodies of all of them; panics when a rule of `protocols.md` is broken.

use std::collections::HashSet;

use bytes::Bytes;
use qtap_protocol::{Command, Detail, Event, Limits, Outcome, ParseError, Parser, Side, Time, Values};

/// Nanoseconds from one call to the next.
const STEP_NS: u64 = 400_000_000;

/// What is tried.
pub(crate) struct Subject {
    /// Makes the parser; the flag says that it joins in the middle.
    pub(crate) parser: fn(Limits, Detail, bool) -> Box<dyn Parser>,
    /// Makes scripts of arbitrary data.
    pub(crate) script: Script,
    /// Whether a command shows what it must not.
    pub(crate) shows_secret: fn(&Command) -> bool,
    /// TLS can begin in mid-stream.
    pub(crate) can_start_tls: bool,
    /// Most bytes that a side may hold.
    pub(crate) held_bytes: usize,
}

/// How scripts are made.
#[allow(dead_code, reason = "no protocol needs all")]
pub(crate) enum Script {
    /// Of these fragments, which make arbitrary data look like traffic often enough to get deep.
    Words {
        words: &'static [&'static [u8]],
        /// What most scripts begin with.
        beginning: &'static [(Side, &'static [u8])],
    },
    /// In a way of its own.
    Own(fn(&[u8]) -> Vec<Call>),
}

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

impl Script {
    /// Makes a script of calls from `data`.
    fn of(&self, data: &[u8]) -> Vec<Call> {
        let (words, beginning) = match self {
            Self::Words { words, beginning } => (words, beginning),
            Self::Own(script) => return script(data),
        };
        let mut calls = Vec::new();
        if data.first().is_none_or(|first| first & 3 != 0) {
            calls.extend(
                beginning
                    .iter()
                    .map(|(side, data)| Call::Bytes(*side, data.to_vec())),
            );
        }
        let mut bytes = data.iter().copied();
        while let (Some(kind), Some(value)) = (bytes.next(), bytes.next()) {
            let side = if kind & 1 == 0 { Side::Client } else { Side::Server };
            let word = |index: u8| words[usize::from(index) % words.len()];
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
}

/// Settings that a number stands for.
fn detail_of(number: u8) -> Detail {
    Detail {
        values: match number & 3 {
            0 => Values::None,
            1 => Values::Keys,
            _ => Values::Full,
        },
        parameters: number & 4 != 0,
        split_statements: number & 8 != 0,
    }
}

impl Subject {
    /// Runs a script, each piece cut after every `step` bytes, and closes. Ends where TLS begins.
    fn play(
        &self,
        calls: &[Call],
        detail: Detail,
        midstream: bool,
        step: usize,
    ) -> (Vec<Event>, Result<(), ParseError>) {
        let limits = Limits {
            statement_bytes: 512,
            preview_bytes: 64,
            pending_commands: 8,
            ..Limits::default()
        };
        let (mut parser, mut out) = ((self.parser)(limits, detail, midstream), Vec::new());
        let mut result = Ok(());
        for (index, call) in calls.iter().enumerate() {
            let time = Time((index as u64 + 1) * STEP_NS);
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
                Call::Expire => {
                    parser.expire(Time(time.0.saturating_sub(5 * STEP_NS)), &mut out);
                    parser.wake(time, &mut out);
                }
            }
            assert!(
                parser.waiting() <= self.held_bytes && (parser.waiting() > 0) == parser.due().is_some(),
                "what waits is bounded and will be told"
            );
            for side in [Side::Client, Side::Server] {
                assert!(parser.buffered(side) <= self.held_bytes, "memory is bounded");
            }
            if result.is_err() || matches!(out.last(), Some(Event::StartTls { .. })) {
                break;
            }
        }
        parser.close(Time((calls.len() as u64 + 1) * STEP_NS), &mut out);
        parser.release(&mut out);
        (out, result)
    }

    /// One end for each command, and no credential.
    pub(crate) fn check(&self, events: &[Event]) {
        let (mut open, mut named) = (HashSet::new(), HashSet::new());
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
                    assert!(!(self.shows_secret)(command), "{command:?}");
                    let parameters = command.parameters.iter().map(String::len).sum::<usize>();
                    assert!(
                        command.statement().len() + parameters <= 4096,
                        "what is kept of a statement is bounded"
                    );
                }
                Event::CommandNamed { key, command } => {
                    assert!(
                        open.contains(&key.0) && named.insert(key.0),
                        "once, before its end"
                    );
                    assert!(!(self.shows_secret)(command), "{command:?}");
                }
                Event::CommandEnd { key, result, .. } => {
                    assert!(open.remove(&key.0), "ends once, after it began");
                    let result = result.as_deref().cloned().unwrap_or_default();
                    let held = result.preview.len() + result.tags.iter().map(String::len).sum::<usize>();
                    assert!(
                        held <= 64 << 10 && result.tags.len() <= 256 && result.columns.len() <= 256,
                        "what is kept of a result is bounded"
                    );
                }
                Event::Query { key } => {
                    assert!(key.0 > last_key, "keys rise and are not used again");
                    last_key = key.0;
                    assert!(open.insert(key.0));
                }
                Event::QueryEnd { key, exchange } => {
                    assert!(open.remove(&key.0), "ends once, after it began");
                    assert!(exchange.started <= exchange.sent && exchange.started <= exchange.ended);
                    let response = exchange.response.as_ref();
                    assert_eq!(response.is_some(), exchange.traffic.last_byte.is_some());
                    assert!(response.is_some() || exchange.outcome != Outcome::Complete);
                    assert!(response.is_none_or(|response| response.records.len() <= 64));
                }
                Event::Resync { .. } | Event::Orphan { .. } => {}
                Event::StartTls { .. } if self.can_start_tls => {}
                other => panic!("no event of this parser: {other:?}"),
            }
        }
        assert!(open.is_empty(), "every command ends");
    }

    /// The whole check.
    pub(crate) fn run(&self, data: &[u8]) {
        let [flags, settings, rest @ ..] = data else {
            return;
        };
        let detail = detail_of(*settings);
        let (midstream, step) = (flags & 1 == 1, usize::from(flags >> 1).max(1));
        let calls = self.script.of(rest);
        let (whole, result) = self.play(&calls, detail, midstream, usize::MAX);
        self.check(&whole);
        let (split, split_result) = self.play(&calls, detail, midstream, step);
        assert_eq!(whole, split, "the same events however the bytes are split");
        assert_eq!(result, split_result);
    }
}
