//! Which reply belongs to which command: replies come in the order of the commands (see [`Order`]).

use std::collections::VecDeque;

use super::commands::{Answer, is_plausible};
use crate::ledger::{Ledger, Open};
use crate::order::Order;
use crate::{Command, CommandResult, Counts, Event, Outcome, Time};

/// Turns that prove the order after a loss; the types of the replies must fit too.
const TURNS_AFTER_LOSS: u32 = 4;
/// Turns that prove it on a connection joined in the middle, which as a rule was idle.
const TURNS_MIDSTREAM: u32 = 2;

/// A command that waits for its replies.
#[derive(Debug)]
pub(super) struct Pending {
    open: Open,
    pub(super) name: String,
    /// What it is called among the results of a transaction.
    pub(super) label: Option<String>,
    pub(super) answer: Answer,
    /// Replies still to come; `None`: as many as there are subscriptions.
    pub(super) left: Option<u64>,
    pub(super) is_secret: bool,
    is_blocking: bool,
}

/// What a command is besides its text.
#[derive(Debug)]
pub(super) struct Traits {
    pub(super) label: Option<String>,
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
    ledger: Ledger,
    order: Order,
    /// Name of the command whose turn it is to be answered, while the order is not known.
    awaiting: Option<String>,
}

impl Queue {
    pub(super) const fn new(limit: usize, midstream: bool) -> Self {
        Self {
            pending: VecDeque::new(),
            ledger: Ledger::new(limit),
            order: Order::new(midstream, TURNS_MIDSTREAM),
            awaiting: None,
        }
    }

    /// The command that the next reply belongs to.
    pub(super) fn first(&mut self) -> Option<&mut Pending> {
        self.pending.front_mut()
    }

    /// A command was read.
    pub(super) fn command(&mut self, command: Command, traits: Traits, extent: Extent, out: &mut Vec<Event>) {
        self.order.asked(extent.started, self.awaiting.is_none());
        self.order.active(extent.ended);
        let mut pending = Pending {
            open: Open::default(),
            name: command.name.to_ascii_uppercase(),
            label: traits.label,
            answer: traits.answer,
            left: traits.left,
            is_secret: traits.is_secret,
            is_blocking: traits.is_blocking,
        };
        let open = &mut pending.open;
        open.asked(extent.counts());
        self.ledger
            .begin(open, command, [extent.started, extent.ended], out);
        if traits.is_silent {
            let result = CommandResult {
                kind: "no_reply",
                ..CommandResult::default()
            };
            self.ledger
                .end(open, Some(result), Outcome::Complete, extent.ended, out);
            return;
        }
        if !self.order.is_known() {
            if self.awaiting.replace(pending.name.clone()).is_some() {
                self.order.disturbed();
            }
            self.ledger
                .end(open, None, Outcome::Incomplete, extent.ended, out);
            return;
        }
        if self.ledger.is_over() {
            self.ledger
                .end(open, None, Outcome::Incomplete, extent.ended, out);
        }
        self.pending.push_back(pending);
    }

    /// More wait than can be followed.
    pub(super) fn is_flooded(&self) -> bool {
        self.ledger.is_flooded(self.pending.len())
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
        self.order.active(extent.ended);
        if !self.order.is_known() {
            let is_turn = self.awaiting.take().is_some_and(|name| is_plausible(&name, kind));
            self.order.turn(is_turn);
            return false;
        }
        let Some(first) = self.pending.front_mut() else {
            return false;
        };
        first.open.answered(extent.counts(), extent.started, extent.ended);
        if more {
            first.left = first.left.map(|left| left.saturating_sub(1));
            return true;
        }
        let Some(mut first) = self.pending.pop_front() else {
            return false;
        };
        let is_known = first.open.is_open();
        self.ledger.end(
            &mut first.open,
            Some(result),
            Outcome::Complete,
            extent.ended,
            out,
        );
        is_known
    }

    /// It is not known any more how many replies are outstanding (P-L2).
    pub(super) fn lose(&mut self, time: Time, out: &mut Vec<Event>) {
        self.end_all(Outcome::Incomplete, time, out);
        self.order.lose(time, TURNS_AFTER_LOSS);
        self.awaiting = None;
    }

    /// Ends what is under way.
    pub(super) fn end_all(&mut self, outcome: Outcome, time: Time, out: &mut Vec<Event>) {
        for mut pending in std::mem::take(&mut self.pending) {
            self.ledger.end(&mut pending.open, None, outcome, time, out);
        }
    }

    /// Ends those that were sent before `before` and wait in vain. Their replies, should they come, still take their place.
    pub(super) fn expire(&mut self, before: Time, out: &mut Vec<Event>) {
        let waiting = self.pending.iter_mut().filter(|pending| !pending.is_blocking);
        self.ledger
            .expire(waiting.map(|pending| &mut pending.open), before, out);
    }
}
