//! A parser fed by hand, and its events as short text.

use bytes::Bytes;
use qtap_protocol::{Event, Limits, Parser as _, Side, Time, http1::Parser};

/// A parser with what it said so far.
pub(crate) struct Talk {
    pub(crate) parser: Parser,
    pub(crate) events: Vec<Event>,
    clock: u64,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self {
            parser: Parser::new(Limits::default(), false),
            events: Vec::new(),
            clock: 0,
        }
    }

    pub(crate) fn midstream() -> Self {
        Self {
            parser: Parser::new(Limits::default(), true),
            ..Self::new()
        }
    }

    fn tick(&mut self) -> Time {
        self.clock += 1;
        Time(self.clock)
    }

    fn send(mut self, side: Side, data: &[u8]) -> Self {
        let time = self.tick();
        self.parser
            .bytes(side, Bytes::copy_from_slice(data), time, &mut self.events)
            .unwrap();
        self
    }

    pub(crate) fn client(self, data: impl AsRef<[u8]>) -> Self {
        self.send(Side::Client, data.as_ref())
    }

    pub(crate) fn server(self, data: impl AsRef<[u8]>) -> Self {
        self.send(Side::Server, data.as_ref())
    }

    pub(crate) fn gap(mut self, side: Side, length: u64) -> Self {
        let time = self.tick();
        self.parser.gap(side, length, time, &mut self.events).unwrap();
        self
    }

    pub(crate) fn eof(mut self, side: Side) -> Self {
        let time = self.tick();
        self.parser.eof(side, time, &mut self.events);
        self
    }

    pub(crate) fn close(mut self) -> Self {
        let time = self.tick();
        self.parser.close(time, &mut self.events);
        self
    }

    /// What was said, one short text an event, neighbouring body pieces joined.
    pub(crate) fn said(&self) -> Vec<String> {
        crate::fuzz_body::normalise(self.events.clone())
            .iter()
            .map(brief)
            .collect()
    }

    /// Checks what was said.
    #[track_caller]
    pub(crate) fn says(self, expected: &[&str]) -> Self {
        assert_eq!(self.said(), expected);
        self
    }

    /// The single event that `pick` finds.
    #[track_caller]
    pub(crate) fn find<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> T {
        let mut found: Vec<T> = self.events.iter().filter_map(pick).collect();
        assert_eq!(found.len(), 1, "exactly one");
        found.remove(0)
    }
}

const fn letter(side: Side) -> &'static str {
    match side {
        Side::Client => "c",
        Side::Server => "s",
    }
}

/// `1` is the key, `c` and `s` the sides.
pub(crate) fn brief(event: &Event) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match event {
        Event::RequestHead { key, head, .. } => {
            format!("{} {} {}", key.0, text(&head.method), text(&head.target))
        }
        Event::Body { key, side, data, .. } => format!("{}{} body {}", key.0, letter(*side), text(data)),
        Event::BodyGap {
            key, side, length, ..
        } => format!("{}{} gap {length}", key.0, letter(*side)),
        Event::Trailers {
            key, side, fields, ..
        } => {
            let fields: Vec<_> = fields
                .iter()
                .map(|field| format!("{}={}", text(&field.name), text(&field.value)))
                .collect();
            format!("{}{} trailers {}", key.0, letter(*side), fields.join(","))
        }
        Event::Interim { key, status, .. } => format!("{} interim {status}", key.0),
        Event::ResponseHead { key, head, .. } => format!("{} {}", key.0, head.status),
        Event::HalfEnd { key, side, .. } => format!("{}{} end", key.0, letter(*side)),
        Event::End { key, outcome, .. } => format!("{} {outcome:?}", key.0),
        Event::Upgraded {
            key,
            to,
            client,
            server,
            ..
        } => {
            format!("{} to {to:?} c[{}] s[{}]", key.0, text(client), text(server))
        }
        Event::Resync {
            side,
            reason,
            dropped,
        } => format!("{} resync {dropped} {reason}", letter(*side)),
        Event::Orphan { bytes } => format!("orphan {bytes}"),
        Event::Command { .. }
        | Event::CommandNamed { .. }
        | Event::CommandEnd { .. }
        | Event::Query { .. }
        | Event::QueryEnd { .. }
        | Event::StartTls { .. } => {
            panic!("no event of HTTP")
        }
    }
}
