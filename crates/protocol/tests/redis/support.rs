//! A conversation with the parser, and what came of it.

use qtap_protocol::{Detail, Limits, Values, redis};

pub(crate) use crate::commands::{Done, Talk, done};

impl Done {
    /// Statement, kind of result, and what it shows.
    pub(crate) fn shown(&self) -> (String, &'static str, String) {
        let result = self.result.clone().unwrap_or_default();
        (self.command.statement().into_owned(), result.kind, result.preview)
    }
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::with(false)
    }

    pub(crate) fn with(midstream: bool) -> Self {
        Self::with_parser(redis::start(Limits::default(), Detail::default(), midstream))
    }

    /// Of whose values only these are shown.
    pub(crate) fn with_values(values: Values) -> Self {
        let detail = Detail {
            values,
            ..Detail::default()
        };
        Self::with_parser(redis::start(Limits::default(), detail, false))
    }

    /// A command as an array of strings.
    pub(crate) fn command(&mut self, words: &[&str]) -> &mut Self {
        self.client(command(words))
    }
}

pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut data = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        data.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    data
}
