//! Gathers the connections of the checked command.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use qtap_engine::{CommandTransaction, ConnectionFacts, ConnectionReport, Consumer, Interest, Transaction};
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Command, RequestHead, StreamKey, grpc};

/// Transactions of one connection that are shown by line.
const LINES: usize = 8;
/// Connections kept; a command with more is judged by these, and the rest is counted.
const CONNECTIONS: usize = 10_000;

/// One connection: its latest report, and its first transactions.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) report: ConnectionReport,
    pub(crate) lines: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    reports: BTreeMap<Arc<str>, ConnectionReport>,
    lines: BTreeMap<Arc<str>, Vec<String>>,
    dropped: u64,
}

/// Shared by the workers' consumers and the command that waits for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collector(Arc<Mutex<State>>);

impl Collector {
    /// Every connection seen, in the order they opened.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = |id: &Arc<str>| state.lines.get(id).cloned().unwrap_or_default();
        state
            .reports
            .iter()
            .map(|(id, report)| Seen {
                report: report.clone(),
                lines: lines(id),
            })
            .collect()
    }

    /// Whether every connection reported so far has ended.
    pub(crate) fn all_finished(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.reports.values().all(|report| report.finalized)
    }

    /// Adds what a transaction was, if there is room.
    fn add(&self, connection: &ConnectionFacts, line: impl FnOnce() -> String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.lines.contains_key(&connection.public_id) && state.lines.len() >= CONNECTIONS {
            return;
        }
        let lines = state.lines.entry(Arc::clone(&connection.public_id)).or_default();
        if lines.len() < LINES {
            lines.push(line());
        }
    }

    /// Connections beyond the bound.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

impl Consumer for Collector {
    fn wants(&mut self, _: &ConnectionFacts, _: Protocol) -> bool {
        true
    }

    fn interest(&mut self, _: &ConnectionFacts, _: StreamKey, _: &RequestHead) -> Interest {
        Interest::Head
    }

    fn transaction(&mut self, connection: &ConnectionFacts, transaction: &Transaction) {
        self.add(connection, || line(transaction));
    }

    fn wants_command(&mut self, _: &ConnectionFacts, _: StreamKey, _: &Command) -> bool {
        true
    }

    fn command(&mut self, connection: &ConnectionFacts, transaction: &CommandTransaction) {
        self.add(connection, || command_line(transaction));
    }

    fn connection(&mut self, report: &ConnectionReport) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &report.facts.public_id;
        if !state.reports.contains_key(id) && state.reports.len() >= CONNECTIONS {
            state.dropped += 1;
            return;
        }
        state.reports.insert(Arc::clone(id), report.clone());
    }
}

/// `GET /path 200`, control characters made visible.
fn line(transaction: &Transaction) -> String {
    if transaction.grpc.is_some() {
        return call_line(transaction);
    }
    let status = transaction
        .response
        .as_ref()
        .map_or_else(|| "no response".to_owned(), |head| head.status.to_string());
    let shown = format!(
        "{} {} {status}",
        String::from_utf8_lossy(&transaction.request.method),
        String::from_utf8_lossy(&transaction.request.target),
    );
    visible(&shown)
}

/// `pkg.Service/Method NOT_FOUND` of a call of gRPC.
fn call_line(transaction: &Transaction) -> String {
    let path = String::from_utf8_lossy(&transaction.request.target);
    let (service, method) = grpc::service_and_method(&path);
    let name = transaction
        .grpc_status()
        .map_or("status unknown", |status| status.code.name());
    visible(&format!("{service}/{method} {name}"))
}

/// `redis SET key value: simple_string`, cut to what fits a line.
fn command_line(transaction: &CommandTransaction) -> String {
    const STATEMENT_CHARS: usize = 200;
    let statement: String = transaction
        .command
        .statement()
        .chars()
        .take(STATEMENT_CHARS)
        .collect();
    let result = match &transaction.result {
        None => "no result",
        Some(result) => result.kind,
    };
    visible(&format!("{} {statement}: {result}", transaction.protocol.name()))
}

fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|char| {
            if char.is_control() {
                char.escape_default().collect::<Vec<_>>()
            } else {
                vec![char]
            }
        })
        .collect()
}
