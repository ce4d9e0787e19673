//! A conversation with the parser, and what came of it.

use std::sync::Arc;

use qtap_protocol::kafka::{Parser, Topics};
use qtap_protocol::{Detail, Limits, Values};

pub(crate) use crate::commands::{Done, Talk, done};

/// A parser with topics of its own.
pub(crate) fn parser(midstream: bool) -> Parser {
    Parser::new(Limits::default(), Detail::default(), midstream, Arc::default())
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::with(false, Arc::default())
    }

    pub(crate) fn midstream() -> Self {
        Self::with(true, Arc::default())
    }

    pub(crate) fn with(midstream: bool, topics: Arc<Topics>) -> Self {
        let detail = Detail::default();
        Self::with_parser(Box::new(Parser::new(
            Limits::default(),
            detail,
            midstream,
            topics,
        )))
    }

    /// Of whose records only these values are shown.
    pub(crate) fn with_values(values: Values) -> Self {
        let detail = Detail {
            values,
            ..Detail::default()
        };
        Self::with_parser(Box::new(Parser::new(
            Limits::default(),
            detail,
            false,
            Arc::default(),
        )))
    }
}
