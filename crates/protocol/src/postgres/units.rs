//! What was asked and is not answered yet, in order. Replies come in the order of requests; `ReadyForQuery` ends the oldest batch
//! (P-Pg3). After a loss it is not known what is outstanding: commands end as incomplete until batches and their ends took strict
//! turns, or both sides were quiet before one.

use std::collections::VecDeque;

use crate::command::{boundary, shown};
use crate::{Command, CommandError, CommandResult, CommandTraffic, Event, Outcome, StreamKey, Time};

/// Quiet that proves that nothing is outstanding.
const QUIET_NS: u64 = 1_000_000_000;
/// Turns that prove it after a loss, and on a connection joined in the middle, which as a rule was idle.
const TURNS: [u32; 2] = [3, 1];
/// Columns and tags kept.
const NAMES: usize = 256;

/// What a unit ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A simple query: `ReadyForQuery`, after any number of results.
    Query,
    /// A statement that is only parsed.
    Parse,
    /// A portal that is run.
    Execute,
    /// The end of a batch: `ReadyForQuery`.
    Sync,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    /// `None`: it has no transaction, or that has ended.
    key: Option<StreamKey>,
    sent: Time,
    pub(super) is_secret: bool,
    pub(super) traffic: CommandTraffic,
    pub(super) result: CommandResult,
    /// Rows since the last tag.
    pub(super) rows: u64,
    /// Its result is whole.
    is_done: bool,
    /// It was never run, as one before it failed.
    is_refused: bool,
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
    is_awaiting: bool,
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
            is_awaiting: false,
            last_activity: None,
        }
    }

    /// The unit that replies belong to.
    pub(super) fn current(&mut self) -> Option<&mut Unit> {
        self.units.iter_mut().find(|unit| !unit.is_done)
    }

    /// Notes that bytes passed.
    pub(super) fn active(&mut self, time: Time) {
        self.last_activity = Some(time);
    }

    /// A command is sent. `started` is its first byte.
    pub(super) fn command(
        &mut self,
        kind: Kind,
        command: Command,
        times: [Time; 2],
        traffic: CommandTraffic,
        out: &mut Vec<Event>,
    ) {
        let [started, time] = times;
        self.look_for_quiet(started);
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        let is_secret = command.redacted;
        out.push(Event::Command {
            key,
            command: Box::new(command),
            started,
            time,
        });
        self.open += 1;
        let mut unit = Unit {
            key: Some(key),
            is_secret,
            traffic,
            ..Unit::bare(kind, time)
        };
        if !self.is_aligned {
            if kind == Kind::Query {
                self.await_batch();
            }
            self.end(&mut unit, Outcome::Incomplete, time, out);
            return;
        }
        if self.open > self.limit {
            self.end(&mut unit, Outcome::Incomplete, time, out);
        }
        self.units.push_back(unit);
    }

    /// A batch of the extended protocol ends.
    pub(super) fn sync(&mut self, started: Time) {
        self.look_for_quiet(started);
        if self.is_aligned {
            self.units.push_back(Unit::bare(Kind::Sync, started));
        } else {
            self.await_batch();
        }
    }

    fn await_batch(&mut self) {
        if std::mem::replace(&mut self.is_awaiting, true) {
            self.turns = 0;
        }
    }

    fn look_for_quiet(&mut self, started: Time) {
        let quiet = self
            .last_activity
            .map_or(0, |last| started.0.saturating_sub(last.0));
        self.is_aligned |= !self.is_awaiting && quiet >= QUIET_NS;
        self.last_activity = Some(started);
    }

    /// The server is ready for the next batch, in this state of the transaction.
    pub(super) fn ready(&mut self, state: Option<&'static str>, time: Time, out: &mut Vec<Event>) {
        if !self.is_aligned {
            self.turns = if std::mem::take(&mut self.is_awaiting) {
                self.turns + 1
            } else {
                0
            };
            self.is_aligned = self.turns >= self.turns_needed;
            return;
        }
        while let Some(mut unit) = self.units.pop_front() {
            let is_last = matches!(unit.kind, Kind::Query | Kind::Sync);
            let is_done = unit.is_done || unit.kind == Kind::Query && !unit.result.kind.is_empty();
            unit.is_done = is_done;
            unit.result.transaction = state;
            self.end(
                &mut unit,
                if is_done {
                    Outcome::Complete
                } else {
                    Outcome::Incomplete
                },
                time,
                out,
            );
            if is_last {
                return;
            }
        }
    }

    /// The current unit failed: what follows it in its batch is not run.
    pub(super) fn fail(&mut self, error: CommandError) -> bool {
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
        for unit in units.take_while(|unit| !matches!(unit.kind, Kind::Sync | Kind::Query)) {
            unit.is_done = true;
            unit.is_refused = true;
        }
        true
    }

    fn end(&mut self, unit: &mut Unit, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        let Some(key) = unit.key.take() else { return };
        self.open -= 1;
        let outcome = if unit.is_refused {
            Outcome::Refused
        } else {
            outcome
        };
        let has_result = unit.is_done && !unit.is_refused;
        let result = has_result.then(|| Box::new(std::mem::take(&mut unit.result)));
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
        self.is_awaiting = false;
        self.turns_needed = TURNS[0];
        self.turns = 0;
        self.last_activity = Some(time);
    }

    /// Ends what is under way; what has its result, as complete.
    pub(super) fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        for mut unit in std::mem::take(&mut self.units) {
            let outcome = if unit.is_done { Outcome::Complete } else { outcome };
            self.end(&mut unit, outcome, time, out);
        }
    }

    /// Ends those that were sent before `before`; their replies, should they come, still take their place.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let mut units = std::mem::take(&mut self.units);
        for unit in units.iter_mut() {
            let last = unit.traffic.last_byte.unwrap_or(unit.sent).max(unit.sent);
            if last < before {
                self.end(unit, Outcome::Timeout, last, out);
            }
        }
        self.units = units;
    }
}

impl Unit {
    fn bare(kind: Kind, sent: Time) -> Self {
        Self {
            kind,
            key: None,
            sent,
            is_secret: false,
            traffic: CommandTraffic::default(),
            result: CommandResult::default(),
            rows: 0,
            is_done: false,
            is_refused: false,
        }
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
            *field = Some(field.unwrap_or(0) + count);
        }
        if is_change && rows > 0 && verb != "COPY" {
            // `RETURNING`
            result.count = Some(result.count.unwrap_or(0) + rows);
        }
        if !tag.is_empty() {
            if result.tags.len() < NAMES {
                result.tags.push(tag.to_owned());
            } else {
                result.truncated = true;
            }
        }
        self.is_done |= self.kind != Kind::Query;
    }

    /// A column of a result.
    pub(super) fn column(&mut self, name: &[u8]) {
        if self.result.columns.len() < NAMES {
            self.result.columns.push(shown(name, 256).0);
        } else {
            self.result.truncated = true;
        }
    }

    /// Shows a part of a row.
    pub(super) fn show(&mut self, text: &str, limit: usize) {
        if self.is_secret {
            return;
        }
        let result = &mut self.result;
        let end = boundary(text, limit.saturating_sub(result.preview.len()));
        result.truncated |= end < text.len();
        result.preview.push_str(text.get(..end).unwrap_or_default());
    }
}
