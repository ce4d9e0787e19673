//! Who receives what the engine makes.

use qtap_capture::ConnectionId;
use qtap_protocol::{Command, Detail, RequestHead, StreamKey, detect::Protocol};

use crate::{CommandTransaction, ConnectionFacts, ConnectionReport, DnsTransaction, Transaction};

/// How much of a transaction is wanted (P-X2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Nothing.
    None,
    /// Everything but the bodies.
    Head,
    /// Bodies too, up to this many bytes each.
    Body(usize),
}

/// Receives transactions and connection reports, on the worker's thread. Implemented by the plugin stacks.
pub trait Consumer: Send {
    /// Whether payload of this connection is to be parsed, asked when its protocol is known.
    fn wants(&mut self, connection: &ConnectionFacts, protocol: Protocol) -> bool;

    /// What is shown of the commands of a database or queue, asked when a connection to one is to be parsed.
    fn detail(&mut self, _protocol: Protocol) -> Detail {
        Detail::default()
    }

    /// Payload of this connection is about to be parsed. With many connections, what is kept of one has left the processor's caches by then; whoever
    /// reads from it here has the processor fetch it while other connections are looked at.
    fn look_ahead(&self, _connection: ConnectionId) {}

    /// How much of the transaction `key` that begins with `request` is wanted. The same number comes back as
    /// [`Transaction::stream`], so that a transaction ends under the configuration it began with (P-X6).
    fn interest(&mut self, connection: &ConnectionFacts, key: StreamKey, request: &RequestHead) -> Interest;

    /// A transaction ended. Called exactly once for each that `interest` did not refuse.
    fn transaction(&mut self, connection: &ConnectionFacts, transaction: &Transaction);

    /// State of a transaction that goes on for long, an event stream or a WebSocket (`transaction.partial`); [`Consumer::transaction`]
    /// follows when it ends. A consumer that tells only of what ended need not care.
    fn progress(&mut self, _connection: &ConnectionFacts, _transaction: &Transaction) {}

    /// Whether the command `key` of a database that begins is wanted; as [`Consumer::interest`].
    fn wants_command(&mut self, connection: &ConnectionFacts, key: StreamKey, command: &Command) -> bool;

    /// A command of a database ended. Called exactly once for each that `wants_command` accepted.
    fn command(&mut self, connection: &ConnectionFacts, transaction: &CommandTransaction);

    /// Whether queries of DNS on this connection, or flow of UDP, are wanted; asked for each that ended.
    fn wants_dns(&mut self, _connection: &ConnectionFacts) -> bool {
        false
    }

    /// A query of DNS ended. Called for each for which `wants_dns` was just answered with yes.
    fn dns(&mut self, _connection: &ConnectionFacts, _transaction: &DnsTransaction) {}

    /// State of a connection: shortly after it opened, at intervals, and finally (`report.finalized`).
    fn connection(&mut self, report: &ConnectionReport);
}
