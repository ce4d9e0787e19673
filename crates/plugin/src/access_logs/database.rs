//! Commands of databases and queues: JSON lines, a line for people, or a box.

use qtap_config::Level;
use qtap_protocol::Outcome;
use serde::Serialize;

use super::boxes::Page;
use super::style::{Brush, Colour, human_bytes};
use super::summary::{arrow_of, clean};
use super::terminal::Terminal;
use crate::command_exchange::CommandExchange;
use crate::schema::{CommandNotes, Timestamp, outcome_name};

/// Characters of the statement in a line for people.
const LINE_CHARS: usize = 50;
/// Characters of the statement in a summary.
const SUMMARY_CHARS: usize = 100;
/// Characters of a statement or result in a box.
const BOX_CHARS: usize = 500;

/// One line of JSON with its line end.
pub(super) fn json(exchange: &CommandExchange<'_>, mode: Level) -> Vec<u8> {
    let result = match mode {
        Level::None | Level::Summary => crate::json::to_vec(&Summary::new(exchange)),
        Level::Headers | Level::Full => crate::json::to_vec(&Details::new(exchange)),
    };
    // Maps with text keys and no custom failure: serialisation into memory has nothing to fail on.
    let mut line =
        result.unwrap_or_else(|error| format!("{{\"msg\":\"not serialised: {error}\"}}").into_bytes());
    line.push(b'\n');
    line
}

/// A line, or a box, for people.
pub(super) fn console(exchange: &CommandExchange<'_>, terminal: Terminal, mode: Level) -> Vec<u8> {
    let colour = match (&exchange.transaction.result, exchange.error()) {
        (None, _) => Colour::White,
        (Some(_), Some(_)) => Colour::Red,
        (Some(_), None) => Colour::Green,
    };
    let brush = Brush { terminal, colour };
    if mode == Level::Summary {
        return format!(" {}\n", line(exchange, brush)).into_bytes();
    }
    let mut page = Page {
        out: String::new(),
        brush,
    };
    fill(&mut page, exchange);
    page.out.into_bytes()
}

/// `■ redis-cli → redis LRANGE mylist 0 -1 OK`, then in brackets what is unusual about it.
fn line(exchange: &CommandExchange<'_>, brush: Brush) -> String {
    let transaction = exchange.transaction;
    let binary = exchange.process().map_or("", |process| process.binary());
    let mut parts = vec![brush.paint("■"), clean(binary.as_bytes())];
    parts.push(brush.paint(arrow_of(exchange.connection.direction)));
    parts.push(brush.bold(transaction.protocol.name()));
    parts.push(cut(&transaction.command.statement(), LINE_CHARS));
    parts.push(brush.paint(match (&transaction.result, exchange.error()) {
        (None, _) => "— no result",
        (Some(_), Some(_)) => "ERR",
        (Some(_), None) => "OK",
    }));
    if transaction.outcome != Outcome::Complete {
        parts.push(brush.warn(&format!("[{}]", outcome_name(transaction.outcome))));
    }
    if transaction.gap_bytes() > 0 {
        let missing = human_bytes(transaction.gap_bytes());
        parts.push(brush.warn(&format!("[{missing} not captured]")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn fill(page: &mut Page, exchange: &CommandExchange<'_>) {
    let (connection, transaction) = (exchange.connection, exchange.transaction);
    let brush = page.brush;
    page.border('╭', None);
    page.line(&line(exchange, brush));
    page.border('├', None);
    page.blank();
    let arrow = arrow_of(connection.direction);
    if let Some(process) = exchange.process() {
        page.line(&format!(
            "PID {} @ {}",
            process.pid.0,
            clean(process.exe.as_bytes())
        ));
    }
    page.line(&format!("{} {arrow} {}", connection.local, connection.remote));
    page.line(&format!(
        "↑ {} sent   ↓ {} received",
        human_bytes(exchange.sent().total()),
        human_bytes(exchange.received().total())
    ));
    if let Some(duration) = exchange.duration_ms() {
        page.line(&format!("{duration} ms"));
    }
    page.blank();
    page.border('├', Some("COMMAND"));
    page.blank();
    page.line(&cut(&transaction.command.statement(), BOX_CHARS));
    if !transaction.command.parameters.is_empty() {
        let parameters = transaction.command.parameters.join(", ");
        page.line(&format!("  • Parameters: {}", cut(&parameters, BOX_CHARS)));
    }
    for (name, value) in [
        ("Database", &transaction.command.session.database),
        ("User", &transaction.command.session.user),
        ("Client", &transaction.command.session.client),
    ] {
        if let Some(value) = value {
            page.line(&format!("  • {name}: {}", clean(value.as_bytes())));
        }
    }
    page.blank();
    let Some(result) = &transaction.result else {
        page.border('╰', None);
        return;
    };
    page.border('├', Some(&format!("RESULT {}", result.kind)));
    page.blank();
    match &result.error {
        Some(error) => page.line(&brush.paint(&cut(&error.message, BOX_CHARS))),
        None => page.line(&cut(&result.preview, BOX_CHARS)),
    }
    for tag in &result.tags {
        page.line(&format!("  • {}", clean(tag.as_bytes())));
    }
    page.border('╰', None);
}

/// `text` on one line, fit for a terminal, cut after so many characters.
fn cut(text: &str, characters: usize) -> String {
    let mut rest = text.chars();
    let mut short: String = rest.by_ref().take(characters).collect();
    if rest.next().is_some() {
        short.push('…');
    }
    clean(short.as_bytes())
}

#[derive(Serialize)]
struct Summary<'a> {
    msg: &'static str,
    bin: &'a str,
    direction: &'static str,
    database_type: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    command: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    args: &'a [String],
    /// Without arguments: the first 100 characters of the statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    is_error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    affected_rows: Option<u64>,
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    connection_id: &'a str,
    peer: String,
    #[serde(flatten)]
    notes: CommandNotes,
}

impl<'a> Summary<'a> {
    fn new(exchange: &CommandExchange<'a>) -> Self {
        let transaction = exchange.transaction;
        let result = transaction.result.as_ref();
        let args = transaction.command.arguments();
        let query = transaction.command.statement();
        Self {
            msg: "database transaction",
            bin: exchange.exe(),
            direction: exchange.connection.direction.name(),
            database_type: transaction.protocol.name(),
            command: &transaction.command.name,
            args,
            query: args
                .is_empty()
                .then(|| query.chars().take(SUMMARY_CHARS).collect()),
            request_id: &transaction.id,
            result_type: result.map(|result| result.kind),
            is_error: exchange.error().is_some(),
            error_code: exchange.error().map(|error| error.code.as_str()),
            affected_rows: result.and_then(|result| result.affected),
            ts: Timestamp(transaction.finished),
            duration_ms: exchange.duration_ms(),
            connection_id: &exchange.connection.public_id,
            peer: exchange.connection.remote.to_string(),
            notes: CommandNotes::new(transaction),
        }
    }
}

#[derive(Serialize)]
struct Details<'a> {
    msg: &'static str,
    meta: Meta<'a>,
    direction: &'static str,
    database_type: &'static str,
    command: Asked<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Came<'a>>,
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    connection_id: &'a str,
    peer: String,
    #[serde(flatten)]
    notes: CommandNotes,
}

#[derive(Serialize)]
struct Meta<'a> {
    request_id: &'a str,
    bytes_sent: u64,
    bytes_received: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    exe: &'a str,
}

#[derive(Serialize)]
struct Asked<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    args: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    parameters: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Serialize)]
struct Came<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    is_error: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    affected_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_insert_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    columns: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl<'a> Details<'a> {
    fn new(exchange: &CommandExchange<'a>) -> Self {
        let transaction = exchange.transaction;
        let command = &transaction.command;
        let args = command.arguments();
        Self {
            msg: "database transaction",
            meta: Meta {
                request_id: &transaction.id,
                bytes_sent: exchange.sent().total(),
                bytes_received: exchange.received().total(),
                pid: exchange.process().map(|process| process.pid.0),
                exe: exchange.exe(),
            },
            direction: exchange.connection.direction.name(),
            database_type: transaction.protocol.name(),
            command: Asked {
                name: &command.name,
                args,
                query: args.is_empty().then(|| command.statement().into_owned()),
                parameters: &command.parameters,
                database: command.session.database.as_deref(),
                user: command.session.user.as_deref(),
                timestamp: Timestamp(transaction.started),
                truncated: command.truncated,
            },
            result: transaction.result.as_ref().map(|result| Came {
                kind: result.kind,
                value: &result.preview,
                is_error: result.error.is_some(),
                error_code: result.error.as_ref().map(|error| error.code.as_str()),
                error_message: result.error.as_ref().map(|error| error.message.as_str()),
                affected_rows: result.affected,
                last_insert_id: result.insert_id,
                count: result.count,
                columns: &result.columns,
                tags: &result.tags,
                truncated: result.truncated,
            }),
            ts: Timestamp(transaction.finished),
            duration_ms: exchange.duration_ms(),
            connection_id: &exchange.connection.public_id,
            peer: exchange.connection.remote.to_string(),
            notes: CommandNotes::new(transaction),
        }
    }
}
