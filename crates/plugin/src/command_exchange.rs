//! A command of a database or queue on its connection, with what every plugin says of it.

use qtap_capture::Role;
use qtap_engine::{CommandTransaction, ConnectionFacts};
use qtap_process::Process;
use qtap_protocol::{CommandError, Counts};

use crate::exchange::Labels;

/// One command and its connection.
#[derive(Clone, Copy)]
pub struct CommandExchange<'a> {
    /// The connection, as known at the end of the command.
    pub connection: &'a ConnectionFacts,
    /// The command and its result.
    pub transaction: &'a CommandTransaction,
    /// What every record says of the connection.
    pub labels: &'a Labels,
}

impl<'a> CommandExchange<'a> {
    /// The process, once known.
    #[must_use]
    pub fn process(&self) -> Option<&'a Process> {
        self.connection.process.as_deref()
    }

    /// Path of the executable; empty when not known.
    #[must_use]
    pub fn exe(&self) -> &'a str {
        self.process().map_or("", |process| process.exe.as_str())
    }

    /// What failed.
    #[must_use]
    pub fn error(&self) -> Option<&'a CommandError> {
        self.transaction.result.as_ref()?.error.as_ref()
    }

    /// First byte of the command → last byte of its result, in milliseconds, rounded up and at least 1 (P-T1), less what the server
    /// may have spent waiting for data (P-K7). Absent without a result.
    #[must_use]
    pub fn duration_ms(&self) -> Option<u64> {
        let waited_ns = self.transaction.result.as_ref()?.waited_ns.unwrap_or(0);
        let busy_ns = self.transaction.total_ns().saturating_sub(waited_ns);
        Some(busy_ns.div_ceil(1_000_000).max(1))
    }

    /// What the local process wrote.
    #[must_use]
    pub const fn sent(&self) -> Counts {
        match self.connection.role {
            Role::Client => self.transaction.traffic.request,
            Role::Server => self.transaction.traffic.response,
        }
    }

    /// What the local process read.
    #[must_use]
    pub const fn received(&self) -> Counts {
        match self.connection.role {
            Role::Client => self.transaction.traffic.response,
            Role::Server => self.transaction.traffic.request,
        }
    }
}
