//! PostgreSQL, protocol 3: simple and extended queries, pipelines, COPY, and TLS in mid-stream (P-Pg1 to P-Pg9).

mod asked;
mod columns;
mod detect;
mod fields;
mod lane;
mod said;
mod statements;
mod units;
mod values;

use std::sync::Arc;

use bytes::Bytes;

use self::lane::{Expect, Lane, Taken};
use self::statements::Statements;
use self::units::Units;
use crate::ledger::Preface;
use crate::quality::Quality;
use crate::statement::Statement;
use crate::{Detail, Event, Limits, Outcome, ParseError, Session, Side, Time};

pub(crate) use detect::fit;

const NAME: &str = "postgres";
/// `80877103`: asks for TLS.
const SSL_REQUEST: u32 = 80_877_103;
/// `80877104`: asks for encryption by GSSAPI.
const GSS_REQUEST: u32 = 80_877_104;
/// `80877102`: asks to cancel what another connection runs.
const CANCEL_REQUEST: u32 = 80_877_102;

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, detail: Detail, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, detail, midstream))
}

/// A statement that was parsed and not run yet.
#[derive(Debug)]
struct Parsed {
    statement: Arc<Statement>,
    name: Vec<u8>,
}

/// Parser of one connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    detail: Detail,
    client: Lane,
    server: Lane,
    units: Units,
    statements: Statements,
    parsed: Option<Parsed>,
    preface: Preface,
    session: Session,
    quality: Quality,
    /// Client's bytes that came before the answer to its request for encryption.
    early: Option<Vec<u8>>,
}

impl Parser {
    /// A parser of a connection from its beginning, or joined in the middle.
    #[must_use]
    pub fn new(limits: Limits, detail: Detail, midstream: bool) -> Self {
        let client = if midstream { Expect::Typed } else { Expect::Startup };
        Self {
            limits,
            detail,
            client: Lane::new(Side::Client, client),
            server: Lane::new(Side::Server, Expect::Typed),
            units: Units::new(limits.pending_commands, midstream),
            statements: Statements::new(detail),
            parsed: None,
            preface: Preface::default(),
            session: Session::default(),
            quality: Quality::new(NAME),
            early: None,
        }
    }

    /// Where messages begin is not known any more. `reason`: what was wrong with those of `side`.
    fn lose(
        &mut self,
        side: Side,
        reason: Option<&'static str>,
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        match side {
            Side::Client => self.client.lose(reason),
            Side::Server => self.server.lose(reason),
        }
        if self.client.expect == Expect::Startup {
            // What follows the lost beginning may be encrypted or not.
            self.client.lose(None);
        }
        self.early = None;
        self.parsed = None;
        self.preface = Preface::default();
        if side == Side::Client {
            // Statements may have been prepared anew under the names that are known.
            self.statements.forget_all();
        }
        self.units.lose(time, out);
        if reason.is_some() {
            self.quality.bad()
        } else {
            Ok(())
        }
    }
}

const fn not_this(reason: &'static str) -> ParseError {
    ParseError::NotThisProtocol {
        protocol: NAME,
        reason,
    }
}

impl crate::Parser for Parser {
    fn bytes(&mut self, side: Side, data: Bytes, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        match side {
            Side::Client => self.feed_client(&data, time, out),
            Side::Server => self.feed_server(&data, time, out),
        }
    }

    fn gap(&mut self, side: Side, length: u64, time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        if length == 0 {
            return Ok(());
        }
        let passed = match side {
            Side::Client => self.client.pass(length, time),
            Side::Server => self.server.pass(length, time),
        };
        match (passed, side) {
            (None, _) => self.lose(side, None, time, out),
            (Some(Taken::Whole(message)), Side::Client) => self.asked(&message, out),
            (Some(Taken::Whole(message)), Side::Server) => self.said(&message, out),
            (Some(_), _) => Ok(()),
        }
    }

    fn eof(&mut self, _side: Side, _time: Time, _out: &mut Vec<Event>) {}

    fn close(&mut self, time: Time, out: &mut Vec<Event>) {
        self.client.found(out);
        self.server.found(out);
        self.flush_parsed(time, out);
        self.units.end_all(Outcome::Canceled, time, out);
    }

    fn resync(&mut self, side: Side, time: Time, out: &mut Vec<Event>) {
        // A stall is no proof of another protocol.
        _ = self.lose(side, None, time, out);
    }

    fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        self.units.expire(before, out);
    }

    fn buffered(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.held() + self.early.as_ref().map_or(0, Vec::len),
            Side::Server => self.server.held(),
        }
    }

    fn skippable(&self, _side: Side) -> u64 {
        0
    }
}
