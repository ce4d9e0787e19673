//! PostgreSQL, protocol 3: simple and extended queries, pipelines, COPY, and TLS in mid-stream (P-Pg1 to P-Pg9).

mod detect;
mod fields;
mod lane;
mod statements;
mod units;

use std::sync::Arc;

use bytes::Bytes;

use self::fields::{Fields, text};
use self::lane::{Expect, Lane, Message, Taken};
use self::statements::{Statement, Statements};
use self::units::{Kind, Units};
use crate::command::{ERROR_BYTES, shown};
use crate::quality::Quality;
use crate::{
    Command, CommandError, CommandText, CommandTraffic, Counts, Event, Limits, Outcome, ParseError, Session,
    Side, Time, sql,
};

pub(crate) use detect::fit;

const NAME: &str = "postgres";
/// `80877103`: asks for TLS.
const SSL_REQUEST: u32 = 80_877_103;
/// `80877104`: asks for encryption by GSSAPI.
const GSS_REQUEST: u32 = 80_877_104;
/// `80877102`: asks to cancel what another connection runs.
const CANCEL_REQUEST: u32 = 80_877_102;
/// Bytes of a client that may come before the answer to its request for encryption.
const EARLY_BYTES: usize = 64 << 10;

/// Makes a parser; `midstream`: the connection began before its first captured byte.
#[must_use]
pub fn start(limits: Limits, midstream: bool) -> Box<dyn crate::Parser> {
    Box::new(Parser::new(limits, midstream))
}

/// A statement that was parsed and not run yet.
#[derive(Debug)]
struct Parsed {
    statement: Arc<Statement>,
    name: Vec<u8>,
}

/// Messages of the client that belong to the next command.
#[derive(Clone, Copy, Debug, Default)]
struct Preface {
    started: Option<Time>,
    request: Counts,
}

/// Parser of one connection.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
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
    pub fn new(limits: Limits, midstream: bool) -> Self {
        let client = if midstream { Expect::Typed } else { Expect::Startup };
        Self {
            limits,
            client: Lane::new(Side::Client, client),
            server: Lane::new(Side::Server, Expect::Typed),
            units: Units::new(limits.pending_commands, midstream),
            statements: Statements::default(),
            parsed: None,
            preface: Preface::default(),
            session: Session::default(),
            quality: Quality::new(NAME),
            early: None,
        }
    }

    fn feed_client(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        while !data.is_empty() {
            if let Some(early) = &mut self.early {
                early.extend_from_slice(data);
                if early.len() > EARLY_BYTES {
                    return Err(not_this("data before the answer to a request for encryption"));
                }
                return Ok(());
            }
            let statement_bytes = self.limits.statement_bytes + 256;
            let room = |tag| match tag {
                0 => 10_000,
                b'Q' | b'P' => statement_bytes,
                b'B' | b'E' | b'C' | b'D' => 512,
                // Credentials, parameters and the data of COPY are never kept.
                _ => 0,
            };
            match self.client.take(&mut data, time, room) {
                Taken::Some => {}
                Taken::Whole(message) => self.asked(&message, out),
                Taken::Bad(reason) => self.lose(Side::Client, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    fn feed_server(&mut self, mut data: &[u8], time: Time, out: &mut Vec<Event>) -> Result<(), ParseError> {
        while !data.is_empty() {
            let row_bytes = self.limits.preview_bytes * 2;
            let room = |tag| match tag {
                b'T' => 16 << 10,
                b'E' => ERROR_BYTES * 2,
                b'D' => row_bytes,
                b'C' | b'S' | b'Z' | b'R' => 256,
                _ => 0,
            };
            let is_answer = self.server.expect == Expect::Answer;
            match self.server.take(&mut data, time, room) {
                Taken::Some => {}
                Taken::Whole(message) if is_answer => {
                    if self.answered(message.tag, data, time, out)? {
                        return Ok(());
                    }
                }
                Taken::Whole(message) => self.said(&message, out)?,
                Taken::Bad(reason) => self.lose(Side::Server, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    /// The answer to a request for encryption (P-Pg6). Tells whether `rest` is encrypted.
    fn answered(
        &mut self,
        answer: u8,
        rest: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<bool, ParseError> {
        self.server.expect = Expect::Typed;
        let early = self.early.take().unwrap_or_default();
        match answer {
            b'S' => {
                out.push(Event::StartTls {
                    client: early.into(),
                    server: Bytes::copy_from_slice(rest),
                    time,
                });
                Ok(true)
            }
            b'N' => self.feed_client(&early, time, out).map(|()| false),
            b'G' => Err(ParseError::Fatal {
                protocol: NAME,
                reason: "encrypted by GSSAPI, which cannot be read",
            }),
            _ => Err(not_this("no answer to a request for encryption")),
        }
    }

    /// A message of the client.
    fn asked(&mut self, message: &Message, out: &mut Vec<Event>) {
        self.client.found(out);
        self.quality.good();
        let mut fields = Fields(&message.kept);
        if message.tag == 0 {
            self.startup(message, fields, out);
            return;
        }
        match message.tag {
            b'Q' => {
                let statement = Statement::new(fields.text(), message.is_whole);
                self.add(message);
                self.command(Kind::Query, &statement, None, message.ended, out);
            }
            b'P' => {
                self.flush_parsed(message.started, out);
                let name = fields.text().to_vec();
                let statement = Arc::new(Statement::new(fields.text(), message.is_whole));
                self.statements.prepare(&name, &statement);
                self.add(message);
                self.parsed = Some(Parsed { statement, name });
            }
            b'B' => {
                let (portal, name) = (fields.text(), fields.text());
                if self.parsed.as_ref().is_some_and(|parsed| parsed.name != name) {
                    self.flush_parsed(message.started, out);
                }
                self.statements.bind(portal, name);
                self.add(message);
            }
            b'E' => {
                let bound = self.statements.portal(fields.text());
                self.parsed = None;
                self.add(message);
                let name = Some(bound.name.to_string()).filter(|name| !name.is_empty());
                self.command(Kind::Execute, &bound.statement, name, message.ended, out);
            }
            b'C' => match (fields.byte(), fields.text()) {
                (Some(b'S'), name) => self.statements.forget(name),
                (_, portal) => self.statements.forget_portal(portal),
            },
            b'S' => {
                self.flush_parsed(message.started, out);
                self.preface = Preface::default();
                self.units.sync(message.started);
            }
            b'D' if self.preface.started.is_some() => self.add(message),
            b'd' | b'c' | b'f' => {
                if let Some(unit) = self.units.current() {
                    unit.traffic.request.head_bytes += message.counts.head_bytes;
                    unit.traffic.request.gap_bytes += message.counts.gap_bytes;
                }
            }
            _ => {}
        }
        self.units.active(message.ended);
    }

    /// A message without a type.
    fn startup(&mut self, message: &Message, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        match fields.int32().map(i32::cast_unsigned) {
            Some(SSL_REQUEST | GSS_REQUEST) => {
                self.server.expect = Expect::Answer;
                self.early = Some(Vec::new());
            }
            Some(CANCEL_REQUEST) => {
                let statement = Statement {
                    text: "CANCEL REQUEST".to_owned(),
                    ..Statement::default()
                };
                self.add(message);
                self.command(Kind::Sync, &statement, None, message.ended, out);
                self.units.ready(None, message.ended, out);
            }
            _ => {
                loop {
                    let (name, value) = (fields.text(), fields.text());
                    let value = || Some(Arc::<str>::from(text(value)));
                    match name {
                        b"" => break,
                        b"user" => self.session.user = value(),
                        b"database" => self.session.database = value(),
                        b"application_name" => self.session.client = value(),
                        _ => {}
                    }
                }
                if self.session.database.is_none() {
                    self.session.database = self.session.user.clone();
                }
                self.client.expect = Expect::Typed;
                // Logging in ends as a batch does.
                self.units.sync(message.started);
            }
        }
    }

    /// Counts a message for the command that it belongs to.
    fn add(&mut self, message: &Message) {
        self.preface.started.get_or_insert(message.started);
        self.preface.request.head_bytes += message.counts.head_bytes;
        self.preface.request.gap_bytes += message.counts.gap_bytes;
    }

    /// A statement that was parsed and is not run in its batch is a command of its own.
    fn flush_parsed(&mut self, time: Time, out: &mut Vec<Event>) {
        if let Some(parsed) = self.parsed.take() {
            let name = Some(text(&parsed.name)).filter(|name| !name.is_empty());
            self.command(Kind::Parse, &parsed.statement, name, time, out);
        }
    }

    fn command(
        &mut self,
        kind: Kind,
        statement: &Statement,
        prepared: Option<String>,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        let preface = std::mem::take(&mut self.preface);
        let (text, ran) = (statement.text.clone(), self.statements.note(statement));
        let is_secret = ran.as_ref().is_some_and(|(_, is_secret)| *is_secret);
        let mut command = Command {
            name: sql::verb(&text),
            text: CommandText::Statement(if is_secret {
                sql::masked_message(&text)
            } else {
                text
            }),
            prepared: prepared.or(ran.map(|(name, _)| name)),
            session: self.session.clone(),
            truncated: statement.truncated,
            redacted: statement.redacted || is_secret,
        };
        command.cut(self.limits.statement_bytes);
        let traffic = CommandTraffic {
            request: preface.request,
            ..CommandTraffic::default()
        };
        let started = preface.started.unwrap_or(time);
        self.units.command(kind, command, [started, time], traffic, out);
    }

    /// A message of the server.
    fn said(&mut self, message: &Message, out: &mut Vec<Event>) -> Result<(), ParseError> {
        self.server.found(out);
        self.quality.good();
        self.units.active(message.ended);
        let mut fields = Fields(&message.kept);
        let limit = self.limits.preview_bytes;
        if let (Some(unit), false) = (self.units.current(), matches!(message.tag, b'N' | b'S' | b'A')) {
            let traffic = &mut unit.traffic;
            traffic.response.head_bytes += message.counts.head_bytes;
            traffic.response.gap_bytes += message.counts.gap_bytes;
            traffic.first_byte.get_or_insert(message.started);
            traffic.last_byte = Some(message.ended);
            match (message.tag, unit.kind) {
                (b'T', Kind::Query | Kind::Execute) if unit.result.columns.is_empty() => {
                    for _ in 0..fields.int16().unwrap_or(0) {
                        if fields.0.is_empty() {
                            unit.result.truncated = true;
                            break;
                        }
                        unit.column(fields.text());
                        fields.bytes(18);
                    }
                }
                (b'D', Kind::Query | Kind::Execute) => {
                    unit.rows += 1;
                    if unit.result.preview.len() < limit {
                        unit.show(&row(fields), limit);
                    }
                }
                (b'C', Kind::Query | Kind::Execute) => unit.complete("CommandComplete", &text(fields.text())),
                (b'I', Kind::Query | Kind::Execute) => unit.complete("EmptyQuery", ""),
                (b's', Kind::Execute) => unit.complete("PortalSuspended", ""),
                (b'1', Kind::Parse) => unit.complete("ParseComplete", ""),
                _ => {}
            }
        }
        match message.tag {
            b'E' => self.failed(message, out),
            b'Z' => {
                let state = match fields.byte() {
                    Some(b'I') => Some("idle"),
                    Some(b'T') => Some("transaction"),
                    Some(b'E') => Some("failed"),
                    _ => None,
                };
                self.units.ready(state, message.ended, out);
            }
            b'W' => {
                return Err(ParseError::Fatal {
                    protocol: NAME,
                    reason: "a stream of replication follows, which is not parsed",
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// `ErrorResponse` (P-Pg8).
    fn failed(&mut self, message: &Message, out: &mut Vec<Event>) {
        let mut fields = Fields(&message.kept);
        let mut error = CommandError {
            code: String::new(),
            message: String::new(),
        };
        while let Some(kind) = fields.byte().filter(|kind| *kind != 0) {
            let value = fields.text();
            match kind {
                b'C' => error.code = shown(value, 16).0,
                b'M' => error.message = shown(value, ERROR_BYTES).0,
                _ => {}
            }
        }
        if self.units.current().is_some_and(|unit| unit.is_secret) {
            error.message = sql::masked_message(&error.message);
        }
        if !self.units.fail(error) {
            out.push(Event::Orphan {
                bytes: message.counts.head_bytes,
            });
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
            self.statements = Statements::default();
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

/// Values of a row as a line; those that are no text by their length.
fn row(mut fields: Fields<'_>) -> String {
    let count = fields.int16().unwrap_or(0);
    // With separators a line is shorter than its fields, each of which has its length before it.
    let mut line = String::with_capacity(fields.0.len() + 1);
    for index in 0..count {
        let Some(length) = fields.int32() else { break };
        if index > 0 {
            line.push_str(" | ");
        }
        let Ok(length) = usize::try_from(length) else {
            line.push_str("NULL");
            continue;
        };
        let value = fields.bytes(length);
        match std::str::from_utf8(value) {
            Ok(text) if memchr::memchr(0, value).is_none() => line.push_str(text),
            _ if value.len() < length => line.push_str(&shown(value, usize::MAX).0),
            _ => line.push_str(&format!("({length} bytes)")),
        }
    }
    line.push('\n');
    line
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
            (Some(Taken::Whole(message)), Side::Client) => {
                self.asked(&message, out);
                Ok(())
            }
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
