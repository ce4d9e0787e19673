//! What was asked and is not answered yet, in order. Replies come in the order of requests; `ReadyForQuery` ends the oldest batch
//! (P-Pg3). After a loss, batches and their ends taking turns prove the order (see [`Order`]).

use std::collections::VecDeque;
use std::sync::Arc;

use super::columns::{Columns, Formats};
use super::statements::{Source, is_of};
use crate::ledger::{Ledger, Open};
use crate::order::Order;
use crate::{Command, CommandError, CommandResult, Event, Outcome, Time};

/// Turns that prove the order after a loss.
const TURNS_AFTER_LOSS: u32 = 3;
/// Turns that prove it on a connection joined in the middle, which as a rule was idle.
const TURNS_MIDSTREAM: u32 = 1;

/// What a unit ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A simple query: `ReadyForQuery`, after any number of results.
    Query,
    /// A statement that is only parsed.
    Parse,
    /// What a statement or a portal returns is to be told. It is no command of its own.
    Describe,
    /// A portal that is run, or one statement of several in a simple query.
    Execute,
    /// The end of a batch: `ReadyForQuery`.
    Sync,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    pub(super) open: Open,
    /// What it returns is not shown, nor what an error quotes.
    pub(super) hides_result: bool,
    pub(super) result: CommandResult,
    /// Rows since the last tag.
    pub(super) rows: u64,
    /// What it is about, or runs.
    pub(super) source: Source,
    pub(super) columns: Option<Arc<Columns>>,
    pub(super) formats: Formats,
    /// Its result is whole.
    is_done: bool,
    /// It was never run, as one before it failed.
    is_refused: bool,
}

/// Of one connection.
#[derive(Debug)]
pub(super) struct Units {
    units: VecDeque<Unit>,
    ledger: Ledger,
    order: Order,
    is_awaiting: bool,
}

impl Units {
    pub(super) const fn new(limit: usize, midstream: bool) -> Self {
        Self {
            units: VecDeque::new(),
            ledger: Ledger::new(limit),
            order: Order::new(midstream, TURNS_MIDSTREAM),
            is_awaiting: false,
        }
    }

    /// The unit that replies belong to.
    pub(super) fn current(&mut self) -> Option<&mut Unit> {
        self.units
            .iter_mut()
            .find(|unit| !unit.is_done && unit.kind != Kind::Describe)
    }

    /// What is described next, if that is what the server tells now.
    pub(super) fn described(&self) -> Option<Source> {
        let next = self.units.iter().find(|unit| !unit.is_done)?;
        (next.kind == Kind::Describe).then_some(next.source)
    }

    /// It was described: with columns, or without any.
    pub(super) fn describe(&mut self, columns: Option<&Arc<Columns>>) {
        let mut waiting = self.units.iter_mut().skip_while(|unit| unit.is_done);
        let Some(described) = waiting.next().filter(|unit| unit.kind == Kind::Describe) else {
            return;
        };
        described.is_done = true;
        let source = described.source;
        for unit in waiting.filter(|unit| unit.kind == Kind::Execute && is_of(source, unit.source)) {
            if let Some(columns) = columns {
                unit.learn(columns);
            }
        }
    }

    /// The next reply is of a command: what was to be described before it was not.
    pub(super) fn pass_descriptions(&mut self) {
        let waiting = self.units.iter_mut().skip_while(|unit| unit.is_done);
        for unit in waiting.take_while(|unit| unit.kind == Kind::Describe) {
            unit.is_done = true;
        }
    }

    /// Notes that bytes passed.
    pub(super) fn active(&mut self, time: Time) {
        self.order.active(time);
    }

    /// More wait than can be followed.
    pub(super) fn is_flooded(&self) -> bool {
        self.ledger.is_flooded(self.units.len())
    }

    /// A command is sent. `started` is its first byte.
    pub(super) fn command(
        &mut self,
        mut unit: Unit,
        command: Command,
        [started, time]: [Time; 2],
        out: &mut Vec<Event>,
    ) {
        self.look_for_quiet(started);
        self.ledger.begin(&mut unit.open, command, [started, time], out);
        if !self.order.is_known() {
            if unit.kind == Kind::Query {
                self.await_batch();
            }
            self.ledger
                .end(&mut unit.open, None, Outcome::Incomplete, time, out);
            return;
        }
        if self.ledger.is_over() {
            self.ledger
                .end(&mut unit.open, None, Outcome::Incomplete, time, out);
        }
        self.units.push_back(unit);
    }

    /// A description is asked for.
    pub(super) fn ask_description(&mut self, source: Source) {
        if self.order.is_known() {
            let unit = Unit {
                source,
                ..Unit::new(Kind::Describe)
            };
            self.units.push_back(unit);
        }
    }

    /// A batch of the extended protocol ends.
    pub(super) fn sync(&mut self, started: Time) {
        self.look_for_quiet(started);
        if self.order.is_known() {
            self.units.push_back(Unit::new(Kind::Sync));
        } else {
            self.await_batch();
        }
    }

    fn await_batch(&mut self) {
        if std::mem::replace(&mut self.is_awaiting, true) {
            self.order.disturbed();
        }
    }

    fn look_for_quiet(&mut self, started: Time) {
        self.order.asked(started, !self.is_awaiting);
    }

    /// The server is ready for the next batch, in this state of the transaction.
    pub(super) fn ready(&mut self, state: Option<&'static str>, time: Time, out: &mut Vec<Event>) {
        if !self.order.is_known() {
            let is_turn = std::mem::take(&mut self.is_awaiting);
            self.order.turn(is_turn);
            return;
        }
        while let Some(mut unit) = self.units.pop_front() {
            let is_last = matches!(unit.kind, Kind::Query | Kind::Sync);
            unit.is_done |= unit.kind == Kind::Query && !unit.result.kind.is_empty();
            unit.result.transaction = state;
            self.end(&mut unit, Outcome::Incomplete, time, out);
            if is_last {
                return;
            }
        }
    }

    /// The current unit failed: what follows it in its batch is not run.
    pub(super) fn fail(&mut self, error: CommandError) -> bool {
        self.pass_descriptions();
        let mut units = self.units.iter_mut().skip_while(|unit| unit.is_done);
        let Some(first) = units.next().filter(|unit| unit.kind != Kind::Sync) else {
            return false;
        };
        first.result.kind = "Error";
        first.result.error = Some(error);
        if first.kind == Kind::Query {
            return true;
        }
        first.is_done = true;
        first.result.columns.clear();
        for unit in units.take_while(|unit| !matches!(unit.kind, Kind::Sync | Kind::Query)) {
            unit.is_done = true;
            unit.is_refused = true;
        }
        true
    }

    /// Ends a unit; what has its result, as complete.
    fn end(&mut self, unit: &mut Unit, otherwise: Outcome, time: Time, out: &mut Vec<Event>) {
        let (result, outcome) = match () {
            () if unit.is_refused => (None, Outcome::Refused),
            () if unit.is_done => (Some(std::mem::take(&mut unit.result)), Outcome::Complete),
            () => (None, otherwise),
        };
        self.ledger.end(&mut unit.open, result, outcome, time, out);
    }

    /// It is not known any more what is outstanding (P-L2).
    pub(super) fn lose(&mut self, time: Time, out: &mut Vec<Event>) {
        self.end_all(Outcome::Incomplete, time, out);
        self.order.lose(time, TURNS_AFTER_LOSS);
        self.is_awaiting = false;
    }

    /// Ends what is under way; what has its result, as complete.
    pub(super) fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        for mut unit in std::mem::take(&mut self.units) {
            self.end(&mut unit, outcome, time, out);
        }
    }

    /// Ends those that were sent before `before`; their replies, should they come, still take their place.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let all = self.units.iter_mut().map(|unit| &mut unit.open);
        self.ledger.expire(all, before, out);
    }
}

impl Unit {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            open: Open::default(),
            hides_result: false,
            result: CommandResult::default(),
            rows: 0,
            source: Source::default(),
            columns: None,
            formats: Formats::Unknown,
            is_done: false,
            is_refused: false,
        }
    }

    /// It is whole, and nothing answers it.
    pub(super) fn unanswered(kind: Kind) -> Self {
        let mut unit = Self::new(kind);
        unit.result.kind = "no_reply";
        unit.is_done = true;
        unit
    }

    /// The columns of what it returns are these. Those of the first result are told.
    pub(super) fn learn(&mut self, columns: &Arc<Columns>) {
        if self.result.columns.is_empty() {
            self.result.columns.clone_from(&columns.names);
            self.result.truncated |= columns.is_cut;
        }
        self.columns = Some(Arc::clone(columns));
    }

    /// One result is whole: `CommandComplete` with its tag, or what stands for it.
    pub(super) fn complete(&mut self, kind: &'static str, tag: &str) {
        let rows = std::mem::take(&mut self.rows);
        let result = &mut self.result;
        if result.error.is_none() {
            result.kind = kind;
        }
        let number = tag
            .rsplit(' ')
            .next()
            .and_then(|number| number.parse::<u64>().ok());
        let verb = tag.split(' ').next().unwrap_or_default();
        let is_change = matches!(verb, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY");
        let (field, count) = match (is_change, number) {
            (true, number) => (&mut result.affected, number),
            (false, Some(number)) => (&mut result.count, Some(number)),
            (false, None) => (&mut result.count, (rows > 0).then_some(rows)),
        };
        if let Some(count) = count {
            *field = Some(field.unwrap_or(0).saturating_add(count));
        }
        if is_change && rows > 0 && verb != "COPY" {
            // `RETURNING`
            result.count = Some(result.count.unwrap_or(0).saturating_add(rows));
        }
        if !tag.is_empty() {
            result.tag(tag.to_owned());
        }
        self.is_done |= self.kind != Kind::Query;
    }
}
