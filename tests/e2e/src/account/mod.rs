//! The books of one run: what the sources counted = what the agent emitted + what it counts as lost, for each
//! connection and in total. Every sum that fails is told by name.

mod connections;
mod metrics;
mod said;
mod totals;

pub use self::metrics::{Metrics, Rest};
use self::said::Said;
use crate::Events;

/// Reasons that count missing bytes, with the kernel side's counters of them.
const BYTE_REASONS: [(&str, &str); 6] = [
    ("ring_full", "data_bytes_lost_ring_full"),
    ("call_cap", "data_bytes_lost_call_cap"),
    ("memory_fault", "data_bytes_lost_fault"),
    ("unreadable_bytes", "data_bytes_lost_unreadable"),
    ("load_shed", "data_bytes_lost_load_shed"),
    ("queue_full", ""),
];

/// The books.
pub struct Account<'a> {
    events: &'a Events,
    rest: &'a Rest,
    metrics: &'a Metrics,
    said: Vec<Said>,
    problems: Vec<String>,
}

impl<'a> Account<'a> {
    /// `rest`: after the load and before the end of the agent.
    #[must_use]
    pub fn new(events: &'a Events, rest: &'a Rest) -> Self {
        Self {
            events,
            rest,
            metrics: rest.metrics(),
            said: Said::all(events),
            problems: Vec::new(),
        }
    }

    fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds && self.problems.len() < 40 {
            self.problems.push(problem());
        }
    }

    /// Fails with every sum that does not come out.
    pub fn close(self) {
        assert!(
            self.problems.is_empty(),
            "{} sums do not come out:\n{}",
            self.problems.len(),
            self.problems.join("\n")
        );
    }
}
