//! The client's half: messages become commands.

use std::sync::Arc;

use super::columns::bound;
use super::fields::{Fields, text};
use super::lane::{Expect, Message, Taken};
use super::statements::{Bound, Source};
use super::units::{Kind, Unit};
use super::{CANCEL_REQUEST, GSS_REQUEST, Parsed, Parser, SSL_REQUEST, not_this};
use crate::sql::{self, Dialect};
use crate::statement::Statement;
use crate::{Command, CommandText, Event, ParseError, Side, Time};

/// Bytes of a client that may come before the answer to its request for encryption.
const EARLY_BYTES: usize = 64 << 10;

impl Parser {
    pub(super) fn feed_client(
        &mut self,
        mut data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !data.is_empty() {
            if let Some(early) = &mut self.early {
                early.extend_from_slice(data);
                if early.len() > EARLY_BYTES {
                    return Err(not_this("data before the answer to a request for encryption"));
                }
                return Ok(());
            }
            let statement_bytes = self.limits.statement_bytes + 256;
            // Behind the parameters stands in which format the results are to be.
            let bind_bytes = self.limits.preview_bytes * 2 + 512;
            let room = |tag| match tag {
                0 => 10_000,
                b'Q' | b'P' => statement_bytes,
                b'B' => bind_bytes,
                b'E' | b'C' | b'D' => 512,
                // The number of the function, and none of its arguments.
                b'F' => 4,
                // Credentials and the data of COPY are never kept.
                _ => 0,
            };
            match self.client.take(&mut data, time, room) {
                Taken::Some => {}
                Taken::Whole(message) => self.asked(&message, out)?,
                Taken::Bad(reason) => self.lose(Side::Client, Some(reason), time, out)?,
            }
        }
        Ok(())
    }

    /// A message of the client.
    pub(super) fn asked(&mut self, message: &Message, out: &mut Vec<Event>) -> Result<(), ParseError> {
        self.client.found(out);
        self.quality.good();
        let mut fields = Fields(&message.kept);
        match message.tag {
            0 => {
                self.startup(message, fields, out);
                return Ok(());
            }
            b'Q' => self.query(fields.text(), message, out),
            b'P' => self.parse(fields, message, out),
            b'B' => {
                let (portal, name) = (fields.text(), fields.text());
                if self.parsed.as_ref().is_some_and(|parsed| parsed.name != name) {
                    self.flush_parsed(message.started, out);
                }
                let limit = self.limits.preview_bytes;
                self.statements.bind(portal, name, |kinds, is_shown| {
                    bound(&mut fields, kinds, is_shown, limit)
                });
                self.add(message);
            }
            b'E' => {
                let portal = self.statements.portal(fields.text());
                self.parsed = None;
                self.add(message);
                self.execute(&portal, message.ended, out);
            }
            b'C' => match (fields.byte(), fields.text()) {
                (Some(b'S'), name) => self.statements.forget(name),
                (_, portal) => self.statements.forget_portal(portal),
            },
            b'F' => {
                let function = fields.int32().map_or(0, i32::cast_unsigned);
                let mut statement = Statement::named(format!("FUNCTION CALL {function}"));
                statement.hides_result = !self.detail.shows_values();
                self.add(message);
                self.command(Unit::new(Kind::Query), &statement, message.ended, out);
            }
            b'S' => {
                self.flush_parsed(message.started, out);
                self.preface = Default::default();
                self.units.sync(message.started);
            }
            b'D' => {
                let source = match (fields.byte(), fields.text()) {
                    (Some(b'S'), name) => self.statements.source(name),
                    (_, portal) => Source {
                        statement: 0,
                        ..self.statements.portal(portal).source
                    },
                };
                self.units.ask_description(source);
                if self.preface.is_begun() {
                    self.add(message);
                }
            }
            b'd' | b'c' | b'f' => {
                if let Some(unit) = self.units.current() {
                    unit.open.asked(message.counts);
                }
            }
            _ => {}
        }
        self.units.active(message.ended);
        if self.units.is_flooded() {
            return self.lose(Side::Server, None, message.ended, out);
        }
        Ok(())
    }

    /// A simple query.
    fn query(&mut self, string: &[u8], message: &Message, out: &mut Vec<Event>) {
        self.add(message);
        let detail = self.detail;
        let new = |text: &[u8], is_whole| Statement::new(text, is_whole, Dialect::Postgres, detail);
        let whole = std::str::from_utf8(string).ok().filter(|_| message.is_whole);
        let parts = whole
            .filter(|_| detail.split_statements)
            .and_then(sql::statements)
            .filter(|parts| parts.len() > 1);
        let Some(parts) = parts else {
            let statement = new(string, message.is_whole);
            self.command(Unit::new(Kind::Query), &statement, message.ended, out);
            return;
        };
        // P-Pg1. The bytes of the message count to the first.
        let parts: Vec<_> = parts.into_iter().map(|part| new(part.as_bytes(), true)).collect();
        for statement in &parts {
            self.command(Unit::new(Kind::Execute), statement, message.ended, out);
        }
        self.units.sync(message.ended);
    }

    /// A statement is prepared: its name, its text, and types of its first parameters.
    fn parse(&mut self, mut fields: Fields<'_>, message: &Message, out: &mut Vec<Event>) {
        self.flush_parsed(message.started, out);
        let name = fields.text().to_vec();
        let statement = Statement::new(fields.text(), message.is_whole, Dialect::Postgres, self.detail);
        let statement = Arc::new(statement);
        let count = fields.int16().unwrap_or(0);
        let kinds = (0..count).map_while(|_| fields.int32().map(i32::cast_unsigned));
        self.statements.prepare(&name, &statement, kinds.collect());
        self.add(message);
        self.parsed = Some(Parsed { statement, name });
    }

    fn execute(&mut self, portal: &Bound, time: Time, out: &mut Vec<Event>) {
        let mut unit = Unit::new(Kind::Execute);
        unit.source = portal.source;
        unit.formats.clone_from(&portal.formats);
        if let Some(columns) = &portal.columns {
            unit.learn(columns);
        }
        let prepared = Some(portal.name.to_string()).filter(|name| !name.is_empty());
        self.prepared_command(unit, &portal.statement, prepared, &portal.parameters, time, out);
    }

    /// A message without a type.
    fn startup(&mut self, message: &Message, mut fields: Fields<'_>, out: &mut Vec<Event>) {
        match fields.int32().map(i32::cast_unsigned) {
            Some(SSL_REQUEST | GSS_REQUEST) => {
                self.server.expect = Expect::Answer;
                self.early = Some(Vec::new());
            }
            Some(CANCEL_REQUEST) => {
                let statement = Statement::named("CANCEL REQUEST".to_owned());
                self.add(message);
                self.command(Unit::unanswered(Kind::Sync), &statement, message.ended, out);
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
        self.preface.add(message.started, message.counts);
    }

    /// A statement that was parsed and is not run in its batch is a command of its own.
    pub(super) fn flush_parsed(&mut self, time: Time, out: &mut Vec<Event>) {
        if let Some(parsed) = self.parsed.take() {
            let name = Some(text(&parsed.name)).filter(|name| !name.is_empty());
            self.prepared_command(Unit::new(Kind::Parse), &parsed.statement, name, &[], time, out);
        }
    }

    fn command(&mut self, unit: Unit, statement: &Statement, time: Time, out: &mut Vec<Event>) {
        self.prepared_command(unit, statement, None, &[], time, out);
    }

    /// Reports a command, and waits for its reply.
    fn prepared_command(
        &mut self,
        mut unit: Unit,
        statement: &Statement,
        prepared: Option<String>,
        parameters: &[String],
        time: Time,
        out: &mut Vec<Event>,
    ) {
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
            parameters: parameters.to_vec(),
            session: self.session.clone(),
            truncated: statement.truncated,
            redacted: statement.redacted || is_secret,
        };
        command.cut(self.limits.statement_bytes);
        unit.hides_result = statement.hides_result || is_secret;
        let started = self.preface.give(&mut unit.open, time);
        self.units.command(unit, command, [started, time], out);
    }
}
