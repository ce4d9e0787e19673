//! Transactions of parsers of commands: each begins once, ends once, and counts its bytes.

use crate::{Command, CommandResult, CommandTraffic, Counts, Event, Outcome, StreamKey, Time};

/// The transactions of one connection.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: usize,
    open: usize,
    next_key: u64,
}

/// One transaction, or what is left of it when it has ended.
#[derive(Debug, Default)]
pub(crate) struct Open {
    key: Option<StreamKey>,
    /// Last byte of the command.
    pub(crate) sent: Time,
    pub(crate) traffic: CommandTraffic,
}

impl Ledger {
    /// `limit`: transactions that may be open at the same time.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            open: 0,
            next_key: 1,
        }
    }

    /// A command was sent, from `started` to `sent`.
    pub(crate) fn begin(
        &mut self,
        open: &mut Open,
        command: Command,
        [started, sent]: [Time; 2],
        out: &mut Vec<Event>,
    ) {
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        self.open += 1;
        open.key = Some(key);
        open.sent = sent;
        out.push(Event::Command {
            key,
            command: Box::new(command),
            started,
            time: sent,
        });
    }

    /// Ends a transaction, if it has not ended yet.
    pub(crate) fn end(
        &mut self,
        open: &mut Open,
        result: Option<CommandResult>,
        outcome: Outcome,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        let Some(key) = self.close(open) else { return };
        out.push(Event::CommandEnd {
            key,
            result: result.map(Box::new),
            outcome,
            traffic: open.traffic,
            time,
        });
    }

    /// The same, for one who tells of it later: gives its key, unless it has ended.
    pub(crate) fn close(&mut self, open: &mut Open) -> Option<StreamKey> {
        let key = open.key.take()?;
        self.open = self.open.saturating_sub(1);
        Some(key)
    }

    /// More are open than may be.
    pub(crate) const fn is_over(&self) -> bool {
        self.open > self.limit
    }

    /// More wait than can be followed, ended ones among them: replies that are due take their place.
    pub(crate) const fn is_flooded(&self, waiting: usize) -> bool {
        waiting > self.limit.saturating_mul(2)
    }

    /// Ends, as timed out, those of `all` that had their last byte before `before`. Their replies, should they come, still take their
    /// place.
    pub(crate) fn expire<'a>(
        &mut self,
        all: impl Iterator<Item = &'a mut Open>,
        before: Time,
        out: &mut Vec<Event>,
    ) {
        for old in all.filter(|open| open.last() < before) {
            let last = old.last();
            self.end(old, None, Outcome::Timeout, last, out);
        }
    }
}

impl Open {
    /// Whether it has not ended.
    pub(crate) const fn is_open(&self) -> bool {
        self.key.is_some()
    }

    /// Its last byte so far.
    pub(crate) fn last(&self) -> Time {
        self.traffic.last_byte.unwrap_or(self.sent).max(self.sent)
    }

    /// Counts a message of the client.
    pub(crate) fn asked(&mut self, counts: Counts) {
        add(&mut self.traffic.request, counts);
    }

    /// Counts a message of the server, from its first byte to its last.
    pub(crate) fn answered(&mut self, counts: Counts, started: Time, ended: Time) {
        add(&mut self.traffic.response, counts);
        self.traffic.first_byte.get_or_insert(started);
        self.traffic.last_byte = Some(ended);
    }
}

fn add(sum: &mut Counts, counts: Counts) {
    sum.head_bytes += counts.head_bytes;
    sum.body_bytes += counts.body_bytes;
    sum.gap_bytes += counts.gap_bytes;
}

/// Messages of the client that belong to the next command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preface {
    started: Option<Time>,
    request: Counts,
}

impl Preface {
    /// Counts a message that began at `started`.
    pub(crate) fn add(&mut self, started: Time, counts: Counts) {
        self.started.get_or_insert(started);
        add(&mut self.request, counts);
    }

    /// Whether there is any.
    pub(crate) const fn is_begun(&self) -> bool {
        self.started.is_some()
    }

    /// Gives them to the command that they belong to: returns the first byte of all, `last` without any.
    pub(crate) fn give(&mut self, open: &mut Open, last: Time) -> Time {
        let preface = std::mem::take(self);
        open.asked(preface.request);
        preface.started.unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommandText, Session};

    fn command() -> Command {
        Command {
            name: "PING".into(),
            text: CommandText::Words(vec!["PING".into()]),
            prepared: None,
            parameters: Vec::new(),
            session: Session::default(),
            truncated: false,
            redacted: false,
        }
    }

    #[test]
    fn a_transaction_ends_once_and_what_waits_long_times_out() {
        let (mut ledger, mut out) = (Ledger::new(1), Vec::new());
        let mut all = [Open::default(), Open::default()];
        for (open, sent) in all.iter_mut().zip([10, 20]) {
            ledger.begin(open, command(), [Time(sent - 1), Time(sent)], &mut out);
        }
        assert!(ledger.is_over());
        ledger.expire(all.iter_mut(), Time(15), &mut out);
        ledger.end(&mut all[0], None, Outcome::Complete, Time(30), &mut out);
        ledger.end(&mut all[1], None, Outcome::Complete, Time(30), &mut out);
        let ends: Vec<_> = out
            .iter()
            .filter_map(|event| match event {
                Event::CommandEnd {
                    key, outcome, time, ..
                } => Some((key.0, *outcome, time.0)),
                _ => None,
            })
            .collect();
        assert_eq!(ends, [(1, Outcome::Timeout, 10), (2, Outcome::Complete, 30)]);
        assert!(!ledger.is_over() && !all[0].is_open());
    }
}
