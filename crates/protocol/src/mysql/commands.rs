//! What a command of the client does to the session, and what is reported of it.

use std::sync::Arc;

use super::fields::{Fields, text};
use super::handshake;
use super::lane::Message;
use super::request::{LAST_PREPARED, Opcode, skip_attributes};
use super::units::{Change, Kind, Unit};
use super::{NAME, Parser};
use crate::sql::{self, Dialect};
use crate::statement::Statement;
use crate::{Command, CommandText, Event, ParseError, Session, Time};

/// Kept of commands without a statement.
const SHORT_BYTES: usize = 512;
/// A statement as long as this that changes the database is none.
const USE_BYTES: usize = 256;

/// Bytes wanted of a command that begins so; `parameter_bytes` of parameters.
pub(super) const fn room(first: u8, statement_bytes: usize, parameter_bytes: usize) -> usize {
    match Opcode::from_byte(first) {
        Some(Opcode::Query | Opcode::StmtPrepare) => statement_bytes,
        Some(Opcode::StmtExecute) => 16 + parameter_bytes,
        Some(Opcode::StmtBulkExecute | Opcode::StmtSendLongData) => 16,
        _ => SHORT_BYTES,
    }
}

impl Parser {
    /// A command of the client.
    pub(super) fn asked(&mut self, message: &Message, out: &mut Vec<Event>) -> Result<(), ParseError> {
        let Some(opcode) = message.first.and_then(Opcode::from_byte) else {
            let reason = (message.counts.gap_bytes == 0).then_some("no command begins so");
            return self.lose(crate::Side::Client, reason, message.ended, out);
        };
        if !self.is_plausible(opcode, message) {
            return self.lose(
                crate::Side::Client,
                Some("no statement begins so"),
                message.ended,
                out,
            );
        }
        self.client.found(out);
        self.quality.good();
        self.may_end = None;
        if let Some(reason) = opcode.ends_parsing() {
            let protocol = NAME;
            return Err(ParseError::Fatal { protocol, reason });
        }
        let mut fields = Fields(&message.kept);
        fields.byte();
        // P-My5: what has no reply is not queued.
        match opcode {
            Opcode::Quit => return Ok(()),
            Opcode::StmtClose => {
                if let Some(id) = fields.int32() {
                    self.statements.forget(id);
                }
                return Ok(());
            }
            Opcode::StmtSendLongData => {
                if let (Some(id), Some(index)) = (fields.int32(), fields.int16()) {
                    self.statements
                        .parameters(id, |layout, _| layout.sent_long(index));
                }
                self.add(message);
                return Ok(());
            }
            _ => {}
        }
        self.add(message);
        let (mut prepared, mut parameters) = (None, Vec::new());
        let unit = match opcode {
            Opcode::Query => self.query(fields.0, message),
            Opcode::StmtPrepare => {
                let statement = Arc::new(self.statement(fields.0, message.is_whole));
                self.statements.ask(&statement);
                Unit::new(Kind::Prepare, statement)
            }
            Opcode::StmtExecute | Opcode::StmtBulkExecute | Opcode::StmtFetch | Opcode::StmtReset => {
                let id = fields.int32().unwrap_or(LAST_PREPARED);
                prepared = Some(match id {
                    LAST_PREPARED => "-1".to_owned(),
                    id => id.to_string(),
                });
                parameters = self.parameters(opcode, id, fields);
                self.run(opcode, id)
            }
            Opcode::ChangeUser => {
                let (user, database) = handshake::change_user(fields.0);
                let mut unit = named(Kind::ChangeUser, opcode, &user);
                unit.change = Change::User(Session {
                    user: Some(user.into()),
                    database: database.map(Into::into),
                    client: self.session.client.clone(),
                });
                unit
            }
            Opcode::InitDb => {
                let name = text(fields.0);
                let mut unit = named(Kind::Simple, opcode, &name);
                unit.change = Change::Database(name.into());
                unit
            }
            Opcode::CreateDb | Opcode::DropDb => named(Kind::Simple, opcode, &text(fields.0)),
            Opcode::FieldList => named(Kind::FieldList, opcode, &text(fields.text())),
            Opcode::ProcessKill => {
                let id = fields.int32().map_or_else(String::new, |id| id.to_string());
                named(Kind::Simple, opcode, &id)
            }
            Opcode::Statistics => named(Kind::Statistics, opcode, ""),
            Opcode::ProcessInfo => named(Kind::Query, opcode, ""),
            Opcode::ResetConnection => {
                let mut unit = named(Kind::Simple, opcode, "");
                unit.change = Change::Reset;
                unit
            }
            _ => named(Kind::Simple, opcode, ""),
        };
        let mut unit = unit;
        if !self.detail.shows_values() {
            // Statistics, and what others ask for.
            Arc::make_mut(&mut unit.statement).hides_result = true;
        }
        unit.sequence = message.sequence;
        let started = self.preface.give(&mut unit.open, message.started);
        self.command(unit, prepared, parameters, [started, message.ended], out);
        if self.units.is_flooded() {
            return self.lose(crate::Side::Server, None, message.ended, out);
        }
        Ok(())
    }

    /// Statements begin with a character.
    fn is_plausible(&self, opcode: Opcode, message: &Message) -> bool {
        let payload = message.kept.get(1..).unwrap_or_default();
        let text = match opcode {
            Opcode::Query => skip_attributes(payload, self.agreed.query_attributes).unwrap_or_default(),
            Opcode::StmtPrepare => payload,
            _ => return true,
        };
        !matches!(text.first(), Some(0..=8 | 11 | 12 | 14..=31 | 127))
    }

    /// `COM_QUERY`.
    fn query(&self, payload: &[u8], message: &Message) -> Unit {
        let statement = match skip_attributes(payload, self.agreed.query_attributes) {
            Some(text) => self.statement(text, message.is_whole),
            // Attributes longer than what is kept of a statement.
            None => self.statement(b"", false),
        };
        let database = used_database(&statement.text);
        let mut unit = Unit::new(Kind::Query, Arc::new(statement));
        if let Some(name) = database {
            unit.change = Change::Database(name.into());
        }
        unit
    }

    fn statement(&self, kept: &[u8], is_whole: bool) -> Statement {
        Statement::new(kept, is_whole, Dialect::MySql, self.detail)
    }

    /// Values that a prepared statement is run with, from behind its id, where they are shown.
    fn parameters(&mut self, opcode: Opcode, id: u32, fields: Fields<'_>) -> Vec<String> {
        if !self.detail.shows_parameters() {
            return Vec::new();
        }
        let id = match id {
            LAST_PREPARED => self.statements.latest_id().filter(|_| !self.units.is_preparing()),
            id => Some(id),
        };
        let has_attributes = self.agreed.query_attributes == Some(true);
        let limit = self.limits.preview_bytes;
        let read = |id| {
            self.statements.parameters(id, |layout, is_shown| match opcode {
                Opcode::StmtExecute if is_shown => layout.read(fields, has_attributes, limit),
                Opcode::StmtReset => {
                    layout.reset();
                    Vec::new()
                }
                _ => Vec::new(),
            })
        };
        id.and_then(read).unwrap_or_default()
    }

    /// A command on a prepared statement.
    fn run(&mut self, opcode: Opcode, id: u32) -> Unit {
        let id = match (id, self.statements.latest_id()) {
            (LAST_PREPARED, latest) => latest.filter(|_| !self.units.is_preparing()),
            (id, _) => Some(id),
        };
        let (statement, columns) = match id {
            // Its id is still to come.
            None => (self.statements.latest(), None),
            Some(id) => self.statements.get(id),
        };
        let kind = match opcode {
            Opcode::StmtReset => return named(Kind::Simple, opcode, ""),
            Opcode::StmtFetch => Kind::Fetch,
            _ => Kind::Execute,
        };
        let mut unit = Unit::new(kind, statement);
        unit.id = id;
        unit.columns = columns.unwrap_or_default();
        unit
    }

    /// Counts a message for the command that it belongs to.
    fn add(&mut self, message: &Message) {
        self.preface.add(message.started, message.counts);
    }

    /// Reports a command, and waits for its reply.
    pub(super) fn command(
        &mut self,
        unit: Unit,
        prepared: Option<String>,
        parameters: Vec<String>,
        times: [Time; 2],
        out: &mut Vec<Event>,
    ) {
        let statement = &unit.statement;
        let mut command = Command {
            name: sql::verb(&statement.text),
            text: CommandText::Statement(statement.text.clone()),
            prepared,
            parameters,
            session: self.session.clone(),
            truncated: statement.truncated,
            redacted: statement.redacted,
        };
        command.cut(self.limits.statement_bytes);
        let is_sure = self.units.command(unit, command, times, out);
        if !is_sure {
            self.server.lose(None, true);
        }
    }
}

/// A command without a statement: its name, and what it is about.
fn named(kind: Kind, opcode: Opcode, about: &str) -> Unit {
    let mut text = opcode.name().to_owned();
    if !about.is_empty() {
        text.push(' ');
        text.push_str(about);
    }
    Unit::new(kind, Arc::new(Statement::named(text)))
}

/// The database that `USE name` changes to.
fn used_database(statement: &str) -> Option<String> {
    let text = statement.trim_ascii().trim_end_matches(';').trim_ascii_end();
    let (verb, name) = text.split_at_checked(3)?;
    let is_use =
        verb.eq_ignore_ascii_case("use") && name.starts_with(|c: char| c.is_ascii_whitespace() || c == '`');
    if !is_use || text.len() > USE_BYTES {
        return None;
    }
    let name = name.trim_ascii();
    let plain = match name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
        Some(name) => name.replace("``", "`"),
        None if name.contains(|c: char| c.is_ascii_whitespace() || c == ';') => return None,
        None => name.to_owned(),
    };
    Some(plain).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::used_database;

    #[test]
    fn the_database_that_a_statement_changes_to() {
        for (statement, name) in [
            ("USE shop", Some("shop")),
            ("use `a``b`;", Some("a`b")),
            ("use`shop`", Some("shop")),
            (" Use\tshop ; ", Some("shop")),
            ("user", None),
            ("use a; use b", None),
            ("select 1", None),
            ("us", None),
        ] {
            assert_eq!(used_database(statement).as_deref(), name, "{statement}");
        }
    }
}
