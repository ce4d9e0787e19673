//! A conversation with the parser, and what came of it.

use qtap_protocol::{Detail, Limits, mysql};

pub(crate) use crate::commands::{Talk, done};
use crate::wire::*;

/// What both ends can in most tests.
pub(crate) const USUAL: u32 = PROTOCOL_41
    | CONNECT_WITH_DB
    | PLUGIN_AUTH
    | CONNECT_ATTRIBUTES
    | SESSION_TRACK
    | DEPRECATE_EOF
    | LONG_PASSWORD;

impl Talk {
    /// Logged in.
    pub(crate) fn new() -> Self {
        Self::with_flags(USUAL, 0)
    }

    /// Logged in, both ends having these capabilities.
    pub(crate) fn with_flags(flags: u32, mariadb: u32) -> Self {
        Self::log_in(Self::with(false), flags, mariadb)
    }

    /// Logged in.
    pub(crate) fn with_flags_and_detail(flags: u32, detail: Detail) -> Self {
        Self::log_in(Self::with_detail(detail, false), flags, 0)
    }

    fn log_in(mut talk: Self, flags: u32, mariadb: u32) -> Self {
        talk.server(greeting(flags, mariadb))
            .client(login(1, flags, mariadb, "shop", "till"))
            .server(packet(2, &ok(0, 0, AUTOCOMMIT)));
        talk
    }

    pub(crate) fn with(midstream: bool) -> Self {
        Self::with_detail(Detail::default(), midstream)
    }

    /// A query, and payloads of its reply.
    pub(crate) fn ask(&mut self, statement: &str, payloads: &[Vec<u8>]) -> &mut Self {
        self.client(query(statement)).server(reply(payloads))
    }

    /// Before anything was said, or in the middle.
    pub(crate) fn with_detail(detail: Detail, midstream: bool) -> Self {
        Self::with_parser(mysql::start(Limits::default(), detail, midstream))
    }
}
