//! A conversation with the parser, and what came of it.

use qtap_protocol::{CommandResult, Limits, postgres};

pub(crate) use crate::commands::{Done, Talk, done};
use crate::wire;

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
        Self::with_parser(postgres::start(Limits::default(), midstream))
    }
}
