//! The server's half: messages become results of commands.

use std::sync::Arc;

use bytes::Bytes;

use super::columns::{Columns, line};
use super::fields::{Fields, text};
use super::lane::{Expect, Message, Taken};
use super::units::Kind;
use super::{NAME, Parser, not_this};
use crate::command::{ERROR_BYTES, shown};
use crate::{CommandError, Event, ParseError, Side, Time, sql};

impl Parser {
    pub(super) fn feed_server(
        &mut self,
        mut data: &[u8],
        time: Time,
        out: &mut Vec<Event>,
    ) -> Result<(), ParseError> {
        while !data.is_empty() {
            let row_bytes = self.limits.preview_bytes * 2;
            let room = |tag| match tag {
                b'T' | b't' => 16 << 10,
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

    /// A message of the server.
    pub(super) fn said(&mut self, message: &Message, out: &mut Vec<Event>) -> Result<(), ParseError> {
        self.server.found(out);
        self.quality.good();
        self.units.active(message.ended);
        let mut fields = Fields(&message.kept);
        match message.tag {
            // Notices, parameters and notifications answer nothing.
            b'N' | b'S' | b'A' => return Ok(()),
            b't' | b'T' | b'n' if self.units.described().is_some() => {
                self.described(message);
                if let Some(unit) = self.units.current() {
                    unit.open.answered(message.counts, message.started, message.ended);
                }
                return Ok(());
            }
            b'D' | b'C' | b'I' | b's' => self.units.pass_descriptions(),
            _ => {}
        }
        self.answer(message);
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

    /// What a statement or portal returns, or needs.
    fn described(&mut self, message: &Message) {
        let Some(source) = self.units.described() else {
            return;
        };
        let mut fields = Fields(&message.kept);
        match message.tag {
            b't' => {
                let count = fields.int16().unwrap_or(0);
                let kinds = (0..count).map_while(|_| fields.int32().map(i32::cast_unsigned));
                self.statements
                    .describe_parameters(source, &kinds.collect::<Vec<_>>());
            }
            b'T' => {
                let columns = Arc::new(Columns::read(fields, source.portal != 0));
                self.statements.describe(source, &columns);
                self.units.describe(Some(&columns));
            }
            _ => self.units.describe(None),
        }
    }

    /// A part of the result of the current command.
    fn answer(&mut self, message: &Message) {
        let limit = self.limits.preview_bytes;
        let Some(unit) = self.units.current() else { return };
        unit.open.answered(message.counts, message.started, message.ended);
        let mut fields = Fields(&message.kept);
        match (message.tag, unit.kind) {
            (b'T', Kind::Query | Kind::Execute) => {
                unit.learn(&Arc::new(Columns::read(fields, true)));
            }
            (b'D', Kind::Query | Kind::Execute) => {
                unit.rows += 1;
                if unit.result.preview.len() < limit && !unit.hides_result {
                    let line = line(fields, unit.columns.as_deref(), &unit.formats, limit);
                    unit.result.truncated |= !message.is_whole;
                    unit.result.show(&line, limit);
                }
            }
            (b'C', Kind::Query | Kind::Execute) => unit.complete("CommandComplete", &text(fields.text())),
            (b'V', Kind::Query) => unit.complete("FunctionCallResponse", ""),
            (b'I', Kind::Query | Kind::Execute) => unit.complete("EmptyQuery", ""),
            (b's', Kind::Execute) => unit.complete("PortalSuspended", ""),
            (b'1', Kind::Parse) => unit.complete("ParseComplete", ""),
            _ => {}
        }
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
        if self.units.current().is_some_and(|unit| unit.hides_result) {
            error.message = sql::masked_message(&error.message);
        }
        if !self.units.fail(error) {
            out.push(Event::Orphan {
                bytes: message.counts.head_bytes,
            });
        }
    }
}
