//! What was asked and is not answered yet, in order (P-My5). Replies come in the order of commands. After a loss it is not known what
//! is outstanding: commands end as incomplete until commands and whole replies took strict turns, or both sides were quiet before one.

use std::collections::VecDeque;
use std::sync::Arc;

use super::reply::Reply;
use super::statements::Statement;
use super::values::Columns;
use crate::command::boundary;
use crate::{Command, CommandError, CommandResult, CommandTraffic, Event, Outcome, Session, StreamKey, Time};

/// Quiet that proves that nothing is outstanding.
const QUIET_NS: u64 = 1_000_000_000;
/// Turns that prove it after a loss, and on a connection joined in the middle, which as a rule was idle.
const TURNS: [u32; 2] = [3, 1];
/// Results of which each has a tag.
const TAGS: usize = 256;

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
    /// `None`: its transaction has ended.
    key: Option<StreamKey>,
    pub(super) sent: Time,
    /// Sequence number of the last packet of the exchange.
    pub(super) sequence: u8,
    pub(super) reply: Reply,
    pub(super) statement: Arc<Statement>,
    /// Id of the prepared statement.
    pub(super) id: Option<u32>,
    pub(super) change: Change,
    pub(super) columns: Arc<Columns>,
    /// Their names are shown: those of the first result that has some.
    pub(super) shows_columns: bool,
    pub(super) traffic: CommandTraffic,
    pub(super) result: CommandResult,
    /// Rows of the result under way.
    pub(super) rows: u64,
    is_done: bool,
}

impl Unit {
    pub(super) fn new(kind: Kind, statement: Arc<Statement>) -> Self {
        Self {
            kind,
            key: None,
            sent: Time(0),
            sequence: 0,
            reply: Reply::begin(kind),
            statement,
            id: None,
            change: Change::Nothing,
            columns: Arc::default(),
            shows_columns: kind != Kind::Prepare,
            traffic: CommandTraffic::default(),
            result: CommandResult::default(),
            rows: 0,
            is_done: false,
        }
    }

    /// One result is whole. A set of rows outweighs the success that ends a procedure.
    pub(super) fn complete(&mut self, kind: &'static str, tag: String) {
        if !matches!(self.result.kind, "ResultSet" | "Error") || kind == "Error" {
            self.result.kind = kind;
        }
        if self.result.tags.len() < TAGS {
            self.result.tags.push(tag);
        } else {
            self.result.truncated = true;
        }
    }

    /// It failed.
    pub(super) fn fail(&mut self, error: CommandError, tag: String) {
        self.complete("Error", tag);
        self.result.error = Some(error);
    }

    /// Shows a part of what was returned.
    pub(super) fn show(&mut self, text: &str, limit: usize) {
        if self.statement.hides_result {
            return;
        }
        let result = &mut self.result;
        let end = boundary(text, limit.saturating_sub(result.preview.len()));
        result.truncated |= end < text.len();
        result.preview.push_str(text.get(..end).unwrap_or_default());
    }
}

/// Of one connection.
#[derive(Debug)]
pub(super) struct Units {
    units: VecDeque<Unit>,
    limit: usize,
    open: usize,
    next_key: u64,
    is_aligned: bool,
    turns_needed: u32,
    turns: u32,
    last_activity: Option<Time>,
}

impl Units {
    pub(super) const fn new(limit: usize, midstream: bool) -> Self {
        Self {
            units: VecDeque::new(),
            limit,
            open: 0,
            next_key: 1,
            is_aligned: !midstream,
            turns_needed: TURNS[1],
            turns: 0,
            last_activity: None,
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
        self.is_aligned
    }

    /// Notes that bytes passed.
    pub(super) fn active(&mut self, time: Time) {
        self.last_activity = Some(time);
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
        self.look_for_quiet(started);
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        out.push(Event::Command {
            key,
            command: Box::new(command),
            started,
            time,
        });
        self.open += 1;
        unit.key = Some(key);
        unit.sent = time;
        let mut is_sure = true;
        if !self.is_aligned {
            self.end(&mut unit, Outcome::Incomplete, time, out);
            if !self.units.is_empty() {
                self.units.clear();
                self.turns = 0;
                is_sure = false;
            }
        } else if self.open > self.limit {
            self.end(&mut unit, Outcome::Incomplete, time, out);
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
    pub(super) fn is_full(&self) -> bool {
        self.units.len() > self.limit.saturating_mul(2)
    }

    fn look_for_quiet(&mut self, started: Time) {
        let quiet = self
            .last_activity
            .map_or(0, |last| started.0.saturating_sub(last.0));
        self.is_aligned |= self.units.is_empty() && quiet >= QUIET_NS;
        self.last_activity = Some(started);
    }

    /// The reply to the current unit is whole.
    pub(super) fn finish(&mut self, time: Time, out: &mut Vec<Event>) {
        let Some(mut unit) = self.units.pop_front() else {
            return;
        };
        unit.is_done = true;
        self.end(&mut unit, Outcome::Complete, time, out);
        if !self.is_aligned && self.units.is_empty() {
            self.turns += 1;
            self.is_aligned = self.turns >= self.turns_needed;
        }
    }

    fn end(&mut self, unit: &mut Unit, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        let Some(key) = unit.key.take() else { return };
        self.open -= 1;
        let result = unit.is_done.then(|| Box::new(std::mem::take(&mut unit.result)));
        out.push(Event::CommandEnd {
            key,
            result,
            outcome,
            traffic: unit.traffic,
            time,
        });
    }

    /// It is not known any more what is outstanding (P-L2).
    pub(super) fn lose(&mut self, time: Time, out: &mut Vec<Event>) {
        self.end_all(Outcome::Incomplete, time, out);
        self.is_aligned = false;
        self.turns_needed = TURNS[0];
        self.turns = 0;
        self.last_activity = Some(time);
    }

    /// Ends what is under way.
    pub(super) fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        for mut unit in std::mem::take(&mut self.units) {
            self.end(&mut unit, outcome, time, out);
        }
    }

    /// Ends those that were sent before `before`; their replies, should they come, still take their place.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let mut units = std::mem::take(&mut self.units);
        for unit in &mut units {
            let last = unit.traffic.last_byte.unwrap_or(unit.sent).max(unit.sent);
            if last < before {
                self.end(unit, Outcome::Timeout, last, out);
            }
        }
        self.units = units;
    }
}
