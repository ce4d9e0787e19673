//! A conversation with the parser, and what came of it.

use qtap_protocol::{CommandResult, Limits, mysql};

pub(crate) use crate::commands::{Done, Talk, done};
use crate::wire::*;

/// What both ends can in most tests.
pub(crate) const USUAL: u32 = PROTOCOL_41
    | CONNECT_WITH_DB
    | PLUGIN_AUTH
    | CONNECT_ATTRIBUTES
    | SESSION_TRACK
    | DEPRECATE_EOF
    | LONG_PASSWORD;

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
        Self::with_flags(USUAL, 0)
    }

    /// Logged in, both ends having these capabilities.
    pub(crate) fn with_flags(flags: u32, mariadb: u32) -> Self {
        let mut talk = Self::with(false);
        talk.server(greeting(flags, mariadb))
            .client(login(1, flags, mariadb, "shop", "till"))
            .server(packet(2, &ok(0, 0, AUTOCOMMIT)));
        talk
    }

    pub(crate) fn with(midstream: bool) -> Self {
        Self::with_parser(mysql::start(Limits::default(), midstream))
    }

    /// A query, and payloads of its reply.
    pub(crate) fn ask(&mut self, statement: &str, payloads: &[Vec<u8>]) -> &mut Self {
        self.client(query(statement)).server(reply(payloads))
    }

    pub(crate) fn briefs(&self) -> Vec<(String, &'static str)> {
        self.done().iter().map(Done::brief).collect()
    }
}
