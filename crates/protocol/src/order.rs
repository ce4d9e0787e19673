//! Whether it is known which reply belongs to which command, where replies come in the order of commands.
//!
//! It is known from the beginning of a connection on. After a loss, and on a connection joined in the middle, it is not known what is
//! outstanding, until the traffic proves that nothing is: both sides were quiet for a second before a command, or commands and replies
//! took strict turns for a while.

use crate::Time;

/// Quiet that proves it.
const QUIET_NS: u64 = 1_000_000_000;

/// Of one connection.
#[derive(Debug)]
pub(crate) struct Order {
    is_known: bool,
    /// Turns in a row that prove it.
    needed: u32,
    turns: u32,
    last_activity: Option<Time>,
}

impl Order {
    /// `turns`: how many prove it if the connection was joined in the middle.
    pub(crate) const fn new(midstream: bool, turns: u32) -> Self {
        Self {
            is_known: !midstream,
            needed: turns,
            turns: 0,
            last_activity: None,
        }
    }

    pub(crate) const fn is_known(&self) -> bool {
        self.is_known
    }

    /// Bytes passed.
    pub(crate) fn active(&mut self, time: Time) {
        self.last_activity = Some(time);
    }

    /// A command begins. `is_idle`: no reply is waited for, as far as that is known.
    pub(crate) fn asked(&mut self, started: Time, is_idle: bool) {
        let quiet = self
            .last_activity
            .map_or(0, |last| started.0.saturating_sub(last.0));
        self.is_known |= is_idle && quiet >= QUIET_NS;
        self.last_activity = Some(started);
    }

    /// A reply came, and whether it was its turn.
    pub(crate) fn turn(&mut self, is_turn: bool) {
        self.turns = if is_turn { self.turns + 1 } else { 0 };
        self.is_known |= is_turn && self.turns >= self.needed;
    }

    /// A command came out of its turn.
    pub(crate) fn disturbed(&mut self) {
        self.turns = 0;
    }

    /// Bytes were lost: so many turns prove it again.
    pub(crate) fn lose(&mut self, time: Time, turns: u32) {
        *self = Self {
            last_activity: Some(time),
            ..Self::new(true, turns)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_in_a_row_or_quiet_prove_the_order() {
        let mut order = Order::new(false, 1);
        assert!(order.is_known());
        order.lose(Time(0), 2);
        order.turn(true);
        order.disturbed();
        order.turn(true);
        assert!(!order.is_known());
        order.turn(true);
        assert!(order.is_known());
        order.lose(Time(0), 2);
        order.asked(Time(QUIET_NS), false);
        assert!(!order.is_known(), "a reply is waited for");
        order.asked(Time(QUIET_NS + 1), true);
        assert!(!order.is_known(), "a command was sent just now");
        order.asked(Time(2 * QUIET_NS + 1), true);
        assert!(order.is_known());
    }
}
