//! A conversation with the parser, and what came of it.

use qtap_protocol::{Detail, Limits, postgres};

pub(crate) use crate::commands::{Talk, done};
use crate::wire;

impl Talk {
    /// Logged in.
    pub(crate) fn new() -> Self {
        Self::shows(Detail::default())
    }

    /// Logged in, where so much is shown.
    pub(crate) fn shows(detail: Detail) -> Self {
        let mut talk = Self::with_detail(detail, false);
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
        Self::with_detail(Detail::default(), midstream)
    }

    /// Before anything was said, or in the middle.
    pub(crate) fn with_detail(detail: Detail, midstream: bool) -> Self {
        Self::with_parser(postgres::start(Limits::default(), detail, midstream))
    }
}
