//! What was asked and is not answered yet, in order (P-My5). Replies come in the order of commands (see [`Order`]).

use std::collections::VecDeque;
use std::sync::Arc;

use super::reply::Reply;
use super::values::Columns;
use crate::ledger::{Ledger, Open};
use crate::order::Order;
use crate::statement::Statement;
use crate::{Command, CommandError, CommandResult, Event, Outcome, Session, Time};

/// Turns that prove the order after a loss.
const TURNS_AFTER_LOSS: u32 = 3;
/// Turns that prove it on a connection joined in the middle, which as a rule was idle.
const TURNS_MIDSTREAM: u32 = 1;

/// What kind of reply a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Results, rows in text.
    Query,
    /// Results, rows in binary.
    Execute,
    /// Rows in binary, without their columns.
    Fetch,
    /// A prepared statement.
    Prepare,
    /// Definitions of columns.
    FieldList,
    /// A text.
    Statistics,
    /// As logging in.
    ChangeUser,
    /// Success or not.
    Simple,
}

/// What changes for the session once the command succeeded.
#[derive(Clone, Debug, Default)]
pub(super) enum Change {
    #[default]
    Nothing,
    /// Another database.
    Database(Arc<str>),
    /// Another user, whose statements are gone.
    User(Session),
    /// The same user, whose statements are gone.
    Reset,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    pub(super) open: Open,
    /// Sequence number of the last packet of the exchange.
    pub(super) sequence: u8,
    pub(super) reply: Reply,
    pub(super) statement: Arc<Statement>,
    /// Id of the prepared statement.
    pub(super) id: Option<u32>,
    /// Parameters of one that was prepared.
    pub(super) parameters: u16,
    pub(super) change: Change,
    pub(super) columns: Arc<Columns>,
    /// Their names are shown: those of the first result that has some.
    pub(super) shows_columns: bool,
    pub(super) result: CommandResult,
    /// Rows of the result under way.
    pub(super) rows: u64,
}

impl Unit {
    pub(super) fn new(kind: Kind, statement: Arc<Statement>) -> Self {
        Self {
            kind,
            open: Open::default(),
            sequence: 0,
            reply: Reply::begin(kind),
            statement,
            id: None,
            parameters: 0,
            change: Change::Nothing,
            columns: Arc::default(),
            shows_columns: kind != Kind::Prepare,
            result: CommandResult::default(),
            rows: 0,
        }
    }

    /// One result is whole. A set of rows outweighs the success that ends a procedure.
    pub(super) fn complete(&mut self, kind: &'static str, tag: String) {
        if !matches!(self.result.kind, "ResultSet" | "Error") || kind == "Error" {
            self.result.kind = kind;
        }
        self.result.tag(tag);
    }

    /// It failed.
    pub(super) fn fail(&mut self, error: CommandError, tag: String) {
        self.complete("Error", tag);
        self.result.error = Some(error);
    }

    /// Shows a part of what was returned.
    pub(super) fn show(&mut self, text: &str, limit: usize) {
        if !self.statement.hides_result {
            self.result.show(text, limit);
        }
    }
}

/// Of one connection.
#[derive(Debug)]
pub(super) struct Units {
    units: VecDeque<Unit>,
    ledger: Ledger,
    order: Order,
}

impl Units {
    pub(super) const fn new(limit: usize, midstream: bool) -> Self {
        Self {
            units: VecDeque::new(),
            ledger: Ledger::new(limit),
            order: Order::new(midstream, TURNS_MIDSTREAM),
        }
    }

    /// The unit that replies belong to.
    pub(super) fn current(&mut self) -> Option<&mut Unit> {
        self.units.front_mut()
    }

    /// As above.
    pub(super) fn front(&self) -> Option<&Unit> {
        self.units.front()
    }

    /// It is known which reply belongs to which command.
    pub(super) const fn is_aligned(&self) -> bool {
        self.order.is_known()
    }

    /// Notes that bytes passed.
    pub(super) fn active(&mut self, time: Time) {
        self.order.active(time);
    }

    /// A command is sent; `started` is its first byte. Tells whether what the server sends next begins a reply for sure, or is to be
    /// found: what was thought to be outstanding was not.
    pub(super) fn command(
        &mut self,
        mut unit: Unit,
        command: Command,
        [started, time]: [Time; 2],
        out: &mut Vec<Event>,
    ) -> bool {
        self.order.asked(started, self.units.is_empty());
        let open = &mut unit.open;
        self.ledger.begin(open, command, [started, time], out);
        let mut is_sure = true;
        if !self.order.is_known() {
            self.ledger.end(open, None, Outcome::Incomplete, time, out);
            if !self.units.is_empty() {
                self.units.clear();
                self.order.disturbed();
                is_sure = false;
            }
        } else if self.ledger.is_over() {
            self.ledger.end(open, None, Outcome::Incomplete, time, out);
        }
        self.units.push_back(unit);
        is_sure
    }

    /// A statement was prepared: those that run the one prepared last, and were sent before the next such, run this.
    pub(super) fn resolve(&mut self, id: u32, columns: &Arc<Columns>) {
        let followers = self
            .units
            .iter_mut()
            .take_while(|unit| unit.kind != Kind::Prepare);
        for unit in followers.filter(|unit| unit.kind == Kind::Execute && unit.id.is_none()) {
            unit.id = Some(id);
            unit.columns = Arc::clone(columns);
        }
    }

    /// A statement is to be prepared.
    pub(super) fn is_preparing(&self) -> bool {
        self.units.iter().any(|unit| unit.kind == Kind::Prepare)
    }

    /// More wait than can be followed.
    pub(super) fn is_flooded(&self) -> bool {
        self.ledger.is_flooded(self.units.len())
    }

    /// The reply to the current unit is whole.
    pub(super) fn finish(&mut self, time: Time, out: &mut Vec<Event>) {
        let Some(mut unit) = self.units.pop_front() else {
            return;
        };
        let result = Some(unit.result);
        self.ledger
            .end(&mut unit.open, result, Outcome::Complete, time, out);
        if !self.order.is_known() && self.units.is_empty() {
            self.order.turn(true);
        }
    }

    /// It is not known any more what is outstanding (P-L2).
    pub(super) fn lose(&mut self, time: Time, out: &mut Vec<Event>) {
        self.end_all(Outcome::Incomplete, time, out);
        self.order.lose(time, TURNS_AFTER_LOSS);
    }

    /// Ends what is under way.
    pub(super) fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        for mut unit in std::mem::take(&mut self.units) {
            self.ledger.end(&mut unit.open, None, outcome, time, out);
        }
    }

    /// Ends those that were sent before `before`; their replies, should they come, still take their place.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let all = self.units.iter_mut().map(|unit| &mut unit.open);
        self.ledger.expire(all, before, out);
    }
}
