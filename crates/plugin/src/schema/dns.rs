//! `dns` events (`protocols.md` P-N2).

use std::sync::Arc;

use qtap_engine::DnsTransaction;
use qtap_protocol::dns::{Opcode, Rcode, Record, RecordClass, Response};
use qtap_protocol::{Outcome, dns};
use serde::Serialize;

use super::notes::{milliseconds, outcome_name};
use super::tags::{Tags, no_tags};
use super::{Endpoint, Timestamp, is_false, is_zero};

/// One query of DNS with its answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsEvent {
    /// The connection, or the flow of UDP.
    pub connection_id: Arc<str>,
    /// Name or address of the server.
    pub endpoint_id: Arc<str>,
    /// The query.
    pub request_id: Arc<str>,
    /// `key:value`.
    #[serde(skip_serializing_if = "no_tags")]
    pub tags: Arc<Tags>,
    /// Time of completion.
    pub timestamp: Timestamp,
    /// Direction label.
    pub direction: &'static str,
    /// `udp` or `tcp`.
    pub socket_protocol: &'static str,
    /// `dns`.
    pub l7_protocol: &'static str,
    /// What was asked.
    #[serde(flatten)]
    pub query: DnsQuery,
    /// What came back; nothing when no answer was seen.
    #[serde(flatten)]
    pub response: Option<DnsResponse>,
    /// Times that the query was sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retransmits: u64,
    /// First byte of the query → last byte of the answer in milliseconds, rounded up, at least 1; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Bytes that the local process wrote for it.
    pub bytes_sent: u64,
    /// Bytes that it read.
    pub bytes_received: u64,
    /// The client.
    pub source: Endpoint,
    /// The server.
    pub destination: Endpoint,
    /// How it ended.
    #[serde(flatten)]
    pub notes: DnsNotes,
}

/// What was asked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsQuery {
    /// Number that the client gave it.
    pub query_id: u16,
    /// Absent for what nearly all are, `QUERY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opcode: Option<String>,
    /// The name asked for, in lower case, without the dot at its end; `.` for the root.
    pub name: String,
    /// Kind of record asked for: `A`.
    pub record_type: String,
    /// Absent for `IN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_class: Option<String>,
}

/// What came back.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsResponse {
    /// `NOERROR`, `NXDOMAIN`.
    pub rcode: String,
    /// The response code is another than `NOERROR`.
    pub is_error: bool,
    /// Extended error (RFC 8914).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u16>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_msg: Option<String>,
    /// Records of the answer, 64 at most.
    pub answers: Vec<DnsAnswer>,
    /// Records of the answer, those that are not in `answers` included.
    pub answer_count: usize,
    /// The answer was too long for a datagram.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// The server answers for the zone.
    #[serde(skip_serializing_if = "is_false")]
    pub authoritative: bool,
    /// The server vouches for the records (DNSSEC).
    #[serde(skip_serializing_if = "is_false")]
    pub authentic: bool,
    /// Messages that it came in, if more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u32>,
}

/// A record.
#[derive(Clone, Debug, Serialize)]
pub struct DnsAnswer {
    /// Of which name.
    pub name: String,
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// What it says, as in the file of a zone.
    pub data: String,
}

/// How a query ended, and what is missing of it (P-L7).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DnsNotes {
    /// `complete`, `canceled`, `timeout` or `incomplete`.
    pub outcome: &'static str,
    /// Bytes of it were not captured, or something was lost that may have been its answer.
    #[serde(skip_serializing_if = "is_false")]
    pub incomplete: bool,
    /// How many, both directions.
    #[serde(skip_serializing_if = "is_zero")]
    pub gap_bytes: u64,
    /// First byte of the query → end, milliseconds with microseconds as decimals.
    pub total_ms: f64,
}

impl DnsQuery {
    /// Of `query`.
    #[must_use]
    pub fn new(query: &dns::Query) -> Self {
        let question = &query.question;
        Self {
            query_id: query.id,
            opcode: (query.opcode != Opcode::QUERY).then(|| query.opcode.to_string()),
            name: question.name.to_string(),
            record_type: question.kind.to_string(),
            record_class: (question.class != RecordClass::IN).then(|| question.class.to_string()),
        }
    }
}

impl DnsResponse {
    /// Of `response`.
    #[must_use]
    pub fn new(response: &Response) -> Self {
        let error = response.error.as_ref();
        let text = error.map(|error| String::from_utf8_lossy(&error.text).into_owned());
        Self {
            rcode: response.rcode.to_string(),
            is_error: response.rcode != Rcode::NO_ERROR,
            error_code: error.map(|error| error.code),
            error_msg: text.filter(|text| !text.is_empty()),
            answers: response.records.iter().map(DnsAnswer::new).collect(),
            answer_count: response.records.len() + response.records_left,
            truncated: response.is_truncated,
            authoritative: response.is_authoritative,
            authentic: response.is_authentic,
            messages: (response.messages > 1).then_some(response.messages),
        }
    }
}

impl DnsAnswer {
    fn new(record: &Record) -> Self {
        Self {
            name: record.name.to_string(),
            kind: record.kind.to_string(),
            ttl: record.ttl,
            data: record.answer.to_string(),
        }
    }
}

impl DnsNotes {
    /// Notes on `transaction`.
    #[must_use]
    pub fn new(transaction: &DnsTransaction) -> Self {
        let exchange = &transaction.exchange;
        Self {
            outcome: outcome_name(exchange.outcome),
            incomplete: exchange.gap_bytes() > 0 || exchange.outcome == Outcome::Incomplete,
            gap_bytes: exchange.gap_bytes(),
            total_ms: milliseconds(exchange.ended.0.saturating_sub(exchange.started.0)),
        }
    }
}
