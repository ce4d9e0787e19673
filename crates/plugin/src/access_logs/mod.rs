//! `access_logs` (and `debug`): one record on standard output for each transaction (`surface.md` §4.2).

mod body;
mod boxes;
mod database;
mod grpc;
mod json;
mod sanitise;
mod style;
mod summary;
mod terminal;

use std::sync::Arc;

use qtap_config::{AccessLogs as Settings, Level, LogFormat};
use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::grpc::Dialect;
use qtap_protocol::{Command, RequestHead};

pub use terminal::Terminal;

use crate::command_exchange::CommandExchange;
use crate::exchange::Exchange;
use crate::plugin::{Context, Plugin, body_interest};
use crate::rpc::Rpc;
use crate::sink::LineSink;

/// Prints transactions.
pub(crate) struct AccessLogs {
    mode: Level,
    format: Format,
    body_limit: usize,
    output: Arc<dyn LineSink>,
}

/// [`LogFormat`] with `Auto` decided.
enum Format {
    Json,
    Console(Terminal),
}

impl AccessLogs {
    pub(crate) fn new(settings: &Settings, context: &Context, body_limit: usize) -> Self {
        let terminal = context.terminal;
        let format = match settings.format {
            LogFormat::Json => Format::Json,
            LogFormat::Auto if !terminal.is_terminal => Format::Json,
            LogFormat::Console | LogFormat::Auto => Format::Console(terminal),
        };
        Self {
            mode: settings.mode,
            format,
            body_limit,
            output: Arc::clone(&context.output),
        }
    }
}

impl Plugin for AccessLogs {
    fn interest(&self, _connection: &ConnectionFacts, request: &RequestHead) -> Interest {
        match self.mode {
            Level::None => Interest::None,
            Level::Summary | Level::Headers => Interest::Head,
            // Of a call the messages are counted and not shown.
            Level::Full if Dialect::of_request(request).is_some() => Interest::Head,
            Level::Full => body_interest(self.body_limit),
        }
    }

    fn progress(&self, exchange: &Exchange<'_>) {
        self.transaction(exchange);
    }

    fn transaction(&self, exchange: &Exchange<'_>) {
        let record = match (&self.format, self.mode, Rpc::of(exchange)) {
            (_, Level::None, _) => return,
            (Format::Json, mode, Some(rpc)) => grpc::json(exchange, &rpc, mode),
            (Format::Console(terminal), mode, Some(rpc)) => grpc::console(exchange, &rpc, *terminal, mode),
            (Format::Json, mode, None) => json::line(exchange, mode),
            (Format::Console(terminal), Level::Summary, None) => summary::line(exchange, *terminal),
            (Format::Console(terminal), mode, None) => {
                boxes::record(exchange, *terminal, mode == Level::Full)
            }
        };
        self.output.write_record(record);
    }

    fn wants_command(&self, _connection: &ConnectionFacts, _command: &Command) -> bool {
        self.mode != Level::None
    }

    fn command(&self, exchange: &CommandExchange<'_>) {
        let record = match (&self.format, self.mode) {
            (_, Level::None) => return,
            (Format::Json, mode) => database::json(exchange, mode),
            (Format::Console(terminal), mode) => database::console(exchange, *terminal, mode),
        };
        self.output.write_record(record);
    }
}

#[cfg(test)]
mod tests;
