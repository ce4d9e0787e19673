//! Conversations with the parsers of commands, and what came of them. Shared by their tests.

use bytes::Bytes;
use proptest::prelude::*;
use qtap_protocol::{Command, CommandResult, CommandTraffic, Event, Outcome, ParseError, Parser, Side, Time};

/// A command that ended.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) command: Command,
    pub(crate) result: Option<CommandResult>,
    pub(crate) outcome: Outcome,
    pub(crate) traffic: CommandTraffic,
}

#[allow(dead_code, reason = "no protocol needs all")]
impl Done {
    pub(crate) fn statement(&self) -> String {
        self.command.statement().into_owned()
    }

    /// Statement, and kind of result.
    pub(crate) fn brief(&self) -> (String, &'static str) {
        let kind = self.result.as_ref().map_or("", |result| result.kind);
        (self.statement(), kind)
    }

    pub(crate) fn result(&self) -> &CommandResult {
        self.result.as_ref().expect("it has a result")
    }

    /// Code of its error.
    pub(crate) fn code(&self) -> &str {
        self.result().error.as_ref().map_or("", |error| &error.code)
    }
}

/// Bursts of questions with numbers from `from` on, behind each burst the answers to it: in the same order, or from the last to the first.
#[allow(dead_code, reason = "not every protocol needs it")]
pub(crate) fn bursts(
    lengths: &[u8],
    from: u32,
    is_reversed: bool,
    ask: impl Fn(u32) -> Vec<u8>,
    answer: impl Fn(u32) -> Vec<u8>,
) -> Pieces {
    let mut next = from;
    let mut pieces = Vec::new();
    for length in lengths {
        let mut numbers: Vec<u32> = (next..next + u32::from(*length)).collect();
        next += u32::from(*length);
        pieces.extend(numbers.iter().map(|number| (Side::Client, ask(*number))));
        if is_reversed {
            numbers.reverse();
        }
        pieces.extend(numbers.iter().map(|number| (Side::Server, answer(*number))));
    }
    pieces
}

/// The commands of events, in the order of their ends.
pub(crate) fn done(events: &[Event]) -> Vec<Done> {
    // As it was told last.
    let begun = |wanted| {
        events.iter().rev().find_map(|event| match event {
            Event::Command { key, command, .. } | Event::CommandNamed { key, command } if *key == wanted => {
                Some((**command).clone())
            }
            _ => None,
        })
    };
    let ends = events.iter().filter_map(|event| match event {
        Event::CommandEnd {
            key,
            result,
            outcome,
            traffic,
            ..
        } => Some(Done {
            command: begun(*key).expect("a command begins before it ends"),
            result: result.as_deref().cloned(),
            outcome: *outcome,
            traffic: *traffic,
        }),
        _ => None,
    });
    ends.collect()
}

pub(crate) struct Talk {
    parser: Box<dyn Parser>,
    pub(crate) events: Vec<Event>,
    pub(crate) result: Result<(), ParseError>,
    pub(crate) now: u64,
}

#[allow(dead_code, reason = "no protocol needs all")]
impl Talk {
    pub(crate) fn with_parser(parser: Box<dyn Parser>) -> Self {
        Self {
            parser,
            events: Vec::new(),
            result: Ok(()),
            now: 0,
        }
    }

    fn bytes(&mut self, side: Side, data: &[u8]) -> &mut Self {
        self.now += 1;
        if self.result.is_ok() {
            self.result = self.parser.bytes(
                side,
                Bytes::copy_from_slice(data),
                Time(self.now),
                &mut self.events,
            );
        }
        self
    }

    pub(crate) fn client(&mut self, data: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(Side::Client, data.as_ref())
    }

    pub(crate) fn server(&mut self, data: impl AsRef<[u8]>) -> &mut Self {
        self.bytes(Side::Server, data.as_ref())
    }

    pub(crate) fn gap(&mut self, side: Side, length: usize) -> &mut Self {
        self.now += 1;
        self.parser
            .gap(side, length as u64, Time(self.now), &mut self.events)
            .unwrap();
        self
    }

    pub(crate) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.wait_ms(seconds * 1000)
    }

    pub(crate) fn wait_ms(&mut self, milliseconds: u64) -> &mut Self {
        self.now += milliseconds * 1_000_000;
        self
    }

    pub(crate) fn resync(&mut self, side: Side) -> &mut Self {
        self.parser.resync(side, Time(self.now), &mut self.events);
        self
    }

    pub(crate) fn expire(&mut self) -> &mut Self {
        self.now += 1;
        self.parser.expire(Time(self.now), &mut self.events);
        self
    }

    /// Wakes the parser after so much time of its worker.
    pub(crate) fn wake_after(&mut self, milliseconds: u64) -> &mut Self {
        self.wait_ms(milliseconds);
        self.parser.wake(Time(self.now), &mut self.events);
        self
    }

    /// Memory is short.
    pub(crate) fn release(&mut self) -> &mut Self {
        self.parser.release(&mut self.events);
        self
    }

    pub(crate) fn due(&self) -> Option<Time> {
        self.parser.due()
    }

    /// Bytes of what waits.
    pub(crate) fn waiting(&self) -> usize {
        self.parser.waiting()
    }

    pub(crate) fn done(&self) -> Vec<Done> {
        done(&self.events)
    }

    pub(crate) fn briefs(&self) -> Vec<(String, &'static str)> {
        self.done().iter().map(Done::brief).collect()
    }

    /// The last command that ended.
    pub(crate) fn last(&self) -> Done {
        self.done().pop().expect("a command ended")
    }

    /// The connection ends.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.now += 1;
        self.parser.close(Time(self.now), &mut self.events);
        self
    }

    /// The connection ends, and nothing is waited for.
    pub(crate) fn close(&mut self) -> Vec<Done> {
        self.end().release();
        self.done()
    }

    fn count(&self, wanted: fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    pub(crate) fn orphans(&self) -> usize {
        self.count(|event| matches!(event, Event::Orphan { .. }))
    }

    pub(crate) fn resyncs(&self) -> usize {
        self.count(|event| matches!(event, Event::Resync { .. }))
    }
}

/// Pieces of both sides, in order.
pub(crate) type Pieces = Vec<(Side, Vec<u8>)>;

/// Where in which piece how many bytes are missing.
pub(crate) type Hole = (prop::sample::Index, usize, usize);

/// Feeds pieces with holes in them, and closes. The result is that of the first call that failed.
pub(crate) fn lossy(
    parser: &mut dyn Parser,
    pieces: &Pieces,
    holes: &[Hole],
) -> (Vec<Event>, Result<(), ParseError>) {
    let mut out = Vec::new();
    let holes: Vec<_> = holes
        .iter()
        .map(|(index, from, length)| (index.index(pieces.len()), *from, *length))
        .collect();
    let mut result = Ok(());
    for (index, (side, data)) in pieces.iter().enumerate() {
        let time = Time(index as u64 + 1);
        let hole = holes.iter().find(|hole| hole.0 == index);
        let (from, to) = hole.map_or((data.len(), data.len()), |(_, from, length)| {
            (*from.min(&data.len()), (from + length).min(data.len()))
        });
        result = parser
            .bytes(*side, Bytes::copy_from_slice(&data[..from]), time, &mut out)
            .and_then(|()| parser.gap(*side, (to - from) as u64, time, &mut out))
            .and_then(|()| parser.bytes(*side, Bytes::copy_from_slice(&data[to..]), time, &mut out));
        if result.is_err() {
            break;
        }
    }
    parser.close(Time(u64::MAX), &mut out);
    parser.release(&mut out);
    (out, result)
}

/// Feeds pieces cut after every `step` bytes. Nothing else than commands and their ends may come of it.
pub(crate) fn split(parser: &mut dyn Parser, pieces: &Pieces, step: usize) -> Vec<Event> {
    let mut out = Vec::new();
    for (side, data) in pieces {
        for piece in data.chunks(step) {
            parser
                .bytes(*side, Bytes::copy_from_slice(piece), Time(1), &mut out)
                .unwrap();
        }
    }
    let is_other = |event: &Event| !matches!(event, Event::Command { .. } | Event::CommandEnd { .. });
    assert!(!out.iter().any(is_other), "{out:?}");
    out
}
