//! A conversation with the parser, and what came of it.

use bytes::Bytes;
use qtap_protocol::{
    Command, CommandResult, CommandTraffic, Event, Limits, Outcome, ParseError, Parser as _, Side, Time,
    postgres::Parser,
};

use crate::wire;

/// A command that ended.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) command: Command,
    pub(crate) result: Option<CommandResult>,
    pub(crate) outcome: Outcome,
    pub(crate) traffic: CommandTraffic,
}

impl Done {
    /// Statement, and kind of result.
    pub(crate) fn brief(&self) -> (String, &'static str) {
        (
            self.command.statement().into_owned(),
            self.result.as_ref().map_or("", |result| result.kind),
        )
    }

    pub(crate) fn result(&self) -> &CommandResult {
        self.result.as_ref().expect("a result")
    }
}

/// The commands of events, in the order of their ends.
pub(crate) fn done(events: &[Event]) -> Vec<Done> {
    let begun = |wanted| {
        events.iter().find_map(|event| match event {
            Event::Command { key, command, .. } if *key == wanted => Some((**command).clone()),
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
    parser: Parser,
    pub(crate) events: Vec<Event>,
    pub(crate) result: Result<(), ParseError>,
    pub(crate) now: u64,
}

impl Talk {
    /// Logged in.
    pub(crate) fn new() -> Self {
        let mut talk = Self::with(false);
        talk.client(wire::startup(&[
            "user",
            "alice",
            "database",
            "shop",
            "application_name",
            "till",
        ]));
        talk.server([wire::message(b'R', &[0; 4]), wire::ready(b'I')].concat());
        talk
    }

    pub(crate) fn with(midstream: bool) -> Self {
        Self {
            parser: Parser::new(Limits::default(), midstream),
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

    pub(crate) fn gap(&mut self, side: Side, length: u64) -> &mut Self {
        self.now += 1;
        self.parser
            .gap(side, length, Time(self.now), &mut self.events)
            .unwrap();
        self
    }

    pub(crate) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += seconds * 1_000_000_000;
        self
    }

    pub(crate) fn expire(&mut self) -> &mut Self {
        self.now += 1;
        self.parser.expire(Time(self.now), &mut self.events);
        self
    }

    pub(crate) fn done(&self) -> Vec<Done> {
        done(&self.events)
    }

    pub(crate) fn close(&mut self) -> Vec<Done> {
        self.now += 1;
        self.parser.close(Time(self.now), &mut self.events);
        self.done()
    }
}
