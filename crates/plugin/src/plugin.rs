//! What a plugin is.

use std::sync::Arc;

use qtap_engine::{ConnectionFacts, Interest};
use qtap_protocol::{Command, RequestHead};

use crate::access_logs::Terminal;
use crate::agent::Agent;
use crate::command_exchange::CommandExchange;
use crate::exchange::Exchange;
use crate::sink::{LineSink, Stores};

/// One entry of a stack, configured once and shared by all workers. Called on the worker's thread: it must not block,
/// and its time is measured (P-X5). A panic ends the transaction for this plugin only.
pub trait Plugin: Send + Sync {
    /// How much of the transaction that begins with `request` it wants (P-X2). Asked once, at the request head.
    fn interest(&self, connection: &ConnectionFacts, request: &RequestHead) -> Interest;

    /// A transaction it wanted is over. Called exactly once, whatever the outcome (P-X4). Another plugin of the stack
    /// may have wanted more, so there can be bodies that this one did not ask for.
    fn transaction(&self, exchange: &Exchange<'_>);

    /// A transaction it wanted goes on for long, an event stream or a WebSocket (`exchange.transaction.partial`): called now and then
    /// with its state so far, before [`Plugin::transaction`].
    fn progress(&self, _exchange: &Exchange<'_>) {}

    /// Whether it wants the command of a database or queue that begins. Asked once.
    fn wants_command(&self, _connection: &ConnectionFacts, _command: &Command) -> bool {
        false
    }

    /// A command it wanted is over. Called exactly once, whatever the outcome.
    fn command(&self, _exchange: &CommandExchange<'_>) {}
}

/// What plugins are made with.
#[derive(Clone)]
pub struct Context {
    /// The agent.
    pub agent: Arc<Agent>,
    /// The stores of the same configuration.
    pub stores: Stores,
    /// Standard output.
    pub output: Arc<dyn LineSink>,
    /// What standard output is.
    pub terminal: Terminal,
}

/// A plugin's wish for bodies up to `limit`; without bodies when the limit is 0 (P-B2).
pub(crate) const fn body_interest(limit: usize) -> Interest {
    if limit == 0 {
        Interest::Head
    } else {
        Interest::Body(limit)
    }
}
