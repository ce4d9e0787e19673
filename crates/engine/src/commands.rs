//! Commands of databases on their way: from those of a parser to whole ones.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qtap_capture::KernelTime;
use qtap_protocol::detect::Protocol;
use qtap_protocol::{Command, CommandResult, CommandTraffic, Outcome, StreamKey, Time};

use crate::ConnectionFacts;
use crate::assembler::TransactionTally;
use crate::context::Context;
use crate::hash::HashMap;
use crate::tunnel::Place;

/// Text kept of a command when memory is short.
const SHORT_BYTES: usize = 256;

/// One command with its result. Times follow P-T1 and are differences of the kernel's monotonic clock.
#[derive(Clone, Debug)]
pub struct CommandTransaction {
    /// Sortable, globally unique, 20 characters: `requestId` in events.
    pub id: Arc<str>,
    /// Protocol it was spoken in.
    pub protocol: Protocol,
    /// Ordinal on its connection; in a tunnel with the number of that above.
    pub stream: u64,
    /// Wall time of its first byte.
    pub started: SystemTime,
    /// Wall time of its end.
    pub finished: SystemTime,
    /// First byte of the command.
    pub first_byte: Time,
    /// Last byte of the command.
    pub last_byte: Time,
    /// What was asked.
    pub command: Command,
    /// What came of it, if that was seen.
    pub result: Option<CommandResult>,
    /// Sizes, and times of the result.
    pub traffic: CommandTraffic,
    /// How it ended.
    pub outcome: Outcome,
}

impl CommandTransaction {
    /// Bytes of either half that were not captured.
    #[must_use]
    pub const fn gap_bytes(&self) -> u64 {
        self.traffic.request.gap_bytes + self.traffic.response.gap_bytes
    }

    /// First byte of the command → last byte of its result; without one, last byte of the command.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        let last = self.traffic.last_byte.max(Some(self.last_byte));
        last.map_or(0, |last| last.0.saturating_sub(self.first_byte.0))
    }

    /// Last byte of the command → first byte of its result; 0 when that began first.
    #[must_use]
    pub fn ttfb_ns(&self) -> Option<u64> {
        Some(self.traffic.first_byte?.0.saturating_sub(self.last_byte.0))
    }
}

struct Open {
    id: Arc<str>,
    command: Command,
    /// Taken from the budget for its text.
    held: usize,
    times: [Time; 2],
    is_wanted: bool,
}

/// The commands of one connection that have not ended.
pub(crate) struct Commands {
    place: Place,
    open: HashMap<StreamKey, Box<Open>>,
}

impl Commands {
    /// Of what is spoken in `place`.
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            open: HashMap::default(),
        }
    }

    /// How many there are.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// A command was read.
    pub(crate) fn begin(
        &mut self,
        key: StreamKey,
        mut command: Command,
        times: [Time; 2],
        facts: &ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        let is_wanted = cx.consumer.wants_command(facts, self.place.key(key), &command);
        let held = take_room(&mut command, cx);
        let [started, _] = times;
        let open = Box::new(Open {
            id: cx.ids.next(cx.clock.at(KernelTime(started.0))),
            command,
            held,
            times,
            is_wanted,
        });
        let former = self.open.insert(key, open);
        debug_assert!(former.is_none(), "command {key:?} began twice");
    }

    /// What a command says has names now.
    pub(crate) fn name(&mut self, key: StreamKey, mut command: Command, cx: &Context<'_>) {
        if let Some(open) = self.open.get_mut(&key) {
            cx.budget.give(open.held);
            open.held = take_room(&mut command, cx);
            open.command = command;
        }
    }

    /// A command ended.
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of the event, and where they go"
    )]
    pub(crate) fn end(
        &mut self,
        key: StreamKey,
        result: Option<CommandResult>,
        outcome: Outcome,
        traffic: CommandTraffic,
        time: Time,
        ended: &Ending,
        tally: &mut TransactionTally,
        facts: &ConnectionFacts,
        cx: &mut Context<'_>,
    ) {
        let Some(open) = self.open.remove(&key) else {
            return;
        };
        cx.budget.give(open.held);
        let outcome = match outcome {
            Outcome::Canceled if ended.is_lost => Outcome::Incomplete,
            outcome => outcome,
        };
        let [first_byte, last_byte] = open.times;
        let finished = cx.clock.at(KernelTime(time.0));
        let transaction = CommandTransaction {
            id: open.id,
            protocol: ended.protocol,
            stream: self.place.key(key).0,
            started: finished - Duration::from_nanos(time.0.saturating_sub(first_byte.0)),
            finished,
            first_byte,
            last_byte,
            command: open.command,
            result,
            traffic,
            outcome,
        };
        tally.finished += 1;
        cx.stats.protocols.of(ended.protocol).transactions.add(1);
        tally.gap_bytes += transaction.gap_bytes();
        match outcome {
            Outcome::Incomplete | Outcome::Timeout => tally.incomplete += 1,
            Outcome::Canceled => tally.canceled += 1,
            _ if transaction.gap_bytes() > 0 => tally.incomplete += 1,
            _ => {}
        }
        if open.is_wanted {
            cx.stats.transactions.add(1);
            cx.consumer.command(facts, &transaction);
        } else {
            tally.refused_by_plugins += 1;
        }
    }
}

/// Takes room for the text of a command from the budget, or cuts it short. Returns what was taken.
fn take_room(command: &mut Command, cx: &Context<'_>) -> usize {
    let held = command.held();
    if cx.budget.take(held) {
        return held;
    }
    cx.stats.lost_memory.add(held.saturating_sub(SHORT_BYTES) as u64);
    command.cut(SHORT_BYTES);
    0
}

/// What is known of the connection when a command ends.
pub(crate) struct Ending {
    pub(crate) protocol: Protocol,
    /// What came last is not known: nobody cancelled what is under way.
    pub(crate) is_lost: bool,
}
