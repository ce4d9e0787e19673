//! Records that wait for the writer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Lost, OutputCounters, OutputLimits};

/// How long the writer lets records gather after it wrote some. Waking it for each would cost a system call and a switch of tasks
/// per record, several times what making the record costs.
const NAP: Duration = Duration::from_millis(2);

/// A bounded queue with one consumer. The lock is held for a few dozen nanoseconds on either side, never while writing.
pub(super) struct Queue {
    limits: OutputLimits,
    state: Mutex<State>,
    /// Something waits, or there will be no more.
    filled: Condvar,
    /// Nothing waits.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Vec<u8>>,
    counters: OutputCounters,
    closed: bool,
    /// Somebody waits until all is written.
    draining: bool,
    /// Nothing gathers before the first record.
    has_written: bool,
    writer: Writer,
}

/// What the writer does when it is not writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// It writes, and looks for more by itself.
    #[default]
    Awake,
    /// It wakes by itself soon; to be woken only when there is this much.
    Napping { enough: usize },
    /// To be woken for the next record.
    Asleep,
}

impl State {
    /// Whether the writer is to be woken. Tells so once per sleep.
    fn wakes_writer(&mut self) -> bool {
        let wakes = match self.writer {
            Writer::Awake => false,
            Writer::Napping { enough } => self.counters.waiting_bytes >= enough as u64,
            Writer::Asleep => true,
        };
        if wakes {
            self.writer = Writer::Awake;
        }
        wakes
    }
}

impl Queue {
    pub(super) fn new(limits: OutputLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// Takes `record`, or counts it as lost.
    pub(super) fn push(&self, record: Vec<u8>) -> bool {
        let mut state = self.lock();
        state.counters.received += 1;
        if state.closed {
            state.counters.lose(Lost::Shutdown, 1);
            return false;
        }
        if !self.has_room(&state.counters, record.len()) {
            state.counters.lose(Lost::QueueFull, 1);
            return false;
        }
        state.counters.waiting_records += 1;
        state.counters.waiting_bytes += record.len() as u64;
        state.records.push_back(record);
        let wakes = state.wakes_writer();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        true
    }

    /// Counts a record that never came to be.
    pub(super) fn lose(&self, reason: Lost) {
        let mut state = self.lock();
        state.counters.received += 1;
        state.counters.lose(reason, 1);
    }

    fn has_room(&self, counters: &OutputCounters, length: usize) -> bool {
        let fits = counters.waiting_bytes + length as u64 <= self.limits.bytes as u64;
        counters.waiting_records < self.limits.records as u64 && (fits || counters.waiting_records == 0)
    }

    /// Waits for records and moves them to `batch`, oldest first, at least one and until they have `enough` bytes.
    /// `false` when there will be no more. The first record after a silence comes at once, what follows it within [`NAP`].
    pub(super) fn take(&self, batch: &mut Vec<Vec<u8>>, enough: usize) -> bool {
        let mut state = self.lock();
        if state.counters.waiting_bytes < enough as u64
            && !state.closed
            && !state.draining
            && state.has_written
        {
            state.writer = Writer::Napping { enough };
            let napped = self.filled.wait_timeout_while(state, NAP, |state| {
                state.writer != Writer::Awake && !state.closed && !state.draining
            });
            state = napped.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.records.is_empty() && !state.closed {
            state.writer = Writer::Asleep;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Writer::Awake;
        let mut bytes = 0;
        while bytes < enough
            && let Some(record) = state.records.pop_front()
        {
            bytes += record.len();
            batch.push(record);
        }
        state.has_written = !batch.is_empty();
        state.has_written
    }

    /// Records of `length` bytes together have been written, or `failure` says why not.
    pub(super) fn done(&self, records: u64, length: u64, failure: Option<Lost>) {
        let mut state = self.lock();
        state.counters.waiting_records = state.counters.waiting_records.saturating_sub(records);
        state.counters.waiting_bytes = state.counters.waiting_bytes.saturating_sub(length);
        match failure {
            Some(reason) => state.counters.lose(reason, records),
            None => {
                state.counters.emitted += records;
                state.counters.emitted_bytes += length;
            }
        }
        if state.counters.waiting_records == 0 {
            self.drained.notify_all();
        }
    }

    /// Takes no more, and waits until nothing waits. What waits at `deadline` is dropped, but for what is being written.
    pub(super) fn drain(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.draining = true;
        self.filled.notify_all();
        while state.counters.waiting_records > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self
                .drained
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken.0;
        }
        let written = state.counters.waiting_records == 0;
        let left = std::mem::take(&mut state.records);
        let bytes: usize = left.iter().map(Vec::len).sum();
        state.counters.waiting_records -= left.len() as u64;
        state.counters.waiting_bytes -= bytes as u64;
        state.counters.lose(Lost::Shutdown, left.len() as u64);
        state.closed = true;
        drop(state);
        self.filled.notify_all();
        written
    }

    pub(super) fn counters(&self) -> OutputCounters {
        self.lock().counters
    }

    /// Every change under the lock leaves the state whole, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
