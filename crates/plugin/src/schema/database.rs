//! `database_request` events (`surface.md` §7.4, `protocols.md` §17).

use std::sync::Arc;

use qtap_engine::CommandTransaction;
use qtap_protocol::Outcome;
use serde::Serialize;

use super::notes::{milliseconds, outcome_name};
use super::tags::{Tags, no_tags};
use super::{ContainerRef, Timestamp, is_false, is_zero};

/// One command of a database or queue. Credentials in it are masked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRequestEvent {
    /// The connection.
    pub connection_id: Arc<str>,
    /// Domain, or address of the server end.
    pub endpoint_id: Arc<str>,
    /// The command.
    pub request_id: Arc<str>,
    /// `key:value`.
    #[serde(skip_serializing_if = "no_tags")]
    pub tags: Arc<Tags>,
    /// Time of completion.
    pub timestamp: Timestamp,
    /// Direction label.
    pub direction: &'static str,
    /// Protocol, as `l7Protocol` of the connection has it.
    pub database_type: &'static str,
    /// Command and arguments, or text of the statement.
    pub statement: String,
    /// Name of the prepared statement that was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepared: Option<String>,
    /// Values of its parameters, where they are shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// Database: its name, or its number for Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Arc<str>>,
    /// User of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// Name that the client gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<Arc<str>>,
    /// Kind of result in the protocol's own terms; absent when none was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_type: Option<&'static str>,
    /// The server refused it.
    pub is_error: bool,
    /// SQLSTATE, number of an error of MySQL, name of one of Kafka, or the first word of one of Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// What the server said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_msg: Option<String>,
    /// Rows changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affected_count: Option<u64>,
    /// Id that the server made for a row that was inserted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert_id: Option<u64>,
    /// Rows or elements returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_count: Option<u64>,
    /// Names of the columns returned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What the server said of each statement of several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_summary: Vec<String>,
    /// State of the transaction afterwards: `idle`, `transaction` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_state: Option<&'static str>,
    /// First byte of the command → last byte of the result in milliseconds, rounded up, at least 1; absent without a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Bytes that the local process wrote for it.
    pub bytes_sent: u64,
    /// Bytes that it read.
    pub bytes_received: u64,
    /// Who sent or received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRef>,
    /// The statement is not all of it, because of a limit.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// How it ended.
    #[serde(flatten)]
    pub notes: CommandNotes,
}

/// Who sent or received a command.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessRef {
    /// Path of the executable.
    pub exe: String,
    /// Its pid.
    pub pid: u32,
    /// Its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRef>,
}

/// What our events say beyond the original's (P-L7): how a command ended and what is missing of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CommandNotes {
    /// `complete`, `canceled`, `timeout` or `incomplete`.
    pub outcome: &'static str,
    /// Bytes of it were not captured, or which result is its own is not known.
    #[serde(skip_serializing_if = "is_false")]
    pub incomplete: bool,
    /// How many, both directions.
    #[serde(skip_serializing_if = "is_zero")]
    pub gap_bytes: u64,
    /// Last byte of the command → first byte of the result, milliseconds with microseconds as decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<f64>,
    /// First byte of the command → last byte of all, as above.
    pub total_ms: f64,
    /// Of `ttfb_ms`, what the server may have spent waiting for data, as the command allowed it to; not in `duration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<f64>,
    /// How long the server asked the client to keep still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle_ms: Option<u32>,
}

impl CommandNotes {
    /// Notes on `transaction`.
    #[must_use]
    pub fn new(transaction: &CommandTransaction) -> Self {
        let result = transaction.result.as_ref();
        Self {
            outcome: outcome_name(transaction.outcome),
            incomplete: transaction.gap_bytes() > 0 || transaction.outcome == Outcome::Incomplete,
            gap_bytes: transaction.gap_bytes(),
            ttfb_ms: transaction.ttfb_ns().map(milliseconds),
            total_ms: milliseconds(transaction.total_ns()),
            wait_ms: result.and_then(|result| result.waited_ns).map(milliseconds),
            throttle_ms: result.and_then(|result| result.throttle_ms),
        }
    }
}
