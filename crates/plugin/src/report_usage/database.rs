//! `database_request` events.

use std::sync::Arc;

use crate::command_exchange::CommandExchange;
use crate::reporter::container_ref;
use crate::schema::{CommandNotes, DatabaseRequestEvent, ProcessRef, Timestamp};

/// The event of one command.
pub(super) fn event(exchange: &CommandExchange<'_>) -> DatabaseRequestEvent {
    let (connection, transaction) = (exchange.connection, exchange.transaction);
    let (command, result) = (&transaction.command, transaction.result.as_ref());
    let session = &command.session;
    DatabaseRequestEvent {
        connection_id: Arc::clone(&connection.public_id),
        endpoint_id: Arc::clone(&exchange.labels.endpoint_id),
        request_id: Arc::clone(&transaction.id),
        tags: Arc::clone(&exchange.labels.tags),
        timestamp: Timestamp(transaction.finished),
        direction: connection.direction.name(),
        database_type: transaction.protocol.name(),
        statement: command.statement().into_owned(),
        prepared: command.prepared.clone(),
        parameters: command.parameters.clone(),
        database: session.database.clone(),
        user: session.user.clone(),
        client_name: session.client.clone(),
        result_type: result.map(|result| result.kind),
        is_error: exchange.error().is_some(),
        error_code: exchange
            .error()
            .map(|error| error.code.clone())
            .filter(|code| !code.is_empty()),
        error_msg: exchange.error().map(|error| error.message.clone()),
        affected_count: result.and_then(|result| result.affected),
        insert_id: result.and_then(|result| result.insert_id),
        result_count: result.and_then(|result| result.count),
        columns: result.map(|result| result.columns.clone()).unwrap_or_default(),
        response_summary: result.map(|result| result.tags.clone()).unwrap_or_default(),
        transaction_state: result.and_then(|result| result.transaction),
        duration: exchange.duration_ms(),
        bytes_sent: exchange.sent().total(),
        bytes_received: exchange.received().total(),
        process: exchange.process().map(|process| ProcessRef {
            exe: process.exe.clone(),
            pid: process.pid.0,
            container: process.container.as_ref().map(container_ref),
        }),
        truncated: command.truncated,
        notes: CommandNotes::new(transaction),
    }
}
