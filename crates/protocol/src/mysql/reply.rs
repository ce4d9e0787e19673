//! What a server answers to a command, packet by packet.
//! <https://mariadb.com/docs/server/reference/clientserver-protocol/4-server-response-packets>

use std::sync::Arc;

use super::fields::{Fields, text};
use super::handshake::Agreed;
use super::lane::Message;
use super::units::{Kind, Unit};
use crate::CommandError;
use crate::command::{ERROR_BYTES, shown};
use crate::sql;

const IN_TRANSACTION: u16 = 1;
const MORE_RESULTS: u16 = 1 << 3;
const CURSOR_EXISTS: u16 = 1 << 6;
const SESSION_CHANGED: u16 = 1 << 14;
/// Length of the packet that ends definitions or rows in older versions.
const EOF_BYTES: u64 = 5;
/// Least length of success.
const OK_BYTES: u64 = 7;
/// A packet that ends rows is shorter: a value so long that its length begins as that packet does is not.
const END_BYTES: u64 = 0xff_ffff;
/// Not an error: MariaDB tells how far it has come.
const PROGRESS: u16 = 0xffff;
/// Kept of a packet that tells of success or failure.
const STATUS_BYTES: usize = 8 << 10;

/// Where in its reply a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Before a result.
    First,
    /// So many definitions of columns are to come.
    Definitions(u64),
    /// They may end in a packet of their own.
    AfterDefinitions,
    Rows,
    /// The client sends a file.
    File,
    /// So many definitions of parameters, then of columns; `is_end`: a packet that ends the first of them is to come.
    Prepared {
        parameters: u16,
        columns: u16,
        is_end: bool,
    },
}

impl Reply {
    pub(super) const fn begin(kind: Kind) -> Self {
        match kind {
            Kind::Fetch | Kind::FieldList => Self::Rows,
            _ => Self::First,
        }
    }
}

/// What a packet came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    More,
    Done,
    Bad(&'static str),
}

/// What a packet tells besides.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// The database of the session from now on.
    pub(super) database: Option<String>,
    /// A prepared statement has this id, and so many parameters.
    pub(super) prepared: Option<(u32, u16)>,
    /// Rows are to be fetched.
    pub(super) has_cursor: bool,
    /// The reply is whole if no packet of this sequence number ends it: whether there are such was not seen yet.
    pub(super) may_end: Option<u8>,
}

/// Bytes wanted of the next packet, which begins so.
pub(super) fn room(unit: Option<&Unit>, first: u8, preview: usize) -> usize {
    let Some(unit) = unit else { return STATUS_BYTES };
    match unit.reply {
        Reply::Definitions(_) | Reply::Prepared { .. } => 2048,
        Reply::Rows if !matches!(first, 0xfe | 0xff) && unit.kind != Kind::FieldList => {
            let is_full = unit.result.preview.len() >= preview || unit.statement.hides_result;
            if is_full { 0 } else { preview * 2 }
        }
        _ => STATUS_BYTES,
    }
}

/// Takes a packet of the reply to `unit`.
pub(super) fn take(
    unit: &mut Unit,
    message: &Message,
    agreed: &mut Agreed,
    preview: usize,
    aside: &mut Aside,
) -> Said {
    let mut fields = Fields(&message.kept);
    fields.byte();
    match (unit.reply, message.first) {
        (_, Some(0xff)) => failed(unit, fields),
        (Reply::Definitions(left), _) => {
            define(unit, message, agreed);
            unit.reply = if left > 1 {
                Reply::Definitions(left - 1)
            } else {
                Reply::AfterDefinitions
            };
            Said::More
        }
        (Reply::Prepared { .. }, _) => prepared(unit, message, agreed, aside),
        (_, None) => Said::Bad("the beginning of a packet is missing"),
        (Reply::AfterDefinitions, Some(0xfe)) if message.length == EOF_BYTES => {
            agreed.deprecate_eof = Some(false);
            let _warnings = fields.int16();
            match fields.int16() {
                Some(status) if status & CURSOR_EXISTS != 0 => rows_end(unit, status, aside),
                Some(_) => {
                    unit.reply = Reply::Rows;
                    Said::More
                }
                None => Said::Bad("the status of a reply is missing"),
            }
        }
        (Reply::AfterDefinitions | Reply::Rows, Some(0xfe)) if message.length < END_BYTES => {
            if unit.reply == Reply::AfterDefinitions {
                agreed.deprecate_eof.get_or_insert(true);
            }
            match status(fields, message.length, agreed, aside) {
                Some((_, _, status)) => rows_end(unit, status, aside),
                None => Said::Bad("the status of a reply is missing"),
            }
        }
        (Reply::Rows, Some(_)) if unit.kind == Kind::FieldList => {
            define(unit, message, agreed);
            unit.rows += 1;
            Said::More
        }
        (Reply::AfterDefinitions | Reply::Rows, Some(first)) => {
            let is_binary = unit.kind != Kind::Query;
            if is_binary && first != 0 {
                return Said::Bad("no row in binary");
            }
            if unit.reply == Reply::AfterDefinitions {
                agreed.deprecate_eof.get_or_insert(true);
                unit.reply = Reply::Rows;
            }
            unit.rows += 1;
            if unit.result.preview.len() < preview && !unit.statement.hides_result {
                let line = unit.columns.line(&message.kept, is_binary);
                unit.result.truncated |= !message.is_whole;
                unit.show(&line, preview);
            }
            Said::More
        }
        (Reply::File, Some(_)) => Said::Bad("a reply while the client sends a file"),
        (Reply::First, Some(first)) => begun(unit, first, message, agreed, preview, aside),
    }
}

/// The first packet of a result.
fn begun(
    unit: &mut Unit,
    first: u8,
    message: &Message,
    agreed: &Agreed,
    preview: usize,
    aside: &mut Aside,
) -> Said {
    let mut fields = Fields(&message.kept);
    fields.byte();
    match (unit.kind, first) {
        (Kind::Statistics, _) => {
            unit.show(&shown(&message.kept, STATUS_BYTES).0, preview);
            unit.complete("Statistics", "Statistics".to_owned());
            Said::Done
        }
        (Kind::ChangeUser, 0x01 | 0x02 | 0xfe) => Said::More,
        (Kind::Prepare, 0) if message.length >= 12 => {
            let (Some(id), Some(columns), Some(parameters)) =
                (fields.int32(), fields.int16(), fields.int16())
            else {
                return Said::Bad("the beginning of a packet is missing");
            };
            aside.prepared = Some((id, parameters));
            unit.complete("PrepareOK", "PrepareOK".to_owned());
            let has_definitions = !agreed.optional_metadata || message.kept.get(12) != Some(&0);
            if has_definitions && (columns, parameters) != (0, 0) {
                unit.reply = Reply::Prepared {
                    parameters,
                    columns,
                    is_end: false,
                };
                return Said::More;
            }
            Said::Done
        }
        (Kind::Prepare | Kind::Fetch | Kind::FieldList, _) => Said::Bad("a reply of another kind"),
        (Kind::Query | Kind::Execute, 0 | 1)
            if agreed.optional_metadata && message.length < OK_BYTES && first <= 1 =>
        {
            match fields.number() {
                Some(count @ 1..) => columns(unit, count, first == 1),
                // A count of 1 without a flag cannot be: the flag is always there.
                _ => Said::Bad("no count of columns"),
            }
        }
        (_, 0) if message.length >= OK_BYTES => succeeded(unit, fields, message.length, agreed, aside),
        (_, 0xfe) if message.length == EOF_BYTES || message.length >= OK_BYTES => {
            succeeded(unit, fields, message.length, agreed, aside)
        }
        (Kind::Query, 0xfb) => {
            unit.reply = Reply::File;
            Said::More
        }
        (Kind::Query | Kind::Execute, _) => {
            let mut fields = Fields(&message.kept);
            let Some(count @ 1..=65_535) = fields.number() else {
                return Said::Bad("no count of columns");
            };
            // A flag follows in MariaDB, where agreed.
            let flag = fields.byte();
            match (agreed.cache_metadata, flag, fields.0) {
                (Some(true) | None, Some(flag @ (0 | 1)), []) => columns(unit, count, flag == 1),
                (_, None, _) => columns(unit, count, true),
                _ => Said::Bad("no count of columns"),
            }
        }
        _ => Said::Bad("a reply of another kind"),
    }
}

fn columns(unit: &mut Unit, count: u64, has_definitions: bool) -> Said {
    unit.shows_columns &= unit.result.columns.is_empty();
    unit.reply = if has_definitions {
        unit.columns = Arc::default();
        Reply::Definitions(count)
    } else {
        for name in unit.columns.names.clone() {
            name_column(unit, name);
        }
        Reply::AfterDefinitions
    };
    Said::More
}

fn define(unit: &mut Unit, message: &Message, agreed: &Agreed) {
    let columns = Arc::make_mut(&mut unit.columns);
    let is_named = columns.define(&message.kept, agreed.extended_metadata);
    let name = columns.names.last().cloned();
    match name {
        Some(name) if is_named => name_column(unit, name),
        _ => unit.result.truncated = true,
    }
}

fn name_column(unit: &mut Unit, name: String) {
    if unit.shows_columns {
        unit.result.column(name);
    }
}

/// Definitions of a prepared statement.
fn prepared(unit: &mut Unit, message: &Message, agreed: &mut Agreed, aside: &mut Aside) -> Said {
    let Reply::Prepared {
        parameters,
        columns,
        is_end,
    } = unit.reply
    else {
        return Said::More;
    };
    let is_end_packet = self::is_end(message);
    let (parameters, columns, is_end) = match (is_end, is_end_packet) {
        (true, true) => {
            agreed.deprecate_eof = Some(false);
            (parameters, columns, false)
        }
        (false, true) => return Said::Bad("fewer definitions than announced"),
        (_, false) => {
            if is_end {
                agreed.deprecate_eof.get_or_insert(true);
            }
            if parameters > 0 {
                (parameters - 1, columns, parameters == 1)
            } else {
                define(unit, message, agreed);
                (0, columns.saturating_sub(1), columns == 1)
            }
        }
    };
    let is_end = is_end && agreed.deprecate_eof != Some(true);
    unit.reply = Reply::Prepared {
        parameters,
        columns,
        is_end,
    };
    match (parameters, columns, is_end) {
        (0, 0, false) => Said::Done,
        (0, 0, true) if agreed.deprecate_eof.is_none() => {
            aside.may_end = Some(message.sequence.wrapping_add(1));
            Said::Done
        }
        _ => Said::More,
    }
}

/// Success: what was changed, and whether more results follow.
fn succeeded(unit: &mut Unit, fields: Fields<'_>, length: u64, agreed: &Agreed, aside: &mut Aside) -> Said {
    let Some((affected, insert_id, status)) = status(fields, length, agreed, aside) else {
        return Said::Bad("the status of a reply is missing");
    };
    let result = &mut unit.result;
    if matches!(unit.kind, Kind::Query | Kind::Execute) {
        result.affected = Some(result.affected.unwrap_or(0).saturating_add(affected));
    }
    if insert_id != 0 {
        result.insert_id = Some(insert_id);
    }
    unit.complete("OK", format!("OK {affected}"));
    ended(unit, status)
}

fn rows_end(unit: &mut Unit, status: u16, aside: &mut Aside) -> Said {
    let rows = std::mem::take(&mut unit.rows);
    let result = &mut unit.result;
    result.count = Some(result.count.unwrap_or(0).saturating_add(rows));
    aside.has_cursor = status & CURSOR_EXISTS != 0;
    unit.complete("ResultSet", format!("ResultSet {rows}"));
    ended(unit, status)
}

/// One result is whole (P-My6).
fn ended(unit: &mut Unit, status: u16) -> Said {
    unit.result.transaction = Some(if status & IN_TRANSACTION == 0 {
        "idle"
    } else {
        "transaction"
    });
    if status & MORE_RESULTS == 0 {
        return Said::Done;
    }
    unit.reply = Reply::First;
    Said::More
}

/// Rows affected, last id inserted, and flags.
fn status(
    mut fields: Fields<'_>,
    length: u64,
    agreed: &Agreed,
    aside: &mut Aside,
) -> Option<(u64, u64, u16)> {
    if length == EOF_BYTES {
        let _warnings = fields.int16()?;
        return Some((0, 0, fields.int16()?));
    }
    let (affected, insert_id) = (fields.number()?, fields.number()?);
    let status = fields.int16()?;
    if status & SESSION_CHANGED != 0 && agreed.session_track != Some(false) {
        aside.database = changed_database(fields);
    }
    Some((affected, insert_id, status))
}

/// Success of logging in.
pub(super) fn greeted(message: &Message, agreed: &Agreed, aside: &mut Aside) {
    let mut fields = Fields(&message.kept);
    fields.byte();
    // It is success whatever it tells.
    _ = status(fields, message.length, agreed, aside);
}

/// Whether a packet ends definitions or rows in older versions.
pub(super) fn is_end(message: &Message) -> bool {
    message.first == Some(0xfe) && message.length == EOF_BYTES
}

/// What success tells of the session: changes of kind 1 are of the database.
fn changed_database(mut fields: Fields<'_>) -> Option<String> {
    let _warnings = fields.int16()?;
    let _text = fields.string()?;
    let mut changes = Fields(fields.string()?);
    let mut database = None;
    while let Some(kind) = changes.byte() {
        let mut change = Fields(changes.string()?);
        if kind == 1 {
            database = change.string().map(text);
        }
    }
    database
}

/// Failure, after its first byte.
pub(super) fn error(mut fields: Fields<'_>, is_secret: bool) -> Option<(CommandError, String)> {
    let code = fields.int16()?;
    let mut state = String::new();
    if fields.0.first() == Some(&b'#') {
        state = fields
            .bytes(6)
            .map(|state| text(state.get(1..).unwrap_or_default()))?;
    }
    let mut message = shown(fields.0, ERROR_BYTES).0;
    if is_secret {
        message = sql::masked_span(&message);
    }
    let tag = match state.as_str() {
        "" => format!("ERROR {code}"),
        state => format!("ERROR {code} ({state})"),
    };
    let error = CommandError {
        code: code.to_string(),
        message,
    };
    Some((error, tag))
}

fn failed(unit: &mut Unit, fields: Fields<'_>) -> Said {
    if Fields(fields.0).int16() == Some(PROGRESS) {
        return Said::More;
    }
    let is_secret = unit.statement.hides_result || unit.statement.truncated;
    match error(fields, is_secret) {
        Some((error, tag)) => {
            let rows = std::mem::take(&mut unit.rows);
            if rows > 0 {
                unit.result.count = Some(unit.result.count.unwrap_or(0).saturating_add(rows));
            }
            unit.fail(error, tag);
            Said::Done
        }
        None => Said::Bad("the code of an error is missing"),
    }
}
