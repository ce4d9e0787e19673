//! Which reply belongs to which command.
//!
//! Replies come in the order of the commands, so a queue pairs them, as long as none of either was missed. After a loss, and when
//! the connection was joined in the middle, it is not known how many replies are outstanding. Then commands end as incomplete, until
//! the traffic proves that nothing is outstanding: both sides were quiet for a second before a command, or commands and plausible
//! replies took strict turns for a while.

use std::collections::VecDeque;

use super::commands::{Answer, is_plausible};
use crate::{Command, CommandResult, CommandTraffic, Counts, Event, Outcome, StreamKey, Time};

/// Quiet that proves that no reply is outstanding.
const QUIET_NS: u64 = 1_000_000_000;
/// Turns that prove it after a loss.
const TURNS_AFTER_LOSS: u32 = 4;
/// Turns that prove it on a connection joined in the middle, which as a rule was idle.
const TURNS_MIDSTREAM: u32 = 2;

/// A command that waits for its replies.
#[derive(Debug)]
pub(super) struct Pending {
    /// `None`: its transaction has ended already.
    key: Option<StreamKey>,
    pub(super) name: String,
    pub(super) answer: Answer,
    /// Replies still to come; `None`: as many as there are subscriptions.
    pub(super) left: Option<u64>,
    pub(super) is_secret: bool,
    is_blocking: bool,
    traffic: CommandTraffic,
    sent: Time,
}

/// What a command is besides its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) answer: Answer,
    pub(super) left: Option<u64>,
    pub(super) is_secret: bool,
    pub(super) is_blocking: bool,
    /// It has no reply (P-R2).
    pub(super) is_silent: bool,
}

/// First and last byte of a message, and its size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    pub(super) started: Time,
    pub(super) ended: Time,
    pub(super) bytes: u64,
    pub(super) gap_bytes: u64,
}

impl Extent {
    fn counts(self) -> Counts {
        Counts {
            head_bytes: self.bytes,
            body_bytes: 0,
            gap_bytes: self.gap_bytes,
        }
    }
}

/// The commands of one connection in order.
#[derive(Debug)]
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    limit: usize,
    /// Transactions that have not ended.
    open: usize,
    next_key: u64,
    /// The next reply belongs to the first of `pending`.
    is_aligned: bool,
    /// Turns that are to prove it again.
    turns_needed: u32,
    turns: u32,
    /// Name of the command whose turn it is to be answered.
    awaiting: Option<String>,
    last_activity: Option<Time>,
}

impl Queue {
    pub(super) const fn new(limit: usize, midstream: bool) -> Self {
        Self {
            pending: VecDeque::new(),
            limit,
            open: 0,
            next_key: 1,
            is_aligned: !midstream,
            turns_needed: TURNS_MIDSTREAM,
            turns: 0,
            awaiting: None,
            last_activity: None,
        }
    }

    /// The command that the next reply belongs to.
    pub(super) fn first(&mut self) -> Option<&mut Pending> {
        self.pending.front_mut()
    }

    /// A command was read.
    pub(super) fn command(&mut self, command: Command, traits: Traits, extent: Extent, out: &mut Vec<Event>) {
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        self.look_for_quiet(extent.started);
        self.last_activity = Some(extent.ended);
        let name = command.name.to_ascii_uppercase();
        out.push(Event::Command {
            key,
            command: Box::new(command),
            started: extent.started,
            time: extent.ended,
        });
        let mut pending = Pending {
            key: Some(key),
            name,
            answer: traits.answer,
            left: traits.left,
            is_secret: traits.is_secret,
            is_blocking: traits.is_blocking,
            traffic: CommandTraffic {
                request: extent.counts(),
                ..CommandTraffic::default()
            },
            sent: extent.ended,
        };
        self.open += 1;
        if traits.is_silent {
            let result = CommandResult {
                kind: "no_reply",
                ..CommandResult::default()
            };
            self.end(&mut pending, Some(result), Outcome::Complete, extent.ended, out);
            return;
        }
        if !self.is_aligned {
            if self.awaiting.replace(pending.name.clone()).is_some() {
                self.turns = 0;
            }
            self.end(&mut pending, None, Outcome::Incomplete, extent.ended, out);
            return;
        }
        if self.open > self.limit {
            // Its reply still takes its place in the order.
            self.end(&mut pending, None, Outcome::Incomplete, extent.ended, out);
        }
        self.pending.push_back(pending);
    }

    fn look_for_quiet(&mut self, started: Time) {
        let quiet = self
            .last_activity
            .map_or(0, |last| started.0.saturating_sub(last.0));
        if !self.is_aligned && self.awaiting.is_none() && quiet >= QUIET_NS {
            self.align();
        }
    }

    fn align(&mut self) {
        self.is_aligned = true;
        self.awaiting = None;
    }

    /// A reply that is no message was read, and is the last of the first command unless `more` are to come. Tells whether it
    /// belonged to any.
    pub(super) fn reply(
        &mut self,
        kind: u8,
        result: CommandResult,
        more: bool,
        extent: Extent,
        out: &mut Vec<Event>,
    ) -> bool {
        self.last_activity = Some(extent.ended);
        if !self.is_aligned {
            let is_turn = self.awaiting.take().is_some_and(|name| is_plausible(&name, kind));
            self.turns = if is_turn { self.turns + 1 } else { 0 };
            if self.turns >= self.turns_needed {
                self.align();
            }
            return false;
        }
        let Some(first) = self.pending.front_mut() else {
            return false;
        };
        let traffic = &mut first.traffic;
        traffic.response.head_bytes += extent.bytes;
        traffic.response.gap_bytes += extent.gap_bytes;
        traffic.first_byte.get_or_insert(extent.started);
        traffic.last_byte = Some(extent.ended);
        if more {
            first.left = first.left.map(|left| left.saturating_sub(1));
            return true;
        }
        if let Some(mut first) = self.pending.pop_front() {
            let is_known = first.key.is_some();
            self.end(&mut first, Some(result), Outcome::Complete, extent.ended, out);
            return is_known;
        }
        false
    }

    fn end(
        &mut self,
        pending: &mut Pending,
        result: Option<CommandResult>,
        outcome: Outcome,
        time: Time,
        out: &mut Vec<Event>,
    ) {
        let Some(key) = pending.key.take() else { return };
        self.open -= 1;
        out.push(Event::CommandEnd {
            key,
            result: result.map(Box::new),
            outcome,
            traffic: pending.traffic,
            time,
        });
    }

    /// It is not known any more how many replies are outstanding (P-L2).
    pub(super) fn lose(&mut self, time: Time, out: &mut Vec<Event>) {
        self.end_all(Outcome::Incomplete, time, out);
        self.is_aligned = false;
        self.turns_needed = TURNS_AFTER_LOSS;
        self.turns = 0;
        self.awaiting = None;
        self.last_activity = Some(time);
    }

    /// Ends what is under way.
    pub(super) fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        for mut pending in std::mem::take(&mut self.pending) {
            self.end(&mut pending, None, outcome, time, out);
        }
    }

    /// Ends those that were sent before `before` and wait in vain. Their replies, should they come, still take their place.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let mut pending = std::mem::take(&mut self.pending);
        for old in pending
            .iter_mut()
            .filter(|pending| pending.sent < before && !pending.is_blocking)
        {
            let sent = old.sent;
            self.end(old, None, Outcome::Timeout, sent, out);
        }
        self.pending = pending;
    }
}
