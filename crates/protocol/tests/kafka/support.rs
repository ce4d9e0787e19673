//! A conversation with the parser, and what came of it.

use std::sync::Arc;

use bytes::Bytes;
use qtap_protocol::kafka::{Parser, Topics};
use qtap_protocol::{
    Command, CommandResult, CommandTraffic, Event, Limits, Outcome, ParseError, Parser as _, Side, Time,
};

/// A command that ended.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) command: Command,
    pub(crate) result: Option<CommandResult>,
    pub(crate) outcome: Outcome,
    pub(crate) traffic: CommandTraffic,
}

impl Done {
    pub(crate) fn statement(&self) -> String {
        self.command.statement().into_owned()
    }

    pub(crate) fn result(&self) -> &CommandResult {
        self.result.as_ref().expect("it has a result")
    }

    /// Code of its error.
    pub(crate) fn code(&self) -> &str {
        self.result().error.as_ref().map_or("", |error| &error.code)
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
    pub(crate) fn new() -> Self {
        Self::with(false, Arc::default())
    }

    pub(crate) fn midstream() -> Self {
        Self::with(true, Arc::default())
    }

    pub(crate) fn with(midstream: bool, topics: Arc<Topics>) -> Self {
        Self {
            parser: Parser::new(Limits::default(), midstream, topics),
            events: Vec::new(),
            result: Ok(()),
            now: 0,
        }
    }

    fn bytes(&mut self, side: Side, data: &[u8]) -> &mut Self {
        self.now += 1;
        if self.result.is_ok() {
            let data = Bytes::copy_from_slice(data);
            self.result = self.parser.bytes(side, data, Time(self.now), &mut self.events);
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
        let length = length as u64;
        self.parser
            .gap(side, length, Time(self.now), &mut self.events)
            .unwrap();
        self
    }

    pub(crate) fn wait_ms(&mut self, milliseconds: u64) -> &mut Self {
        self.now += milliseconds * 1_000_000;
        self
    }

    pub(crate) fn expire(&mut self) -> &mut Self {
        self.now += 1;
        self.parser.expire(Time(self.now), &mut self.events);
        self
    }

    pub(crate) fn resync(&mut self, side: Side) -> &mut Self {
        self.now += 1;
        self.parser.resync(side, Time(self.now), &mut self.events);
        self
    }

    pub(crate) fn done(&self) -> Vec<Done> {
        done(&self.events)
    }

    /// The last command that ended.
    pub(crate) fn last(&self) -> Done {
        self.done().pop().expect("a command ended")
    }

    pub(crate) fn close(&mut self) -> Vec<Done> {
        self.now += 1;
        self.parser.close(Time(self.now), &mut self.events);
        self.done()
    }

    pub(crate) fn count(&self, wanted: fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    pub(crate) fn orphans(&self) -> usize {
        self.count(|event| matches!(event, Event::Orphan { .. }))
    }

    pub(crate) fn resyncs(&self) -> usize {
        self.count(|event| matches!(event, Event::Resync { .. }))
    }
}
